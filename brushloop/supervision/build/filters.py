"""What becomes no record: instructions that make no sense, asked before rendering, and pictures that show too little.

Every rule is a function that returns None, or the reason why not; reasons are counted in the report of a build.
Distances between pictures are mean absolute differences of the channels, 0-1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from brushloop.canvas import Box, EditType, Element
from brushloop.supervision.build.phrases import changed
from brushloop.supervision.world.edits import Edit
from brushloop.supervision.world.scenes import apart, center, pixels
from brushloop.supervision.world.words import NUMBERS
from brushloop.supervision.world.worlds import current


class Rejected(Exception):
    """A draft of a record that a filter turned down; says why, in a few words that can be counted."""


Rule = Callable[[Edit], str | None]

# Before rendering -----------------------------------------------------------------------------------------------


def _ambiguous(edit: Edit) -> str | None:
    """`the cat` must mean one group of things."""
    old, _ = changed(edit)
    if old is None or old.role == "background":
        return None
    alike = [t for t in edit.before if t.name == old.name and old.color in (None, t.color)]
    return "the words fit more than one thing" if len(alike) > 1 else None


def _counted(edit: Edit) -> str | None:
    """The number spoken of has a word."""
    return "a number without a word" if len(edit.regions) >= len(NUMBERS) else None


def _room(edit: Edit) -> str | None:
    """What is added stands on free ground."""
    taken = [box for thing in edit.before for box in thing.boxes]
    return None if all(apart(box, taken, gap=0) for box in edit.regions) else "no room for it"


def _part_of_a_group(edit: Edit) -> str | None:
    """One of several things that look the same cannot be named."""
    old, _ = changed(edit)
    return "one of several that look the same" if old and old.count > 1 else None


def _another(edit: Edit) -> str | None:
    old, new = changed(edit)
    return "replaced by the same" if old and new and (old.name, old.color) == (new.name, new.color) else None


def _takes_color(edit: Edit) -> str | None:
    old, new = changed(edit)
    if old is None or new is None or old.name not in current().tintable:
        return "it takes no colour"
    return "it has that colour" if old.color == new.color else None


def _far(edit: Edit) -> str | None:
    (x, y), (u, v) = (center(box) for box in edit.regions)
    return "moved too little" if max(abs(x - u), abs(y - v)) < 10 else None


def _much(edit: Edit) -> str | None:
    old, new = (max(1, _area(box)) for box in edit.regions)
    return "resized too little" if max(old, new) / min(old, new) < 1.4 else None


def _other_ground(edit: Edit) -> str | None:
    return "the same background" if edit.before[0].name == edit.after[0].name else None


BEFORE: Mapping[EditType, tuple[Rule, ...]] = {
    EditType.ADD: (_counted, _room),
    EditType.REMOVE: (_counted, _ambiguous),
    EditType.REPLACE: (_ambiguous, _another),
    EditType.COLOR: (_ambiguous, _takes_color),
    EditType.MOVE: (_part_of_a_group, _ambiguous, _far),
    EditType.RESIZE: (_part_of_a_group, _ambiguous, _much),
    EditType.BACKGROUND: (_other_ground,),
}
"""Rules of each kind of edit, asked in order."""


def check_edit(edit: Edit, text: str) -> None:
    """Validate an instruction before anything is rendered.

    Raises:
        Rejected: the reason, with the kind of edit.
    """
    _known(edit.kind, edit.after)
    if not text.strip() or "{" in text or "  " in text.strip():
        raise Rejected(f"{edit.kind}: a phrasing with a gap in it")
    for rule in BEFORE.get(edit.kind, ()):
        if reason := rule(edit):
            raise Rejected(f"{edit.kind}: {reason}")


def _known(kind: str, elements: Sequence[Element]) -> None:
    if any(thing.role == "object" and thing.name not in current().by_name for thing in elements):
        raise Rejected(f"{kind}: a thing that is not in the world")


# After rendering ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Threshold:
    """How much a picture must change inside its regions, and how much it may outside."""

    inside: float
    outside: float = 0.0


AFTER: Mapping[EditType, Threshold] = {
    EditType.ADD: Threshold(0.04),
    EditType.REMOVE: Threshold(0.04),
    EditType.REPLACE: Threshold(0.03),
    EditType.COLOR: Threshold(0.015),
    EditType.MOVE: Threshold(0.04),
    EditType.RESIZE: Threshold(0.03),
    EditType.BACKGROUND: Threshold(0.05, outside=1.0),
}
"""Thresholds of each kind of edit."""

FLAT = 0.01
"""Standard deviation of the channels below which a picture shows nothing."""

FRAME_STEP = 0.0005
"""Least difference between one frame of a sequence and the next."""


def check_pair(kind: EditType, before: Image.Image, after: Image.Image, regions: Sequence[Box]) -> None:
    """The quality of a rendered edit: seen inside its regions, and not outside.

    Raises:
        Rejected: the reason, with the kind of edit.
    """
    limits = AFTER.get(kind, Threshold(0.01))
    change = np.abs(_array(after) - _array(before)).mean(-1)
    inside = region(regions, before.size)
    if change[inside].mean() < limits.inside:
        raise Rejected(f"{kind}: the change can hardly be seen")
    if not inside.all() and change[~inside].mean() > limits.outside:
        raise Rejected(f"{kind}: it changes what is outside its regions")
    check_picture(after)


def check_picture(picture: Image.Image) -> None:
    """A picture shows something.

    Raises:
        Rejected: it is all of one colour.
    """
    if float(_array(picture).std((0, 1)).max()) < FLAT:
        raise Rejected("a picture all of one colour")


def check_frames(frames: Sequence[Image.Image]) -> None:
    """Each frame of a sequence shows something that the one before does not.

    Raises:
        Rejected: two that follow each other look the same.
    """
    for one, two in pairwise(frames):
        if float(np.abs(_array(one) - _array(two)).mean()) < FRAME_STEP:
            raise Rejected("sequence: two frames look the same")


def region(regions: Sequence[Box], size: tuple[int, int], margin: int = 1) -> NDArray[np.bool_]:
    """H W: inside the boxes and `margin` pixels around them; everywhere without boxes. `size` is width, height."""
    width, height = size
    mask = np.full((height, width), not regions)
    for box in regions:
        left, top, right, bottom = pixels(box, width)
        mask[max(0, top - margin) : bottom + margin, max(0, left - margin) : right + margin] = True
    return mask


def _array(picture: Image.Image) -> NDArray[np.float32]:
    return np.asarray(picture.convert("RGB"), np.float32) / np.float32(255)


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])
