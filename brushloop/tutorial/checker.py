"""What is wrong with a guide: a skipped state, an undeclared tool, a picture that contradicts its text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal

from brushloop.agent.words import of_critique
from brushloop.canvas import Brief, Noun, Plan, Status
from brushloop.tutorial.guide import Guide, GuideStep

if TYPE_CHECKING:
    from PIL.Image import Image

    from brushloop.critic.critic import Critic
    from brushloop.tutorial.book import Book

    Witness = Callable[[GuideStep, Image], str]
    """Looks at a step and the picture after it; says what contradicts its text, "" if nothing does."""

_NAMED = """
airbrush awl bowl brush brushes chalk charcoal chisel clamp crayon drill easel eraser glue hammer kiln knife ladle lathe
loom mixer oven palette pan pen pencil pencils pliers pot ruler sandpaper scissors screwdriver spatula spoon stapler
stencil stove stylus tweezers whisk wrench
"""
TOOLS = frozenset(_NAMED.split())
"""Words that name a tool wherever they stand in a step."""


class Flag(Noun):
    """One fault of one step; steps count from 1."""

    step: int
    kind: Literal["skips", "tool", "contradicts"]
    message: str


def check(book: Book, witness: Witness | None = None) -> list[Flag]:
    """Everything that is wrong with a guide, in the order of its steps.

    Pictures are held against their texts by `witness` alone: without one, contradictions are not looked for.
    """
    guide, flags = book.guide, list(_skipped(book.guide))
    for number, step in enumerate(guide.steps, 1):
        flags += [
            Flag(step=number, kind="tool", message=f"uses {tool!r}, not among the tools") for tool in _new(guide, step)
        ]
        if witness and (fault := witness(step, book.image(step.after.frame))):
            flags.append(Flag(step=number, kind="contradicts", message=fault))
    return sorted(flags, key=lambda flag: flag.step)


def critic_witness(critic: Critic, brief: Brief, plan: Plan) -> Witness:
    """A witness that asks the loop's critic whether what the plan has added so far is there."""

    def look(step: GuideStep, image: Image) -> str:
        if step.stroke is None:
            return ""
        critique = critic.reflect(brief, plan, step.stroke, image).value
        added = set(plan.steps[step.stroke].adds)
        wrong = {f.element for f in critique.findings if f.status in (Status.MISSING, Status.WRONG)}
        return of_critique(plan, critique) if added & wrong else ""

    return look


def _skipped(guide: Guide) -> Iterator[Flag]:
    states = list(guide.states)
    for number, step in enumerate(guide.steps, 1):
        if number > 1:
            last = guide.steps[number - 2].after.frame
            if step.before is not None and step.before.frame != last:
                yield Flag(step=number, kind="skips", message="its picture before is not the one that step ended with")
        if not states:
            continue
        if step.after.frame not in states:
            yield Flag(
                step=number, kind="skips", message="shows a state that is not in the record, or not in its order"
            )
            continue
        missed = states.index(step.after.frame)
        if missed:
            yield Flag(step=number, kind="skips", message=f"{missed} state{'s' * (missed > 1)} before it not shown")
        del states[: missed + 1]
    if states:
        number = len(guide.steps)
        yield Flag(
            step=number, kind="skips", message=f"{len(states)} state{'s' * (len(states) > 1)} after it not shown"
        )


def _new(guide: Guide, step: GuideStep) -> list[str]:
    """Tools of a step that the guide does not declare."""
    declared = " ".join((*guide.tools, *guide.materials)).lower()
    told = re.findall(r"[^\W\d_]+", f"{step.text} {step.tip}".lower())
    named = [word for word in dict.fromkeys(told) if word in TOOLS and not re.search(rf"\b{word}\b", declared)]
    # What is painted is no tool: a picture may show a pan.
    shown = set(re.findall(r"[^\W\d_]+", f"{guide.title} {guide.introduction}".lower()))
    return [tool for tool in step.tools if tool not in guide.tools] + [word for word in named if word not in shown]
