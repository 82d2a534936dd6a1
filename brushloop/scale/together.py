"""Micro-batches: first drafts that come at the same time, from several creations, painted in one go.

It pays where a picture alone leaves the machine idle: on a GPU at 512 x 512 pixels and below. Edits of a region go
alone, since alone they denoise only a window. A sum over a batch rounds differently from one over a single picture, so
what is painted together may differ in its last bits from what is painted alone: the steps are sound, but the same
prompt and seed need not give the same hash again.
"""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from brushloop.agent.studio import Studio
from brushloop.painter.base import OnDenoise, Painter, PaintRequest, open_painter

if TYPE_CHECKING:
    from PIL.Image import Image

WAIT = 0.05
"""Seconds that the first of a batch waits for company."""


@runtime_checkable
class Many(Protocol):
    """A painter that can paint several pictures of the same kind in one go."""

    def paint_many(self, requests: list[PaintRequest], on_denoise: OnDenoise | None = None) -> list[Image]:
        """Paint requests that agree in size, denoising steps, guidance and strength, all without a canvas."""
        ...


class Together:
    """A painter for several threads: drafts that agree are painted together, everything else one at a time.

    Args:
        painter: who paints; only one that is `Many` paints several in one go.
        most: pictures of a batch.
        wait: seconds that the first of a batch waits for company.
    """

    shared = True
    """Whether several threads may call it at once."""

    def __init__(self, painter: Painter, most: int, wait: float = WAIT) -> None:
        self.painter, self.most, self.wait = painter, most, wait
        self.ref, self.size = painter.ref, painter.size
        self._one = threading.Lock()
        self._changed = threading.Condition()
        self._batches: dict[Any, list[tuple[PaintRequest, Future[Image]]]] = {}
        self.sizes: list[int] = []
        """How many pictures each batch had."""

    def check_size(self, size: tuple[int, int]) -> None:
        """As the painter's."""
        self.painter.check_size(size)

    def paint(self, request: PaintRequest, on_denoise: OnDenoise | None = None) -> Image:
        """Paint, together with what others ask for at this moment if it agrees."""
        if not isinstance(self.painter, Many) or request.canvas is not None or self.most < 2:
            with self._one:
                return self.painter.paint(request, on_denoise)
        kind = replace(request, prompt="", seed=0, regions=()), bool(request.regions)
        mine: Future[Image] = Future()
        with self._changed:
            batch = self._batches.get(kind)
            leads = batch is None or len(batch) >= self.most
            if batch is None or leads:
                batch = self._batches[kind] = []
            batch.append((request, mine))
            self._changed.notify_all()
            if leads:
                until = time.monotonic() + self.wait
                while len(batch) < self.most and (left := until - time.monotonic()) > 0:
                    self._changed.wait(left)
        if leads:
            with self._one:  # who comes while another batch is painted still joins this one
                with self._changed:
                    if self._batches.get(kind) is batch:
                        del self._batches[kind]
                self._paint(self.painter, batch)
        picture = mine.result()
        if on_denoise:
            on_denoise(request.denoising_steps, request.denoising_steps)
        return picture

    def _paint(self, painter: Many, batch: list[tuple[PaintRequest, Future[Image]]]) -> None:
        self.sizes.append(len(batch))
        try:
            pictures = painter.paint_many([request for request, _ in batch])
        except BaseException as error:
            for _, waiting in batch:
                waiting.set_exception(error)
            return
        for (_, waiting), picture in zip(batch, pictures, strict=True):
            waiting.set_result(picture)


def studio_of(painter: str, vlm: str, home: str | os.PathLike[str], together: int = 1, at_once: int = 1) -> Studio:
    """A studio by names, with a painter that paints up to so many drafts together.

    Where several creations are made at once on processors alone, the vision-language model gets a process of its own
    and each of the two half of the machine: otherwise they would wait for Python's lock more than they work. The last
    bits of a picture depend on the number of threads.
    """
    given = Together(open_painter(painter), together) if together > 1 else painter
    if at_once > 1 and not vlm.startswith("openai:"):
        import torch

        from brushloop.vlm_apart import SHARE, ApartVLM

        if not torch.cuda.is_available():
            torch.set_num_threads(SHARE)
            return Studio(given, ApartVLM(vlm), home)
    return Studio(given, vlm, home)
