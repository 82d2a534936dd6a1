"""ReCraft: from a picture to the process that could have made it (MakeAnything, section 3.4).

The picture given is the last frame, and it comes back as it was given. It is letterboxed into a cell to be read,
and what is painted is taken out of the letterbox again, at the picture's size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from brushloop.errors import InputError
from brushloop.painter.base import OnDenoise
from brushloop.painter.domains import Domain
from brushloop.painter.grids import Letterbox, flat
from brushloop.painter.process import Process, ProcessPainter, count

if TYPE_CHECKING:
    from PIL.Image import Image


def recraft(
    painter: ProcessPainter,
    picture: Image,
    domain: Domain,
    prompt: str = "",
    frames: int | None = None,
    seed: int = 0,
    *,
    cell: int | None = None,
    steps: int = 24,
    guidance: float | None = None,
    on_denoise: OnDenoise | None = None,
) -> Process:
    """Paint the frames that lead to a picture; the last frame is `picture` itself, the same object.

    Args:
        painter: a base with the adapters it needs.
        picture: of any mode, size and ratio; transparent parts are read as white, EXIF rotation is applied.
        domain: how it is made.
        prompt: what it shows, if that is known.
        frames: how many in all; by default the domain's.
        seed: the same picture and seed on the same machine give the same pixels.
        cell: pixels along a side of a frame while it is painted; by default what the adapter learned.
        steps: denoising steps of each grid.
        guidance: scale of the text's guidance.
        on_denoise: hears (denoising steps done, in all).

    Raises:
        InputError: fewer than 2 or too many frames, or a picture beyond the limits.
        SizeError: the base cannot paint cells of that size.
        WeightsError: no adapter can read given frames, or knows the domain.
    """
    frames = count(frames, domain)
    if frames < 2:
        raise InputError("a picture and its making have at least 2 frames")
    upright = flat(picture)
    box = Letterbox(upright.size, painter.cell(domain, cell))
    earlier = painter.before(
        box.put(upright), prompt, domain, frames, seed, steps=steps, guidance=guidance, on_denoise=on_denoise
    )
    texts = tuple(domain.text(number, frames) for number in range(frames))
    return Process((*(box.take(frame) for frame in earlier), picture), texts, domain.name, prompt, seed, painter.ref)
