"""Pictures that a person gives: fitted to the canvas, and kept outside of a mask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brushloop.canvas import Box, Brief, Task, pixels_of
from brushloop.errors import InputError, SizeError
from brushloop.painter.base import OnDenoise, Painter, PaintRequest
from brushloop.record import plain
from brushloop.store import Store

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_ASPECT = 4
"""Longest side to shortest: a narrower picture would be a few pixels of the painter's canvas."""


def fitted(picture: Image, size: tuple[int, int], box: Box = (0, 0, 100, 100)) -> Image:
    """The whole picture in RGB on a canvas of `size` (width, height): scaled to fit, with its edge colour around it.

    With `box` (percent) it stands there.

    Raises:
        SizeError: it is too narrow to be seen on that canvas.
        InputError: it is no picture.
    """
    from PIL import Image, ImageOps

    picture = _upright(picture)
    if max(picture.size) > MAX_ASPECT * min(picture.size):
        raise SizeError(
            f"the picture given is {picture.width}x{picture.height} pixels, narrower than 1:{MAX_ASPECT}: crop it"
        )
    flat = Image.new("RGB", picture.size, "white")
    flat.paste(picture.convert("RGB"), mask=picture.getchannel("A") if "A" in picture.getbands() else None)
    left, top, right, bottom = pixels_of(box, size)
    within = right - left, bottom - top
    if flat.size == within == size:
        return flat
    edge = tuple(flat.resize((1, 1), box=(0, 0, flat.width, 1)).tobytes())
    canvas = Image.new("RGB", size, edge)
    canvas.paste(ImageOps.pad(flat, within, Image.Resampling.LANCZOS, color=edge), (left, top))
    return canvas


def fitted_mask(mask: Image, picture: Image, size: tuple[int, int]) -> Image:
    """A mask laid over `picture`, as grey of `size`: white may change. A transparent pixel counts as white.

    Raises:
        SizeError: it is not of the picture's size.
        InputError: nothing may change, or it is no picture.
    """
    from PIL import Image, ImageChops, ImageOps

    mask, over = _upright(mask), _upright(picture).size
    if mask.size != over:
        raise SizeError(f"the mask is {mask.width}x{mask.height} pixels, the picture {over[0]}x{over[1]}: resize it")
    holes = ImageChops.invert(mask.getchannel("A")) if "A" in mask.getbands() else None
    grey = holes if holes and holes.getbbox() else mask.convert("L")
    grey = grey.point([255 * (value > 127) for value in range(256)])
    if grey.getbbox() is None:
        raise InputError("the mask lets nothing change: make what may change white, or transparent")
    return ImageOps.pad(grey, size, Image.Resampling.NEAREST, color=0) if grey.size != size else grey


def _upright(picture: Image) -> Image:
    if not hasattr(picture, "getbbox"):
        raise InputError(f"{type(picture).__name__} is no picture: give a Pillow image")
    return plain(picture)


class Masked:
    """A painter held to the mask of an edit: outside of it the canvas comes back exactly.

    Args:
        painter: who paints.
        mask: grey, of the canvas's size; white may change.
    """

    def __init__(self, painter: Painter, mask: Image) -> None:
        self.painter, self.mask = painter, mask
        self.ref, self.size = painter.ref, painter.size

    def check_size(self, size: tuple[int, int]) -> None:
        """As the painter's."""
        self.painter.check_size(size)

    def paint(self, request: PaintRequest, on_denoise: OnDenoise | None = None) -> Image:
        """Paint, then put back what is outside of the mask."""
        picture = self.painter.paint(request, on_denoise)
        if request.canvas is not None and request.canvas.size == picture.size == self.mask.size:
            return within(self.mask, request.canvas, picture)
        return picture


def within(mask: Image, before: Image, after: Image) -> Image:
    """`after` where the grey mask is white, `before` elsewhere; all three of one size."""
    kept = before.convert("RGB")
    kept.paste(after.convert("RGB"), mask=mask.convert("L"))
    return kept


def masked(painter: Painter, brief: Brief, store: Store) -> Painter:
    """The painter that a brief asks for: held to its mask if it is an edit, or a turn of a conversation, with one."""
    masks = [pair.mask for unit in brief.units for pair in unit.images if pair.mask]
    return (
        Masked(painter, store.get_image(masks[0]).convert("L"))
        if brief.task in (Task.EDIT, Task.CHAT) and masks
        else painter
    )
