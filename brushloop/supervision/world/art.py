"""How things look: objects from real vector art, in the styles of `art/`, in their own colours or tinted.

Sprites are rendered once from SVG (resvg), trimmed to what is visible, tinted by turning their main
hue, and resized on demand; all pictures are RGBA with straight alpha.
"""

from __future__ import annotations

import colorsys
from functools import lru_cache

import numpy as np
from PIL import Image

from brushloop.supervision.world import svg

SIZES = {"small": 30, "medium": 44, "large": 60}
"""Longer side of an object in pixels, on a canvas of 128."""

PALETTE = {  # hue in degrees, mean saturation, mean value
    "red": (2, 0.80, 0.88),
    "orange": (27, 0.88, 0.96),
    "yellow": (52, 0.80, 0.97),
    "green": (125, 0.68, 0.66),
    "blue": (214, 0.78, 0.86),
    "purple": (282, 0.60, 0.74),
    "pink": (334, 0.46, 0.97),
    "brown": (22, 0.66, 0.50),
    "turquoise": (176, 0.72, 0.78),
}


@lru_cache(maxsize=2048)
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
    if weight.sum() < 0.02 * rgba[..., 3].sum():
        return _dyed(picture, color)
    histogram = np.bincount((hue * 36).astype(int).ravel() % 36, weight.ravel(), 36)
    smooth = histogram + np.roll(histogram, 1) + np.roll(histogram, -1)
    main = (float(smooth.argmax()) + 0.5) / 36
    near = (np.abs((hue - main + 0.5) % 1 - 0.5) < 38 / 360) & (saturation > 0.18)
    target_hue, target_saturation, target_value = PALETTE[color]
    mean = np.average(hsv[near], axis=0, weights=rgba[..., 3][near] + 1e-6)
    hue = np.where(near, target_hue / 360, hue)
    saturation = np.where(near, np.clip(saturation * target_saturation / mean[1], 0, 1), saturation)
    value = np.where(near, np.clip(value * target_value / mean[2], 0, 1), value)
    turned = Image.fromarray((np.stack([hue, saturation, value], -1) * 255).round().astype(np.uint8), "HSV")
    tinted = turned.convert("RGB")
    tinted.putalpha(picture.getchannel("A"))
    return tinted


def _dyed(picture: Image.Image, color: str) -> Image.Image:
    """A drawing in black and white printed in a colour instead of black."""
    light = np.asarray(picture.convert("L"), np.float32)[..., None] / 255
    printed = light * 255 + (1 - light) * np.array(rgb(color), np.float32)
    dyed = Image.fromarray(printed.round().astype(np.uint8), "RGB")
    dyed.putalpha(picture.getchannel("A"))
    return dyed


@lru_cache(maxsize=1024)
def _original(name: str, style: str, color: str | None) -> Image.Image:
    drawing = _drawing(name, style)
    return drawing if color is None else _tint(drawing, color)


def aspect(name: str, style: str) -> float:
    """Width over height of the object's visible part."""
    width, height = _drawing(name, style).size
    return width / height


@lru_cache(maxsize=32768)
def sprite(name: str, style: str, color: str | None, width: int, height: int) -> Image.Image:
    """The object as RGBA, `width` x `height` pixels."""
    return _original(name, style, color).resize((width, height), Image.Resampling.LANCZOS)


def rgb(color: str) -> tuple[int, int, int]:
    """The mean RGB of a colour name, 0-255."""
    hue, saturation, value = PALETTE[color]
    red, green, blue = colorsys.hsv_to_rgb(hue / 360, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)
