"""What the critic asks a vision-language model, word for word, and the shape of the reply.

The embedded model is trained on exactly these texts. Other models are told what they mean, and what the close-ups
show, by `instructions.v3.md`, which comes before the question. A text with a version is never changed: a better one
gets the next number.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from brushloop.canvas import Correction, EditType, Element, Fault, Finding, Noun, Plan, Status, Verdict
from brushloop.critic.closeups import tiles

NOTHING, SMEAR, ELSEWHERE = "nothing", "a smear", "elsewhere"
"""What is seen where there is nothing, where there is what is no object, and after a thing that is not here."""


class Seen(Noun):
    """What the model says of one element: what the plan asks for, what it sees there, then what follows from both."""

    element: Annotated[int, Field(ge=0)]
    asked: Annotated[str, Field(max_length=500)] = ""
    seen: Annotated[str, Field(max_length=500)] = ""
    status: Status
    fault: Fault | None = None

    def finding(self, score: float | None = None) -> Finding:
        """As it is kept; what was asked for stands in the plan."""
        return Finding(element=self.element, status=self.status, fault=self.fault, seen=self.seen, score=score)


class Look(Noun):
    """A reply: a critique without its scores, which are computed and not believed."""

    findings: tuple[Seen, ...]
    corrections: tuple[Correction, ...] = ()
    verdict: Verdict


MENDS = (
    EditType.ADD, EditType.REMOVE, EditType.REPLACE, EditType.COLOR,
    EditType.MOVE, EditType.RESIZE, EditType.BACKGROUND,
)  # fmt: skip


@cache
def instructions() -> str:
    """What a model must know that was not trained on these questions."""
    return Path(__file__).with_name("instructions.v3.md").read_text(encoding="utf-8").strip()


@cache
def look_schema() -> dict[str, Any]:
    """The JSON schema of a reply; its corrections are of the kinds that mend a plan's element."""
    schema = Look.model_json_schema()
    schema["$defs"]["EditType"]["enum"] = [kind.value for kind in MENDS]
    return schema


def look_text(prompt: str, plan: Plan, step: int) -> str:
    """The question about a picture and its contact sheet: the prompt, the style, and one line for each element.

    An element that plan steps `0..step` add is `due`, and the tiles that show it are named; any other comes
    `later` and is not to be missed yet.
    """
    due, shown = set(plan.due(step)), tiles(plan, step)
    lines = [f"look: {' '.join(prompt.split())}", f"style {plan.style or 'any'}"]
    for index, element in enumerate(plan.elements):
        when = " ".join(map(str, ("due", *shown.get(index, ())))) if index in due else "later"
        lines.append(f"{index} {_line(element)} {when}")
    return "\n".join(lines)


def _line(element: Element) -> str:
    if element.role == "background":
        return f"background {element.name}"
    boxes = ", ".join(" ".join(map(str, box)) for box in element.boxes)
    return f"{element.count} {element.color or '-'} {element.name} {element.size or '-'} at {boxes or '-'}"
