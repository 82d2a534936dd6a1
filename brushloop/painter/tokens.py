"""Between pictures and Flux tokens: 2x2 blocks of latents make one token, as FLUX packs them."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from brushloop.canvas import Box

GRID = 32
"""The painter speaks of places on a grid of 32 x 32."""


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


def place(text: str, regions: tuple[Box, ...]) -> str:
    """The words the embedded painter reads: the prompt, and where its things go, in order, on the grid."""
    if not regions:
        return text
    numbers = (str(round(edge * GRID / 100)) for box in regions for edge in box)
    return f"{text} at {' '.join(numbers)}"
