"""Vector drawings: their text, their layers, and their pixels.

In SVG what comes later is painted over what came before, so document order is the order of painting.
"""

from __future__ import annotations

import gzip
import io
import json
from functools import lru_cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from PIL import Image

from brushloop.errors import InputError

ART = Path(__file__).parent / "art"
SHAPES = {"path", "circle", "ellipse", "rect", "line", "polygon", "polyline", "use", "text", "image"}
HIDDEN = {"defs", "clipPath", "mask", "symbol", "linearGradient", "radialGradient", "filter", "pattern", "marker"}


def icon(name: str, style: str) -> str:
    """An icon of an art style as a whole SVG document."""
    drawn = _icons(style)
    width, height = drawn["view"]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="0 0 {width} {height}">{drawn["icons"][name]}</svg>'
    )


def parse(svg: str) -> ElementTree.Element:
    """A drawing as a tree.

    Raises:
        InputError: it is not SVG.
    """
    try:
        return ElementTree.fromstring(svg)
    except ElementTree.ParseError as error:
        raise InputError(f"the drawing is not SVG ({error}): give one that a browser shows") from error


def shapes(parent: ElementTree.Element) -> list[tuple[ElementTree.Element, ElementTree.Element]]:
    """Every shape with its parent, in document order; what only defines is passed over."""
    found = []
    for child in parent:
        tag = child.tag.rpartition("}")[2]
        if tag in SHAPES:
            found.append((parent, child))
        elif tag not in HIDDEN:
            found += shapes(child)
    return found


def keep(root: ElementTree.Element, number: int) -> list[ElementTree.Element]:
    """Remove all shapes but the first `number`, which are returned; groups, transforms and definitions stay."""
    found = shapes(root)
    for parent, shape in found[number:]:
        parent.remove(shape)
    return [shape for _, shape in found[:number]]


def raster(svg: str | ElementTree.Element, width: int) -> Image.Image:
    """A drawing as RGBA, `width` pixels wide."""
    import resvg_py

    text = svg if isinstance(svg, str) else ElementTree.tostring(svg, encoding="unicode")
    return Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=text, width=width)))).convert("RGBA")


@lru_cache(maxsize=8)
def _icons(style: str) -> dict[str, Any]:
    icons: dict[str, Any] = json.loads(gzip.decompress((ART / f"{style}.json.gz").read_bytes()))
    return icons
