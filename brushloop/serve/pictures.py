"""Pictures as they travel: base64 in; PNG, JPEG, WebP or a thumbnail out."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Literal

from brushloop import pictures
from brushloop.errors import InputError
from brushloop.fetch import is_url

if TYPE_CHECKING:
    from PIL.Image import Image

Form = Literal["png", "jpeg", "webp"]

INLINE = 256 * 1024
"""Most bytes of a picture that is sent inside a message rather than named in it."""


def decode(text: str, what: str) -> Image:
    """A picture from base64, a data URL, or any URL where those are fetched (`brushloop.fetch`).

    Args:
        text: the picture.
        what: names it in errors.

    Raises:
        InputError: it is none of them, or no picture.
    """
    if is_url(text):
        return pictures.from_url(text)
    _, comma, data = text.partition(",") if text.startswith("data:") else ("", ",", text)
    try:
        if not comma:
            raise ValueError
        read = base64.b64decode("".join(data.split()), validate=True)
    except ValueError:
        raise InputError(f"{what} is not base64: send a data URL, or the file's bytes in base64") from None
    return pictures.decode(read, what)


def encode(image: Image, form: Form = "png", quality: int = 90) -> bytes:
    """A picture as the bytes of a file; `quality`, 0-100, counts for JPEG and WebP."""
    buffer = io.BytesIO()
    if form == "png":
        image.save(buffer, "PNG")
    else:
        image.convert("RGB").save(buffer, form.upper(), quality=quality)
    return buffer.getvalue()


def base64_of(image: Image, form: Form = "png", quality: int = 90) -> str:
    """`encode`, in base64."""
    return base64.b64encode(encode(image, form, quality)).decode("ascii")


def thumbnail(image: Image, width: int = 512, form: Form = "png") -> bytes:
    """The picture at most `width` pixels wide and high."""
    image = image.copy()
    image.thumbnail((width, width))
    return encode(image, form)


def small(image: Image, most: int = INLINE) -> tuple[bytes, Form]:
    """The picture in no more than `most` bytes: whole as PNG if that is small enough, else smaller and as WebP."""
    data = encode(image)
    if len(data) <= most:
        return data, "png"
    for width in (768, 512, 256, 128):
        if len(data := thumbnail(image, width, "webp")) <= most:
            break
    return data, "webp"
