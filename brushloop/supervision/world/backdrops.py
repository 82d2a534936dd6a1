"""What stands behind the things: places drawn with gradients and a few shapes, each in sixteen variations."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

CANVAS = 128
"""Width and height of a picture in pixels."""

DRAWN = ("plain", "sky", "meadow", "beach", "night", "desert", "snow", "sea")


def _blend(size: int, stops: Sequence[tuple[float, tuple[int, int, int]]]) -> Image.Image:
    rows = np.linspace(0, 1, size)
    channels = [np.interp(rows, [at for at, _ in stops], [color[c] for _, color in stops]) for c in range(3)]
    column = np.stack(channels, -1)[:, None, :]
    return Image.fromarray(np.broadcast_to(column, (size, size, 3)).round().astype(np.uint8), "RGB")


@lru_cache(maxsize=256)
def backdrop(name: str, variant: int, size: int = CANVAS) -> Image.Image:
    """One of sixteen variations of a background, RGB."""
    rng = random.Random(f"{name}/{variant}")
    horizon = rng.uniform(0.52, 0.66)
    pale, sky = (206, 233, 250), (150, 205, 242)
    if name == "plain":
        return _blend(size, [(0, (250, 246, 238)), (1, (244, 238, 226))])
    if name == "sky":
        picture = _blend(size, [(0, (96, 178, 238)), (1, (196, 230, 250))])
    elif name == "meadow":
        picture = _blend(size, [(0, sky), (horizon - 0.01, pale), (horizon, (150, 206, 104)), (1, (104, 172, 74))])
    elif name == "beach":
        picture = _blend(
            size,
            [(0, sky), (horizon - 0.16, pale), (horizon - 0.15, (64, 158, 202)), (horizon - 0.01, (110, 196, 216)),
             (horizon, (250, 228, 176)), (1, (238, 204, 140))],
        )  # fmt: skip
    elif name == "night":
        picture = _blend(size, [(0, (18, 22, 58)), (0.8, (46, 48, 104)), (1, (28, 30, 66))])
    elif name == "desert":
        picture = _blend(
            size,
            [(0, (252, 214, 160)), (horizon - 0.01, (255, 236, 200)), (horizon, (226, 168, 96)), (1, (206, 140, 74))],
        )
    elif name == "snow":
        picture = _blend(
            size,
            [(0, (176, 196, 222)), (horizon - 0.01, (216, 226, 240)), (horizon, (250, 252, 255)), (1, (226, 236, 248))],
        )
    elif name == "sea":
        picture = _blend(
            size, [(0, pale), (horizon - 0.21, (226, 242, 250)), (horizon - 0.2, (46, 128, 190)), (1, (16, 70, 138))]
        )
    else:
        raise ValueError(f"no background {name!r}; there are {', '.join(DRAWN)}")
    pen = ImageDraw.Draw(picture, "RGBA")
    for _ in range({"sky": 3, "night": 22, "sea": 9, "meadow": 12, "snow": 14, "desert": 5, "beach": 5}[name]):
        x, y = rng.uniform(0, size), rng.uniform(0, 1)
        r: float
        if name == "sky":
            y *= size
            for dx, r in ((-9, 6), (0, 9), (9, 6)):
                pen.ellipse([x + dx - r, y - r * 0.7, x + dx + r, y + r * 0.7], fill=(255, 255, 255, 120))
        elif name == "night":
            r = rng.choice((0.6, 0.9, 1.2))
            pen.ellipse([x - r, y * size - r, x + r, y * size + r], fill=(255, 250, 214, 220))
        else:
            top = size * (horizon - 0.16 if name == "sea" else horizon + 0.03)
            y, w = top + y * (size - top), rng.uniform(3, 8)
            shade = {"meadow": (84, 150, 60, 110), "sea": (150, 200, 230, 110)}.get(name, (150, 130, 110, 60))
            pen.line([x - w, y, x + w, y], fill=shade, width=1)
    return picture
