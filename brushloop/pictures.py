"""Every picture that comes from outside is decoded here, and within limits.

PNG, JPEG and WebP, told by their content and not by their name. The size of the file, the size that its
header claims, the number of pictures in it and the passes over it are looked at before a pixel is decoded:
refusing what is malformed costs less than a second and 256 MB, whatever the file claims.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

from brushloop.errors import InputError
from brushloop.fetch import fetch, is_url

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_BYTES = 32 * 2**20
"""Largest file."""
MAX_PIXELS = 4096 * 4096
"""Width x height of the largest picture."""
MAX_SIDE = 16_384
MAX_FRAMES = 1
"""Pictures in one file: an animation is refused. Of a JPEG with several views, phones write them, the first counts."""
MAX_PASSES = 64
"""Scans of a progressive JPEG, each of which touches every pixel again. Encoders write about ten."""

_KINDS = {b"\x89PNG\r\n\x1a\n": "PNG", b"\xff\xd8\xff": "JPEG", b"RIFF": "WEBP"}


def decode(data: bytes, what: str, kinds: tuple[str, ...] = ("PNG", "JPEG", "WEBP")) -> Image:
    """Decode one still picture in full; `what` names it in errors. Modes and metadata are as Pillow gives them.

    Raises:
        InputError: it is no such picture, damaged, animated, or beyond a limit.
    """
    from PIL import Image

    if len(data) > MAX_BYTES:
        raise InputError(f"{what} is {len(data)} bytes long: give a picture of at most {MAX_BYTES // 2**20} MiB")
    kind = next((kind for magic, kind in _KINDS.items() if data.startswith(magic)), None)
    if kind not in kinds:
        raise InputError(f"{what} is not a whole {' or '.join(kinds)} picture: save it again as PNG")
    if kind == "JPEG" and data.count(b"\xff\xda") > MAX_PASSES:
        raise InputError(f"{what} is a JPEG of more than {MAX_PASSES} passes: save it again as PNG")
    try:
        image = Image.open(io.BytesIO(data), formats=[kind])
        check_size(image.size, what)
        frames = getattr(image, "n_frames", 1) if image.format != "MPO" else 1
        if frames > MAX_FRAMES:
            raise InputError(f"{what} holds {frames} pictures: give one that does not move")
        image.load()
    except InputError:
        raise
    except Exception as error:  # decoders raise what they like; none of it is the caller's business
        raise InputError(f"{what} is not a whole {kind} picture: it is cut short or damaged") from error
    return image


def check_size(size: tuple[int, int], what: str) -> None:
    """Refuse a picture that is too large to be worked on.

    Raises:
        InputError: it has more than `MAX_PIXELS` pixels, or a side longer than `MAX_SIDE`.
    """
    width, height = size
    if width * height > MAX_PIXELS or max(size) > MAX_SIDE:
        raise InputError(
            f"{what} claims {width}x{height} pixels: at most {MAX_PIXELS} in all and {MAX_SIDE} a side are read"
        )


def open_picture(path: str | os.PathLike[str], kinds: tuple[str, ...] = ("PNG", "JPEG", "WEBP")) -> Image:
    """Read and decode a picture file. No more than `MAX_BYTES` of it are read, pipes and devices not at all.

    A URL is refused, or fetched where that is allowed: see `brushloop.fetch`.

    Raises:
        InputError: there is no such file, or see `decode`.
    """
    if is_url(os.fspath(path)):
        return from_url(os.fspath(path), kinds)
    where = Path(path)
    if where.exists() and not where.is_file():
        raise InputError(f"{where} is not a whole {' or '.join(kinds)} picture: it is no file")
    try:
        with where.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise InputError(f"there is no picture at {where}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {where}: {getattr(error, 'strerror', None) or 'that is no name'}") from error
    return decode(data, str(where), kinds)


def from_url(url: str, kinds: tuple[str, ...] = ("PNG", "JPEG", "WEBP")) -> Image:
    """Fetch and decode a picture.

    Raises:
        InputError: URLs are not fetched, or not this one (see `brushloop.fetch`); or see `decode`.
    """
    return decode(fetch(url, MAX_BYTES), url[:80], kinds)
