"""A book: a guide together with its pictures, as exporters take it."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from brushloop.canvas import Frame
from brushloop.record import plain, png_from
from brushloop.tutorial.guide import Guide, redacted

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass
class Book:
    """A guide, a name for its files, and where the pixels of its frames come from."""

    guide: Guide
    pixels: Callable[[Frame], Image]
    name: str = "guide"
    _images: dict[Frame, Image] = field(default_factory=dict, repr=False)
    _pngs: dict[Frame, bytes] = field(default_factory=dict, repr=False)

    def image(self, frame: Frame) -> Image:
        """The pixels of a frame, RGB or RGBA, without metadata of any kind.

        Raises:
            StoreError: the picture is missing or changed.
        """
        if frame not in self._images:
            image = plain(self.pixels(frame))
            self._images[frame] = image.convert("RGBA" if "A" in image.getbands() else "RGB")
        return self._images[frame]

    def png(self, frame: Frame) -> bytes:
        """A frame as PNG: pixels and nothing else."""
        if frame not in self._pngs:
            self._pngs[frame] = png_from(self.image(frame))
        return self._pngs[frame]

    def compact(self, frame: Frame) -> tuple[str, bytes]:
        """A frame without loss in as few bytes as may be: its media type (PNG or WebP) and the bytes."""
        buffer = io.BytesIO()
        self.image(frame).save(buffer, "WEBP", lossless=True, quality=60, method=4, exact=True)
        best = min(("image/webp", buffer.getvalue()), ("image/png", self.png(frame)), key=lambda pair: len(pair[1]))
        return best

    def file(self, frame: Frame) -> str:
        """The name of a frame's file among the pictures of the guide: `03.png`."""
        return f"{self.guide.frames.index(frame) + 1:02}.png"

    def files(self, folder: str) -> dict[str, bytes]:
        """Every picture of the guide under its name in `folder`."""
        return {f"{folder}/{self.file(frame)}": self.png(frame) for frame in self.guide.frames}

    def redacted(self, name: str) -> Book:
        """The same under another name, without the words of people and models, names, paths and metadata."""
        return replace(self, guide=redacted(self.guide), name=name)
