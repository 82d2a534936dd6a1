"""The seam to painters: one method from a request to a picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from brushloop.canvas import Box, ModelRef
from brushloop.errors import BackendError

if TYPE_CHECKING:
    from PIL.Image import Image

OnDenoise = Callable[[int, int], None]
"""Called after each denoising step with (steps done, steps in all). May raise to cancel."""


@dataclass(frozen=True)
class PaintRequest:
    """One picture to be painted.

    Without a canvas this is text to picture; with one it is an edit of it: the canvas joins the
    denoised tokens as clean condition tokens.
    """

    prompt: str
    seed: int
    size: tuple[int, int]
    """Width and height in pixels."""
    canvas: Image | None = None
    regions: tuple[Box, ...] = ()
    """Where the things named in the prompt go, in the order they are named."""
    strength: float = 1.0
    """1 starts from pure noise; less keeps more of the canvas (partial denoising)."""
    denoising_steps: int = 16
    guidance: float = 2.0


class Painter(Protocol):
    """A model that turns a request into a picture."""

    ref: ModelRef
    size: tuple[int, int]
    """The size it paints best, used when a brief names none."""

    def check_size(self, size: tuple[int, int]) -> None:
        """Raise `SizeError`, naming what is possible, if the painter cannot paint `size`."""
        ...

    def paint(self, request: PaintRequest, on_denoise: OnDenoise | None = None) -> Image:
        """Paint. The same request on the same machine gives the same pixels.

        Raises:
            SizeError: the painter cannot paint `request.size`.
            ModelError: the weights cannot be loaded.
        """
        ...


def open_painter(name: str) -> Painter:
    """Open a painter by name: `embedded`, or `flux:<folder>` in the embedded painter's format.

    Raises:
        BackendError: no such backend.
        WeightsError: the folder is missing or damaged.
    """
    kind, _, where = name.partition(":")
    if kind in ("embedded", "flux"):
        from brushloop.painter.flux import FluxPainter

        return FluxPainter(where or None)
    raise BackendError(f"unknown painter backend {name!r}: use 'embedded' or 'flux:<folder>'")
