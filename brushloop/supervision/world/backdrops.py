"""What stands behind the things: places drawn with gradients and a few shapes, each in sixteen variations."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

CANVAS = 128
"""Width and height of a picture in pixels."""


def _blend(size: int, stops: Sequence[tuple[float, tuple[int, int, int]]]) -> Image.Image:
    rows = np.linspace(0, 1, size)
    channels = [np.interp(rows, [at for at, _ in stops], [color[c] for _, color in stops]) for c in range(3)]
    column = np.stack(channels, -1)[:, None, :]
    return Image.fromarray(np.broadcast_to(column, (size, size, 3)).round().astype(np.uint8), "RGB")


@lru_cache(maxsize=1024)
def backdrop(name: str, variant: int, size: int = CANVAS) -> Image.Image:
    """One of sixteen variations of a background, RGB."""
    rng = random.Random(f"{name}/{variant}")
    if name in PLACES:
        return PLACES[name](rng, size)
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
        raise ValueError(f"no background {name!r}; there are {', '.join((*SIMPLE, *PLACES))}")
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


SIMPLE = ("plain", "sky", "meadow", "beach", "night", "desert", "snow", "sea")
"""Gradients with a few shapes over them."""

# Places: landscapes and rooms, in percent of the side ----------------------------------------------------------

Colour = tuple[int, int, int]


class _Pen:
    """Draws on a blend in percent of the side, smoothly (four times as large, then reduced)."""

    def __init__(self, size: int, stops: Sequence[tuple[float, Colour]]) -> None:
        self.size, self.unit = size, size * 4 / 100
        self.picture = _blend(size * 4, stops)
        self.draw = ImageDraw.Draw(self.picture, "RGBA")

    def box(self, left: float, top: float, right: float, bottom: float, fill: tuple[int, ...]) -> None:
        self.draw.rectangle([edge * self.unit for edge in (left, top, right, bottom)], fill=fill)

    def oval(self, x: float, y: float, wide: float, high: float, fill: tuple[int, ...]) -> None:
        self.draw.ellipse([edge * self.unit for edge in (x - wide, y - high, x + wide, y + high)], fill=fill)

    def shape(self, points: Sequence[tuple[float, float]], fill: tuple[int, ...]) -> None:
        self.draw.polygon([(x * self.unit, y * self.unit) for x, y in points], fill=fill)

    def line(self, points: Sequence[tuple[float, float]], width: float, fill: tuple[int, ...]) -> None:
        self.draw.line([(x * self.unit, y * self.unit) for x, y in points], fill, round(width * self.unit))

    def done(self) -> Image.Image:
        return self.picture.resize((self.size, self.size), Image.Resampling.BOX)


def _forest(rng: random.Random, size: int) -> Image.Image:
    pen = _Pen(size, [(0, (178, 212, 190)), (0.7, (118, 164, 124)), (0.71, (84, 118, 70)), (1, (62, 92, 54))])
    for shade, low in ((108, 64), (84, 70), (62, 76)):
        x = rng.uniform(-6, 4)
        while x < 104:
            high, wide = rng.uniform(36, 58), rng.uniform(6, 9)
            green = (shade - 42, shade + 18, shade - 30)
            pen.box(x - 1, low - 8, x + 1, low + 3, (88, 68, 50))
            pen.shape([(x - wide, low - 3), (x + wide, low - 3), (x, low - high)], green)
            x += rng.uniform(13, 20)
    return pen.done()


def _mountains(rng: random.Random, size: int) -> Image.Image:
    pen = _Pen(size, [(0, (150, 196, 236)), (0.72, (228, 238, 246)), (0.73, (132, 168, 110)), (1, (104, 146, 84))])
    x = rng.uniform(-10, 12)
    while x < 112:
        high, wide = rng.uniform(32, 54), rng.uniform(24, 32)
        top = 73 - high
        grey = rng.randint(112, 138)
        pen.shape([(x - wide, 73), (x + wide, 73), (x, top)], (grey, grey + 6, grey + 22))
        snow = 0.3
        cap = [(x, top), (x + wide * snow, top + high * snow), (x + wide * 0.1, top + high * 0.22)]
        pen.shape([*cap, (x - wide * 0.08, top + high * 0.33), (x - wide * snow, top + high * snow)], (250, 252, 255))
        x += rng.uniform(28, 42)
    return pen.done()


def _city(rng: random.Random, size: int) -> Image.Image:
    pen = _Pen(size, [(0, (170, 208, 240)), (0.8, (236, 232, 226)), (1, (214, 208, 204))])
    for grey, least in ((184, 28), (146, 44)):
        x = rng.uniform(-6, 0)
        while x < 100:
            wide, top = rng.uniform(10, 17), rng.uniform(least, least + 30)
            pen.box(x, top, x + wide, 82, (grey, grey + 4, grey + 14))
            for row in range(int(top) + 4, 78, 7):
                for column in range(2, int(wide) - 2, 5):
                    lit = rng.random() < 0.3
                    glass = (255, 232, 160) if lit else (grey - 34, grey - 22, grey)
                    pen.box(x + column, row, x + column + 2.4, row + 3.4, glass)
            x += wide + rng.choice((0.0, 1.5, 5.0))
    pen.box(0, 82, 100, 100, (140, 138, 142))
    return pen.done()


def _street(rng: random.Random, size: int) -> Image.Image:
    pen = _Pen(size, [(0, (168, 208, 240)), (0.5, (224, 236, 246)), (1, (224, 236, 246))])
    paints = [(226, 176, 142), (236, 212, 164), (198, 156, 150), (186, 196, 178), (216, 200, 190)]
    x = rng.uniform(-8, 0)
    while x < 100:
        wide, top = rng.uniform(18, 26), rng.uniform(14, 26)
        wall = rng.choice(paints)
        pen.box(x, top, x + wide, 58, wall)
        pen.shape([(x - 1, top), (x + wide + 1, top), (x + wide / 2, top - 8)], (150, 84, 70))
        for row in (top + 5, top + 17):
            for column in (wide * 0.2, wide * 0.6):
                pen.box(x + column, row, x + column + wide * 0.2, row + 7, (120, 146, 168))
        x += wide
    pen.box(0, 58, 100, 64, (196, 190, 184))
    pen.box(0, 64, 100, 94, (108, 110, 118))
    pen.box(0, 94, 100, 100, (196, 190, 184))
    at = rng.uniform(-12, 0)
    while at < 100:
        pen.box(at, 78, at + 9, 80, (244, 240, 226))
        at += 17
    return pen.done()


def _garden(rng: random.Random, size: int) -> Image.Image:
    pen = _Pen(size, [(0, (170, 216, 246)), (0.5, (222, 240, 250)), (0.51, (142, 200, 98)), (1, (98, 164, 72))])
    x = rng.uniform(-5, 0)
    while x < 100:
        pen.shape([(x, 54), (x, 36), (x + 2.5, 33), (x + 5, 36), (x + 5, 54)], (250, 250, 246))
        x += 7
    pen.box(0, 40, 100, 42.5, (236, 236, 230))
    for _ in range(26):
        x, y = rng.uniform(2, 98), rng.uniform(58, 98)
        petals = rng.choice(((240, 96, 120), (250, 214, 84), (200, 120, 220), (255, 255, 255)))
        pen.line([(x, y), (x, y + 4)], 0.7, (60, 124, 50))
        pen.oval(x, y, 1.7, 1.7, petals)
        pen.oval(x, y, 0.6, 0.6, (250, 190, 60))
    return pen.done()


def _room(rng: random.Random, size: int) -> Image.Image:
    wall = rng.choice(((240, 222, 196), (214, 226, 232), (226, 218, 236), (222, 234, 214)))
    low = tuple(channel - 14 for channel in wall)
    pen = _Pen(size, [(0, wall), (0.69, (low[0], low[1], low[2])), (0.7, (188, 138, 92)), (1, (160, 112, 72))])
    left = rng.choice((12, 38, 62))
    pen.box(left, 12, left + 26, 42, (250, 250, 248))
    pen.box(left + 2, 14, left + 24, 40, (168, 214, 244))
    pen.box(left + 12, 14, left + 14, 40, (250, 250, 248))
    pen.box(left + 2, 26, left + 24, 28, (250, 250, 248))
    pen.box(0, 67, 100, 70, (250, 248, 244))
    for x in range(-40, 160, 16):
        pen.line([(50 + (x - 50) * 0.8, 70), (50 + (x - 50) * 1.5, 100)], 0.5, (140, 96, 60))
    return pen.done()


def _sunset(rng: random.Random, size: int) -> Image.Image:
    low = rng.uniform(0.62, 0.7)
    pen = _Pen(
        size, [(0, (92, 62, 128)), (0.3, (214, 96, 106)), (low, (255, 196, 98)), (low + 0.01, (92, 58, 84)),
               (1, (52, 36, 64))]
    )  # fmt: skip
    x, y = rng.uniform(20, 80), 100 * low
    pen.oval(x, y - 4, 13, 13, (255, 232, 150))
    pen.box(0, y, 100, 100, (72, 46, 76))
    for row in range(5):
        wide = rng.uniform(6, 14)
        pen.box(x - wide, y + 3 + row * 6, x + wide, y + 4.2 + row * 6, (255, 196, 110, 150))
    return pen.done()


def _rain(rng: random.Random, size: int) -> Image.Image:
    pen = _Pen(size, [(0, (104, 114, 130)), (0.74, (170, 180, 190)), (0.75, (120, 132, 124)), (1, (98, 110, 104))])
    for _ in range(7):
        x, y = rng.uniform(0, 100), rng.uniform(0, 12)
        pen.oval(x, y, rng.uniform(14, 22), rng.uniform(6, 9), (84, 92, 108))
    for _ in range(70):
        x, y = rng.uniform(0, 104), rng.uniform(8, 96)
        pen.line([(x, y), (x - 1.6, y + 6)], 0.6, (214, 228, 244, 190))
    for _ in range(5):
        pen.oval(rng.uniform(5, 95), rng.uniform(80, 97), rng.uniform(5, 10), 1.4, (176, 190, 204))
    return pen.done()


def _underwater(rng: random.Random, size: int) -> Image.Image:
    pen = _Pen(size, [(0, (104, 204, 222)), (0.8, (20, 98, 148)), (0.86, (16, 84, 132)), (1, (16, 84, 132))])
    bed = [(x, 88 + rng.uniform(-3, 3)) for x in range(0, 101, 10)]
    pen.shape([(0, 100), *bed, (100, 100)], (214, 190, 134))
    for _ in range(6):
        x, high = rng.uniform(3, 97), rng.uniform(14, 30)
        weed = [(x + 2.2 * (-1) ** step, 92 - high * step / 5) for step in range(6)]
        pen.line(weed, 1.8, (36, 132, 92))
    for _ in range(14):
        x, y, r = rng.uniform(2, 98), rng.uniform(4, 80), rng.uniform(0.7, 2)
        pen.oval(x, y, r, r, (220, 244, 252, 120))
    return pen.done()


def _space(rng: random.Random, size: int) -> Image.Image:
    pen = _Pen(size, [(0, (8, 8, 20)), (0.5, (22, 12, 44)), (1, (6, 6, 16))])
    for _ in range(5):
        x, y = rng.uniform(0, 100), rng.uniform(0, 100)
        for wide in (22.0, 16.0, 10.0):
            pen.oval(x, y, wide, wide * 0.6, (96, 48, 140, 26))
    for _ in range(60):
        x, y, r = rng.uniform(0, 100), rng.uniform(0, 100), rng.choice((0.25, 0.4, 0.6))
        pen.oval(x, y, r, r, (255, 255, 255, 230))
    x, y, wide = rng.uniform(12, 88), rng.uniform(10, 30), rng.uniform(5, 8)
    pen.oval(x, y, wide, wide, (206, 122, 84))
    pen.oval(x - wide * 0.25, y - wide * 0.2, wide * 0.6, wide * 0.35, (226, 150, 108))
    return pen.done()


PLACES: dict[str, Callable[[random.Random, int], Image.Image]] = {
    "forest": _forest, "mountains": _mountains, "city": _city, "street": _street, "garden": _garden, "room": _room,
    "sunset": _sunset, "rain": _rain, "underwater": _underwater, "space": _space,
}  # fmt: skip


def code(name: str) -> str:
    """The code that draws a background: it tells of every change, and is the same wherever the pixels are rounded."""
    return inspect.getsource(PLACES.get(name, backdrop))
