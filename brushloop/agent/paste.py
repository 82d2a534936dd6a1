"""Keeping what a refinement must not touch: compare what is outside its regions, then paste it back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from brushloop.canvas import Box

if TYPE_CHECKING:
    from PIL.Image import Image

Mask = NDArray[np.float32]
"""H W, 0-1: the share of the new picture in each pixel."""


def paste_back(before: Image, after: Image, regions: Sequence[Box], margin: int) -> tuple[Image, float]:
    """`after` inside the regions, `before` outside of them exactly, and a fade over `margin` percent between.

    Returns:
        The picture, and the drift: mean absolute difference (0-1) that was found outside, before pasting
        back. Without regions the whole canvas may change: `after` as it is, and no drift.
    """
    from PIL import Image

    if not regions:
        return after, 0.0
    old = np.asarray(before.convert("RGB"), np.float32)
    new = np.asarray(after.convert("RGB"), np.float32)
    share = region_mask(regions, before.size, margin)
    outside = share == 0
    drift = float(np.abs(new - old)[outside].mean() / 255) if outside.any() else 0.0
    mixed = old + (new - old) * share[..., None]
    return Image.fromarray(mixed.round().astype(np.uint8), "RGB"), drift


def region_mask(regions: Sequence[Box], size: tuple[int, int], margin: int) -> Mask:
    """1 inside the regions, falling to 0 over `margin` percent around them; `size` is width and height in pixels."""
    width, height = size
    fade = max(1, round(margin * max(size) / 100))
    mask = np.zeros((height, width), np.float32)
    for x0, y0, x1, y1 in regions:
        across = _ramp(width, min(x0, x1), max(x0, x1), fade)
        down = _ramp(height, min(y0, y1), max(y0, y1), fade)
        mask = np.maximum(mask, np.minimum(down[:, None], across[None, :]))
    return mask


def _ramp(length: int, start: int, stop: int, fade: int) -> Mask:
    """Along one side: 1 from `start` to `stop` percent, falling to 0 within `fade` pixels."""
    first, last = math.floor(start * length / 100), math.ceil(stop * length / 100) - 1
    at = np.arange(length)
    beyond = np.maximum(np.maximum(first - at, at - last), 0)
    return np.clip(1 - beyond / (fade + 1), 0, 1).astype(np.float32)
