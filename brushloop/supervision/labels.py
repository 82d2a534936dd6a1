"""Ground truth for pictures that nobody rendered: what a detector saw, held against the plan so far."""

from __future__ import annotations

from brushloop.canvas import Box, Element, Fault, Plan, Status
from brushloop.critic.prompt import Seen
from brushloop.supervision.judge import Seen as Found
from brushloop.supervision.judge import Sight, overlap

NEAR = 0.25
"""Overlap (intersection over union) from which a found object counts as standing in a box."""


def label(sight: Sight, plan: Plan, step: int) -> tuple[Seen, ...]:
    """The true finding of each element, as a detector sees it."""
    due = set(plan.due(step))
    return tuple(_one(sight, index, thing, index in due) for index, thing in enumerate(plan.elements))


def _one(sight: Sight, index: int, thing: Element, due: bool) -> Seen:
    if not due:
        return Seen(element=index, status=Status.NOT_YET)
    if thing.role == "background":
        if sight.background == thing.name:
            return Seen(element=index, status=Status.PRESENT)
        return Seen(element=index, status=Status.WRONG, fault=Fault.BACKGROUND)
    there = [_in(sight, box) for box in thing.boxes]
    if not any(there):
        elsewhere = any(found.name == thing.name for found in sight.objects) and thing.count == 1
        if elsewhere:
            return Seen(element=index, status=Status.WRONG, fault=Fault.POSITION)
        return Seen(element=index, status=Status.MISSING)
    if not all(there):
        return Seen(element=index, status=Status.WRONG, fault=Fault.COUNT)
    if any(found and found.name != thing.name for found in there):
        return Seen(element=index, status=Status.WRONG, fault=Fault.OBJECT)
    if thing.color and any(found and found.color != thing.color for found in there):
        return Seen(element=index, status=Status.WRONG, fault=Fault.COLOR)
    return Seen(element=index, status=Status.PRESENT)


def _in(sight: Sight, box: Box) -> Found | None:
    best = max(sight.objects, key=lambda found: overlap(found.box, box), default=None)
    return best if best is not None and overlap(best.box, box) >= NEAR else None
