"""The true critique of a picture that nobody rendered: what a detector saw, held against the plan so far."""

from __future__ import annotations

from brushloop.canvas import Box, Correction, Element, Fault, Plan, Status, Verdict
from brushloop.critic.prompt import Look, Seen
from brushloop.supervision.faults import correct
from brushloop.supervision.judge import Seen as Found
from brushloop.supervision.judge import Sight, overlap

NEAR = 0.25
"""Overlap (intersection over union) from which a found object counts as standing in a box."""


def label(sight: Sight, plan: Plan, step: int) -> Look:
    """What a critic should say of a picture in which `sight` was seen, once plan step `step` is painted."""
    due = set(plan.due(step))
    findings, corrections = [], []
    for index, thing in enumerate(plan.elements):
        if index not in due:
            findings.append(Seen(element=index, status=Status.NOT_YET))
            continue
        status, fault, correction = _look_for(thing, sight)
        findings.append(Seen(element=index, status=status, fault=fault))
        if correction:
            corrections.append(correction)
    verdict = Verdict.REFINE if corrections else Verdict.ACCEPT
    if step == 0 and findings[0].fault is Fault.BACKGROUND:
        verdict = Verdict.REDRAW
    return Look(findings=tuple(findings), corrections=tuple(corrections), verdict=verdict)


def _look_for(thing: Element, sight: Sight) -> tuple[Status, Fault | None, Correction | None]:
    if thing.role == "background":
        if sight.background == thing.name:
            return Status.PRESENT, None, None
        return Status.WRONG, Fault.BACKGROUND, correct(thing, Fault.BACKGROUND, ())
    there = [(box, _in(sight, box)) for box in thing.boxes]
    empty = [box for box, found in there if found is None]
    if len(empty) == len(there):
        astray = next((found for found in sight.objects if found.name == thing.name), None)
        if astray and thing.count == 1:
            return Status.WRONG, Fault.POSITION, correct(thing, Fault.POSITION, thing.boxes, astray.box)
        return Status.MISSING, None, correct(thing, None, thing.boxes)
    if empty:
        return Status.WRONG, Fault.COUNT, correct(thing, Fault.COUNT, empty)
    for fault, same in (
        (Fault.OBJECT, lambda found: found.name == thing.name),
        (Fault.COLOR, lambda found: thing.color in (None, found.color)),
    ):
        wrong = [box for box, found in there if not same(found)]
        if wrong:
            return Status.WRONG, fault, correct(thing, fault, wrong)
    return Status.PRESENT, None, None


def _in(sight: Sight, box: Box) -> Found | None:
    best = max(sight.objects, key=lambda found: overlap(found.box, box), default=None)
    return best if best is not None and overlap(best.box, box) >= NEAR else None
