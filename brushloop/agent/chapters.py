"""A creation told in chapters: each plan, then each plan step with its pictures and what was said of them.

Made from the step chain alone. Which picture stood and which was rolled back is not guessed but played
through again with `state.advance`, as the loop itself did.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from brushloop.agent.state import State, advance, begin
from brushloop.agent.words import of_fault
from brushloop.canvas import Box, Correction, Critique, Element, Frame, Plan, PlanStep, Status, Step, StepKind
from brushloop.creation import Creation


@dataclass
class Entry:
    """One step as it is shown: with its picture, and the reflection on it once there is one."""

    number: int
    """Its place in the chain."""
    hash: str
    step: Step
    measured: dict[str, float]
    before: Frame | None = None
    """What it was painted over."""
    after: Frame | None = None
    """What it shows."""
    critique: Critique | None = None
    plan: Plan | None = None
    """The plan that the critique speaks of."""
    stood: bool | None = None
    """Whether its picture became the best one; None where that was not asked."""
    score_before: float | None = None
    """The score to beat."""

    @property
    def regions(self) -> tuple[Box, ...]:
        """Where it was allowed to change something."""
        text = str(self.step.settings.get("regions", ""))
        return tuple((int(a), int(b), int(c), int(d)) for a, b, c, d in re.findall(r"(\d+) (\d+) (\d+) (\d+)", text))

    @property
    def middle(self) -> int:
        """Percent from the left where a slider should begin: in the middle of what may have changed."""
        edges = [edge for box in self.regions for edge in (box[0], box[2])]
        return round((min(edges) + max(edges)) / 2) if edges else 50

    @property
    def findings(self) -> list[tuple[Status, str, str, float | None]]:
        """Status, thing, what is the matter with it, and score of every element of the plan."""
        if self.critique is None or self.plan is None:
            return []
        things = self.plan.elements
        return [(f.status, thing(things[f.element]), of_fault(f), f.score) for f in self.critique.findings]

    @property
    def corrections(self) -> tuple[Correction, ...]:
        """What the critic would do next."""
        return self.critique.corrections if self.critique else ()


@dataclass
class Chapter:
    """A plan; or a plan step with everything painted for it; or the begin of a fork; or an end."""

    title: str
    id: str
    plan: Plan | None = None
    stroke: PlanStep | None = None
    things: tuple[str, ...] = ()
    """What the plan step adds."""
    entries: list[Entry] = field(default_factory=list)
    text: str = ""


def thing(element: Element) -> str:
    """`2 × small red cat`."""
    words = " ".join(word for word in (element.size, element.color, element.name) if word)
    return f"{element.count} × {words}" if element.count > 1 else words


def chapters(creation: Creation) -> list[Chapter]:
    """The chapters of a creation, oldest first."""
    told: list[Chapter] = []
    for entry, state in _entries(creation):
        match entry.step.kind:
            case StepKind.PLAN:
                told.append(_plan_chapter(entry, "The plan" if _first_plan(told) else "Another plan"))
            case StepKind.HUMAN if entry.step.plan:
                told.append(_plan_chapter(entry, "A person's plan"))
            case StepKind.BRIEF if told or entry.number:
                told.append(Chapter("A fork begins here", f"s{entry.number}", entries=[entry], text=entry.step.text))
            case StepKind.BRIEF:
                pass
            case StepKind.FINISH:
                told.append(Chapter("The end", f"s{entry.number}", entries=[entry], text=entry.step.text))
            case StepKind.REFLECT if _joins(told, entry):
                pass
            case _:
                _stroke(told, state).entries.append(entry)
    return told


def pictures(told: list[Chapter]) -> list[Entry]:
    """The entries that painted something, or in which a person gave a picture: the strip."""
    kinds = (StepKind.DRAFT, StepKind.REFINE, StepKind.HUMAN)
    return [entry for chapter in told for entry in chapter.entries if entry.step.kind in kinds and entry.step.outputs]


def _entries(creation: Creation) -> Iterator[tuple[Entry, State]]:
    """Every step as an entry, and the state after it."""
    (root, first), *rest = zip(creation.hashes, creation.steps, strict=True)
    state = begin(creation.id, root, first)
    yield _entry(creation, 0, root, first), state
    for number, (digest, step) in enumerate(rest, start=1):
        before, state = state, advance(state, digest, step)
        entry = _entry(creation, number, digest, step)
        entry.plan = state["plan"]
        if step.kind is StepKind.REFLECT:
            entry.stood = state["best"] is not before["best"]
            entry.score_before = before["best"].critique.score if before["best"] else None
        yield entry, state


def _entry(creation: Creation, number: int, digest: str, step: Step) -> Entry:
    source = step.inputs[0] if step.inputs else None
    entry = Entry(number, digest, step, creation.store.measurements(digest), critique=step.critique)
    if step.outputs:
        entry.after = step.outputs[-1]
        entry.before = source if step.kind is not StepKind.FINISH else None
    elif step.kind is not StepKind.HUMAN or step.critique:  # an approval needs no picture
        entry.after = source
    return entry


def _joins(told: list[Chapter], look: Entry) -> bool:
    """Put a reflection beside the picture it speaks of, if that was painted just before."""
    if not told or not told[-1].entries:
        return False
    last = told[-1].entries[-1]
    if last.critique is not None or not last.step.outputs or last.after != look.after:
        return False
    last.critique, last.plan, last.stood, last.score_before = look.critique, look.plan, look.stood, look.score_before
    return True


def _stroke(told: list[Chapter], state: State) -> Chapter:
    """The chapter of the plan step in work; a new one if that has just begun."""
    plan = state["plan"]
    if plan is None:
        if not told:
            told.append(Chapter("Before the plan", "s0"))
        return told[-1]
    at = min(state["at"], len(plan.steps) - 1)
    stroke = plan.steps[at]
    if told and told[-1].stroke == stroke:
        return told[-1]
    things = tuple(thing(plan.elements[index]) for index in stroke.adds)
    again = any(chapter.stroke == stroke for chapter in told)
    title = f"Step {at + 1} of {len(plan.steps)}" + (", again" if again else "")
    told.append(Chapter(title, f"c{len(told)}", stroke=stroke, things=things))
    return told[-1]


def _plan_chapter(entry: Entry, title: str) -> Chapter:
    return Chapter(title, f"s{entry.number}", plan=entry.step.plan, entries=[entry], text=entry.step.text)


def _first_plan(told: list[Chapter]) -> bool:
    return not any(chapter.plan for chapter in told)
