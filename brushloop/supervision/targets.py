"""What a record teaches: each turn whose loss flag is set, in the words in which the makers are asked at run time.

A `Stroke` is a visual state to be painted, a `Saying` a plan or reflection to be written. Both name the pictures they
need by hash; nothing is read before it is drawn. The masks are the record's: a part of a turn without its flag is
never a target, and is context wherever a later turn looks back at it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from brushloop.canvas import Box, Critique, Frame, Noun, Plan, PlanStep, Status
from brushloop.critic import prompt as looking
from brushloop.critic.closeups import contact_sheet
from brushloop.critic.prompt import NOTHING, Look, Seen, look_schema, look_text
from brushloop.planner import prompt as planning
from brushloop.planner.prompt import plan_schema, plan_text, replan_text
from brushloop.supervision.constraints import violations
from brushloop.supervision.faults import phrases
from brushloop.supervision.records import Record, Turn, TurnKind
from brushloop.vlm import Question

if TYPE_CHECKING:
    from PIL.Image import Image

Kind = Literal["kept", "found"]
"""What a part of a reflection is about: an element that is truly right, or one that is truly at fault."""


@dataclass(frozen=True)
class Stroke:
    """One visual state, as the painter is asked for it."""

    record: str
    turn: int
    text: str
    picture: Frame
    canvas: Frame | None = None
    regions: tuple[Box, ...] = ()
    """As in a `PaintRequest`: where the things named in the text go."""
    shows: Plan | None = None
    """What is to be seen in it, as a plan of one step; None where that is not known."""

    @property
    def moved(self) -> frozenset[int]:
        """Elements of `shows` that may stand elsewhere than on the canvas: those with a box among the regions."""
        things = self.shows.elements if self.shows else ()
        return frozenset(i for i, thing in enumerate(things) if set(self.regions) & set(thing.boxes))


@dataclass(frozen=True)
class Saying:
    """One plan or reflection, as the model is asked for it, and the reply it should give."""

    record: str
    turn: int
    kind: Literal["plan", "look"]
    text: str
    reply: str
    picture: Frame | None = None
    """What a look looks at."""
    plan: Plan | None = None
    step: int = 0
    parts: tuple[tuple[int, int, Kind], ...] = ()
    """First and last character (exclusive) of what the reply finds at an element, and which kind of element it is."""

    def question(self, picture: Image | None) -> Question:
        """The question, word for word as planner and critic put it."""
        if self.kind == "plan":
            return Question(self.text, plan_schema(), instructions=planning.instructions())
        assert picture is not None and self.plan is not None
        sheet = contact_sheet(picture, self.plan, self.step)
        pictures = (picture, sheet) if sheet else (picture,)
        return Question(self.text, look_schema(), pictures, instructions=looking.instructions())


def strokes(record: Record) -> Iterator[Stroke]:
    """The visual states that a record teaches, in order."""
    plan: Plan | None = None
    for number, turn in enumerate(record.turns):
        plan = turn.plan or plan
        if not turn.loss.picture or turn.picture is None or turn.kind is TurnKind.GIVEN or not turn.text:
            continue
        canvas = record.turns[turn.of].picture if turn.of is not None else None
        regions = turn.regions
        if not regions and canvas is None and plan and turn.plan_step is not None:
            things = [plan.elements[index] for index in plan.steps[turn.plan_step].adds]
            regions = tuple(box for thing in things if thing.role == "object" for box in thing.boxes)
        yield Stroke(record.id, number, _order(turn), turn.picture, canvas, regions, _shown(turn, plan))


def sayings(record: Record) -> Iterator[Saying]:
    """The plans and reflections that a record teaches, in order."""
    plan: Plan | None = None
    said: Critique | None = None
    for number, turn in enumerate(record.turns):
        if turn.plan is not None:
            if turn.loss.text:
                ask = replan_text(record.prompt, plan, said) if plan and said else plan_text(record.prompt)
                yield Saying(record.id, number, "plan", ask, written(turn.plan))
            plan = turn.plan
        if turn.critique is None or turn.kind is not TurnKind.REFLECTION:
            continue
        said = turn.critique
        picture = record.turns[turn.of].picture if turn.of is not None else None
        if turn.loss.text and plan is not None and picture is not None and turn.plan_step is not None:
            truth = (record.turns[turn.of].truth if turn.of is not None else None) or turn.truth
            yield _look(record, number, turn, plan, picture, (truth and truth.critique) or turn.critique)


def written(noun: Noun) -> str:
    """A noun as a model writes it: compact JSON without what goes without saying."""
    return noun.model_dump_json(exclude_defaults=True)


def _order(turn: Turn) -> str:
    """What the painter is told: the correction in the planner's words, or the turn's own."""
    return turn.correction.instruction if turn.correction else turn.text


def _shown(turn: Turn, plan: Plan | None) -> Plan | None:
    if turn.truth and turn.truth.elements:
        things = turn.truth.elements
    elif turn.by != "renderer" and plan and turn.plan_step is not None:  # it teaches because it was accepted
        things = tuple(plan.elements[index] for index in plan.due(turn.plan_step))
    else:
        return None
    return Plan(elements=things, steps=(PlanStep(instruction="all of it", adds=tuple(range(len(things)))),))


def _look(record: Record, number: int, turn: Turn, plan: Plan, picture: Frame, truth: Critique) -> Saying:
    said, step = turn.critique, turn.plan_step
    assert said is not None and step is not None
    due = set(plan.due(step))
    seen = []
    for finding in said.findings:
        thing = plan.elements[finding.element]
        asked = phrases(thing) if finding.element in due else ""
        usual = {Status.PRESENT: asked, Status.MISSING: ", ".join([NOTHING] * thing.count)}.get(finding.status, "")
        seen.append(
            Seen(element=finding.element, asked=asked, seen=finding.seen or usual, status=finding.status,
                 fault=finding.fault)
        )  # fmt: skip
    look = Look(findings=tuple(seen), corrections=said.corrections, verdict=said.verdict)
    reply, bad, parts, at = written(look), violations(truth), list[tuple[int, int, Kind]](), 0
    for one in seen:
        text = written(one)
        at = reply.index(text, at)
        if one.element in due:
            start = at + max(0, text.find(',"seen"'))  # before that it repeats the question
            parts.append((start, at + len(text), "found" if one.element in bad else "kept"))
        at += len(text)
    if said.corrections:
        parts.append((at, len(reply), "found"))
    return Saying(
        record.id, number, "look", look_text(record.prompt, plan, step), reply, picture, plan, step, tuple(parts)
    )
