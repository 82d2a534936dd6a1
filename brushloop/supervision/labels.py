"""The true critique of a picture that nobody rendered: what a detector saw, held against the plan so far."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from PIL import Image

from brushloop.canvas import Box, Correction, Element, Fault, Plan, Status, Verdict
from brushloop.critic.prompt import ELSEWHERE, NOTHING, SMEAR, Look, Seen
from brushloop.supervision.faults import correct, phrase, phrases, place
from brushloop.supervision.judge import Seen as Found
from brushloop.supervision.judge import Sight, overlap
from brushloop.supervision.world import scenes

NEAR = 0.25
"""Overlap (intersection over union) from which a found object counts as standing in a box."""


def label(sight: Sight, plan: Plan, step: int, picture: Image.Image | None = None) -> Look:
    """What a critic should say of a picture in which `sight` was seen, once plan step `step` is painted.

    With the picture, a box in which no object was found but which does not look like the background holds
    a smear, which is wrong; without it, such a box is empty.
    """
    due = set(plan.due(step))
    smeared: Callable[[Box], bool] = partial(differs, picture, sight.background) if picture else lambda box: False
    findings, corrections = [], []
    for index, thing in enumerate(plan.elements):
        if index not in due:
            findings.append(Seen(element=index, status=Status.NOT_YET))
            continue
        finding, correction = _look_for(index, thing, sight, smeared)
        findings.append(finding)
        if correction:
            corrections.append(correction)
    verdict = Verdict.REFINE if corrections else Verdict.ACCEPT
    if step == 0 and findings[0].fault is Fault.BACKGROUND:
        verdict = Verdict.REDRAW
    return Look(findings=tuple(findings), corrections=tuple(corrections), verdict=verdict)


def certainty(sight: Sight, thing: Element) -> float:
    """How sure the detector is of the names of what stands in the boxes of `thing` (0-1): the least sure of them."""
    return min((found.name_score for box in thing.boxes if (found := _in(sight, box))), default=1.0)


def differs(picture: Image.Image, background: str, box: Box) -> bool:
    """Whether a box holds something else than the background: a fifth of its pixels is far from all variants of it."""
    size = picture.width
    inside = np.asarray(picture.convert("RGB").crop(scenes.pixels(box, size)), np.int16)
    shares = []
    for variant in range(16):
        plain = np.asarray(scenes.backdrop(background, variant, size).crop(scenes.pixels(box, size)), np.int16)
        shares.append((np.abs(inside - plain).max(-1) > FAR).mean())
    return bool(min(shares) > 0.2)


FAR = 48
"""Difference of a colour channel (of 255) from which a pixel does not belong to the background."""


def _look_for(
    index: int, thing: Element, sight: Sight, smeared: Callable[[Box], bool]
) -> tuple[Seen, Correction | None]:
    def seen(
        text: str, status: Status, fault: Fault | None = None, correction: Correction | None = None
    ) -> tuple[Seen, Correction | None]:
        return Seen(element=index, asked=phrases(thing), seen=text, status=status, fault=fault), correction

    if thing.role == "background":
        if sight.background == thing.name:
            return seen(place(thing.name), Status.PRESENT)
        fault = Fault.BACKGROUND
        return seen(place(sight.background), Status.WRONG, fault, correct(thing, fault, ()))
    there = [(box, _in(sight, box)) for box in thing.boxes]
    empty = [box for box, found in there if found is None]
    junk = [box for box in empty if smeared(box)]
    text = ", ".join(
        phrase(found.name, found.color if thing.color else None) if found else SMEAR if box in junk else NOTHING
        for box, found in there
    )
    if len(empty) == len(there) and not junk:
        astray = next((found for found in sight.objects if found.name == thing.name), None)
        if astray and thing.count == 1:
            fault = Fault.POSITION
            there_it_is = f"{phrase(thing.name, thing.color)} {ELSEWHERE}"
            return seen(there_it_is, Status.WRONG, fault, correct(thing, fault, thing.boxes, astray.box))
        return seen(text, Status.MISSING, None, correct(thing, None, thing.boxes))
    named = [box for box, found in there if found and found.name != thing.name]
    toned = [box for box, found in there if found and thing.color not in (None, found.color)]
    for fault, wrong in ((Fault.OBJECT, junk + named), (Fault.COUNT, empty), (Fault.COLOR, toned)):
        if wrong:
            return seen(text, Status.WRONG, fault, correct(thing, fault, wrong))
    return seen(text, Status.PRESENT)


def _in(sight: Sight, box: Box) -> Found | None:
    best = max(sight.objects, key=lambda found: overlap(found.box, box), default=None)
    return best if best is not None and overlap(best.box, box) >= NEAR else None
