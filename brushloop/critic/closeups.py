"""Close-ups: one contact sheet that shows every box of the plan so far, large.

A small thing fills a few tokens of a whole picture; on the sheet it fills a tile, and the question names
the tile. So what stands in a box is looked at in one place instead of being searched for by its numbers.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from brushloop.canvas import Box, Plan

if TYPE_CHECKING:
    from PIL.Image import Image

MARGIN = 0.12
"""How much of its surroundings a close-up shows on each side, as a share of the box's longer side."""


def tiles(plan: Plan, step: int) -> dict[int, tuple[int, ...]]:
    """Numbers (from 1) of the tiles that show each element due at `step`; elements without boxes have none."""
    numbers: dict[int, tuple[int, ...]] = {}
    taken = 0
    for index in plan.due(step):
        boxes = plan.elements[index].boxes
        if boxes:
            numbers[index] = tuple(range(taken + 1, taken + len(boxes) + 1))
            taken += len(boxes)
    return numbers


def side(number: int) -> int:
    """Tiles along one side of a sheet that holds `number` of them, at least 2."""
    return max(2, math.ceil(math.sqrt(number)))


def crops(plan: Plan, step: int) -> list[tuple[float, float, float, float]]:
    """The square around each box due at `step`, in the order of the tiles (percent; it may reach over the edge)."""
    return [_square(box) for index in plan.due(step) for box in plan.elements[index].boxes]


def contact_sheet(picture: Image, plan: Plan, step: int) -> Image | None:
    """The close-ups of `picture`, left to right and top to bottom, as large as the picture; None if there are none."""
    from PIL import Image
    from PIL.Image import Resampling

    squares = crops(plan, step)
    if not squares:
        return None
    across = side(len(squares))
    wide, high = picture.width, picture.height
    sheet = Image.new("RGB", (wide, high))
    for number, square in enumerate(squares):
        row, column = divmod(number, across)
        left, top = column * wide // across, row * high // across
        size = (column + 1) * wide // across - left, (row + 1) * high // across - top
        box = [edge * length / 100 for edge, length in zip(square, (wide, high, wide, high), strict=True)]
        part = picture.convert("RGB").transform(size, Image.Transform.EXTENT, box, Resampling.BILINEAR)
        sheet.paste(part, (left, top))
    return sheet


def _square(box: Box) -> tuple[float, float, float, float]:
    half = max(box[2] - box[0], box[3] - box[1]) * (0.5 + MARGIN)
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return x - half, y - half, x + half, y + half
