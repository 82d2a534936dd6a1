"""Between pictures and Flux tokens: 2x2 blocks of latents make one token, as FLUX packs them."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from brushloop.canvas import Box, pixels_of

SIDE = 8
"""Tokens along one side of the embedded painter's canvas."""
LENGTH = 32
"""Text tokens the embedded painter reads for a whole canvas."""
WINDOW = 5
"""Tokens along one side of the window that a local edit denoises."""


@dataclass(frozen=True)
class Window:
    """A rectangle of tokens: all of the canvas, or the part around a local edit."""

    top: int = 0
    left: int = 0
    side: int = SIDE

    @property
    def words(self) -> int:
        """Text tokens read for it: a local edit is told in fewer words."""
        return LENGTH if self.side == SIDE else LENGTH // 2

    @classmethod
    def around(cls, regions: tuple[Box, ...]) -> Window:
        """The window that holds all regions, best centred; the whole canvas if none does."""
        fitting = [window for window in WINDOWS if window.holds(regions)]
        if not fitting or not regions:
            return cls()
        x = (min(box[0] for box in regions) + max(box[2] for box in regions)) / 2
        y = (min(box[1] for box in regions) + max(box[3] for box in regions)) / 2
        middle = WINDOW / 2 * 100 / SIDE
        return min(fitting, key=lambda w: abs(w.left * 100 / SIDE + middle - x) + abs(w.top * 100 / SIDE + middle - y))

    @classmethod
    def anywhere(cls, rng: random.Random) -> Window:
        """A random window."""
        return rng.choice(WINDOWS)

    def holds(self, regions: tuple[Box, ...]) -> bool:
        """Whether the regions lie inside; no regions are everywhere, which only the whole canvas holds."""
        if self.side == SIDE:
            return True
        low, high = self.left * 100 / SIDE, (self.left + self.side) * 100 / SIDE
        up, down = self.top * 100 / SIDE, (self.top + self.side) * 100 / SIDE
        return bool(regions) and all(low <= b[0] and b[2] <= high and up <= b[1] and b[3] <= down for b in regions)

    def index(self) -> Tensor:
        """Indices of its tokens in the canvas's tokens."""
        rows = torch.arange(self.top, self.top + self.side)[:, None] * SIDE
        return (rows + torch.arange(self.left, self.left + self.side)[None, :]).reshape(-1)


WINDOWS = tuple(Window(top, left, WINDOW) for top in range(SIDE - WINDOW + 1) for left in range(SIDE - WINDOW + 1))


def pack(latents: Tensor) -> Tensor:
    """(B C H W) latents as (B H/2*W/2 4C) tokens."""
    batch, channels, height, width = latents.shape
    blocks = latents.view(batch, channels, height // 2, 2, width // 2, 2)
    return blocks.permute(0, 2, 4, 1, 3, 5).reshape(batch, height // 2 * (width // 2), channels * 4)


def unpack(tokens: Tensor, height: int, width: int) -> Tensor:
    """(B N 4C) tokens back to (B C height width) latents."""
    batch, _, channels = tokens.shape
    blocks = tokens.view(batch, height // 2, width // 2, channels // 4, 2, 2)
    return blocks.permute(0, 3, 1, 4, 2, 5).reshape(batch, channels // 4, height, width)


def to_pixels(picture: Image.Image) -> Tensor:
    """A picture as (1 3 H W) in -1..1."""
    array = torch.from_numpy(np.asarray(picture.convert("RGB")).copy())
    return array.permute(2, 0, 1)[None].float() / 127.5 - 1


def to_picture(pixels: Tensor) -> Image.Image:
    """(1 3 H W) in -1..1 as a picture."""
    array = ((pixels[0].clamp(-1, 1) + 1) * 127.5).round().byte()
    return Image.fromarray(array.permute(1, 2, 0).numpy(), "RGB")


def mask(regions: tuple[Box, ...]) -> Tensor:
    """Where an edit applies, as (N 64) tokens: each holds its 8 x 8 blocks of 2 x 2 pixels.

    -1 is outside; the first region is 1, and each further one a quarter less, so that order is told
    (a move goes from the first to the second).
    """
    size = SIDE * 8
    cells = torch.full((size, size), -1.0)
    for number, box in enumerate(regions):
        left, top, right, bottom = pixels_of(box, (size, size))
        cells[top:bottom, left:right] = 1 - 0.25 * (number % 6)
    return cells.view(SIDE, 8, SIDE, 8).permute(0, 2, 1, 3).reshape(SIDE * SIDE, 64)
