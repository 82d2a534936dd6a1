"""The things the small world is made of: objects from real vector art, in two styles and six colours.

Sprites are rendered once from SVG (resvg), trimmed to what is visible, tinted by turning their main
hue, and resized on demand; all pictures are RGBA with straight alpha.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image

from brushloop.supervision.world import svg

STYLES = ("flat", "soft")
SIZES = {"small": 30, "medium": 44, "large": 60}
"""Longer side of an object in pixels, on a canvas of 128."""

COLORS = {  # hue in degrees, mean saturation, mean value
    "red": (2, 0.80, 0.88),
    "orange": (27, 0.88, 0.96),
    "yellow": (52, 0.80, 0.97),
    "green": (125, 0.68, 0.66),
    "blue": (214, 0.78, 0.86),
    "purple": (282, 0.60, 0.74),
}


@dataclass(frozen=True)
class Thing:
    """One kind of object: its name, plural, the icon it is drawn from, and whether it takes a colour."""

    name: str
    plural: str
    icon: str
    tintable: bool = False


def _things(table: str) -> tuple[Thing, ...]:
    things = []
    for row in table.split():
        name, plural, icon = row.rstrip("*").split(":")
        things.append(Thing(name, plural or name + "s", icon or name, row.endswith("*")))
    return tuple(things)


OBJECTS = _things(
    """
    apple::red-apple* banana:: strawberry:strawberries: carrot:: mushroom::*
    cat::cat-face dog::dog-face fish:fish:tropical-fish bird::* butterfly:butterflies:* turtle:: octopus:octopuses:*
    crab::* frog:: penguin:: whale::spouting-whale rabbit::rabbit-face pig::pig-face bee::honeybee
    tree::deciduous-tree pine::evergreen-tree cactus:cactuses: tulip::* sunflower::
    sun:: moon::crescent-moon star::* cloud::
    house:: car::automobile* rocket:: boat::sailboat balloon::* umbrella::* book::closed-book* gift::wrapped-gift*
    key::* bell::* ball::soccer-ball cup::hot-beverage cake::birthday-cake heart::red-heart* crown:: hat::top-hat
    """
)
"""Every object; those ending in * in the table take a colour."""

BY_NAME = {thing.name: thing for thing in OBJECTS}
TINTABLE = tuple(thing.name for thing in OBJECTS if thing.tintable)


@lru_cache(maxsize=1024)
def _drawing(name: str, style: str) -> Image.Image:
    """The object as the artist drew it, 192 px, trimmed to its visible part."""
    picture = svg.raster(svg.icon(name, style), 192)
    return picture.crop(picture.getchannel("A").point(lambda a: 255 * (a > 24)).getbbox())


def _tint(picture: Image.Image, color: str) -> Image.Image:
    """Turn the main hue of `picture` to `color`, keeping its shading and its other hues."""
    rgba = np.asarray(picture, np.float32) / 255
    hsv = np.asarray(picture.convert("RGB").convert("HSV"), np.float32) / 255
    hue, saturation, value = hsv[..., 0], hsv[..., 1], hsv[..., 2]
    weight = rgba[..., 3] * saturation * (saturation > 0.25)
    histogram = np.bincount((hue * 36).astype(int).ravel() % 36, weight.ravel(), 36)
    smooth = histogram + np.roll(histogram, 1) + np.roll(histogram, -1)
    main = (float(smooth.argmax()) + 0.5) / 36
    near = (np.abs((hue - main + 0.5) % 1 - 0.5) < 38 / 360) & (saturation > 0.18)
    target_hue, target_saturation, target_value = COLORS[color]
    mean = np.average(hsv[near], axis=0, weights=rgba[..., 3][near] + 1e-6)
    hue = np.where(near, target_hue / 360, hue)
    saturation = np.where(near, np.clip(saturation * target_saturation / mean[1], 0, 1), saturation)
    value = np.where(near, np.clip(value * target_value / mean[2], 0, 1), value)
    turned = Image.fromarray((np.stack([hue, saturation, value], -1) * 255).round().astype(np.uint8), "HSV")
    tinted = turned.convert("RGB")
    tinted.putalpha(picture.getchannel("A"))
    return tinted


@lru_cache(maxsize=1024)
def _original(name: str, style: str, color: str | None) -> Image.Image:
    drawing = _drawing(name, style)
    return drawing if color is None else _tint(drawing, color)


def aspect(name: str, style: str) -> float:
    """Width over height of the object's visible part."""
    width, height = _drawing(name, style).size
    return width / height


@lru_cache(maxsize=16384)
def sprite(name: str, style: str, color: str | None, width: int, height: int) -> Image.Image:
    """The object as RGBA, `width` x `height` pixels."""
    return _original(name, style, color).resize((width, height), Image.Resampling.LANCZOS)


def rgb(color: str) -> tuple[int, int, int]:
    """The mean RGB of a colour name, 0-255."""
    hue, saturation, value = COLORS[color]
    red, green, blue = colorsys.hsv_to_rgb(hue / 360, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)
