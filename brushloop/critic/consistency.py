"""A reply held against itself: what was seen otherwise than asked for is not as planned, whatever the model concludes.

A small model names what stands in a box more surely than it compares. The check works on words alone, and only ever
takes "present" back.
"""

from __future__ import annotations

from brushloop.canvas import Element, Fault, Status
from brushloop.critic.prompt import ELSEWHERE, NOTHING, Seen


def consistent(element: Element, said: Seen) -> Seen:
    """`said` of `element`, without a "present" that its own words contradict.

    The words of the plan decide: a thing is not present if its name or colour is not among what was seen. Where as
    many things were told as were asked for, that holds for each of them.
    """
    if said.status is not Status.PRESENT or not said.seen.strip():
        return said
    things = [thing.strip() for thing in said.seen.casefold().split(",")]
    there = [thing for thing in things if thing != NOTHING]
    if not there:
        return said.model_copy(update={"status": Status.MISSING})
    looked_at = there if len(things) == element.count else [" ".join(there)]

    def lacks(word: str | None) -> bool:
        return word is not None and any(word.casefold() not in thing for thing in looked_at)

    fault = None
    if lacks(element.name):
        fault = Fault.BACKGROUND if element.role == "background" else Fault.OBJECT
    elif any(thing.endswith(f" {ELSEWHERE}") for thing in there):
        fault = Fault.POSITION
    elif len(there) < len(things):
        fault = Fault.COUNT
    elif lacks(element.color):
        fault = Fault.COLOR
    return said.model_copy(update={"status": Status.WRONG, "fault": fault}) if fault else said
