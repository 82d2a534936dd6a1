"""A guide as OpenRaster (0.0.6): one layer a state, which Krita, GIMP and MyPaint open.

A layer holds the pixels that its step changed and is clear elsewhere. Layers above it hidden, the picture is that
state, pixel by pixel. No well-kept library writes the format; it is a zip with an XML file.
"""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from brushloop.record import png_from
from brushloop.tutorial.book import Book
from brushloop.tutorial.guide import short

if TYPE_CHECKING:
    from PIL.Image import Image


def ora(book: Book) -> bytes:
    """OpenRaster bytes. States of another size than the last one are scaled to it."""
    from PIL import Image

    steps = book.guide.steps
    size = steps[-1].after.frame.width, steps[-1].after.frame.height
    shots = [("given", steps[0].before)] if steps[0].before else []
    shots += [(f"{number}. {step.title}", step.after) for number, step in enumerate(steps, 1)]
    states = [book.image(shot.frame).convert("RGBA").resize(size, Image.Resampling.LANCZOS) for _, shot in shots]
    image = ElementTree.Element("image", version="0.0.6", w=str(size[0]), h=str(size[1]))
    stack = ElementTree.SubElement(image, "stack")
    layers: dict[str, bytes] = {}
    below: Image.Image | None = None
    for number, ((name, _), state) in enumerate(zip(shots, states, strict=True)):
        src = f"data/layer{number:03}.png"
        layers[src] = png_from(_changed(below, state))
        layer = {"name": short(name, 80), "src": src, "x": "0", "y": "0", "opacity": "1.0", "visibility": "visible"}
        stack.insert(0, ElementTree.Element("layer", {**layer, "composite-op": "svg:src-over"}))  # the topmost first
        below = state
    small = states[-1].copy()
    small.thumbnail((256, 256))
    files = {
        "stack.xml": ElementTree.tostring(image, "utf-8", xml_declaration=True),
        **layers,
        "mergedimage.png": png_from(states[-1]),
        "Thumbnails/thumbnail.png": png_from(small),
    }
    return zipped({"mimetype": b"image/openraster", **files}, stored=("mimetype",))


def zipped(files: dict[str, bytes], stored: tuple[str, ...] = ()) -> bytes:
    """Files as a zip, in their order and with a fixed date, so that equal files give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_STORED if name in stored else zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)
    return buffer.getvalue()


def _changed(below: Image | None, state: Image) -> Image:
    """The pixels of `state` that differ from what lies below; the others clear."""
    from PIL import Image, ImageChops

    if below is None:
        return state
    different = ImageChops.difference(below, state)
    bands = different.split()
    mask = bands[0]
    for band in bands[1:]:
        mask = ImageChops.lighter(mask, band)
    mask = mask.point([255 * (value > 0) for value in range(256)])
    if (
        state.getchannel("A").histogram()[255] < state.width * state.height
    ):  # paint over cannot make clear: give the whole state
        return state
    return Image.composite(state, Image.new("RGBA", state.size, (0, 0, 0, 0)), mask)
