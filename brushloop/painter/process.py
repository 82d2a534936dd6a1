"""Painting a process: the frames of one making, together in serpentine grids, by a Flux folder and its adapters.

Shapes: B batch, n tokens of a cell, C channels, L text tokens, D features.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from brushloop.canvas import ModelRef
from brushloop.errors import InputError, SizeError, WeightsError
from brushloop.painter.adapters.adapter import Adapter, Form
from brushloop.painter.adapters.merge import Part, digest
from brushloop.painter.backbone import MAX_TOKENS, Backbone
from brushloop.painter.base import OnDenoise
from brushloop.painter.domains import Domain
from brushloop.painter.grids import Layout
from brushloop.painter.sheets import Sheet, denoise, evenly, windows

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_FRAMES = 99
"""Frames of one process."""


@dataclass(frozen=True)
class Process:
    """Frames of one making in the order of time, and what is done in each."""

    frames: tuple[Image, ...]
    texts: tuple[str, ...]
    domain: str
    prompt: str
    seed: int
    model: ModelRef


class ProcessPainter(Backbone):
    """A Flux folder in diffusers' format and the adapters that teach it processes.

    Args:
        folder: the base; None is the one that ships.
        process: the domains' adapter; None where `recraft` brings all that is needed.
        recraft: the adapter that reads given frames.
        styles: ordinary LoRA files that are laid over every domain.
    """

    def __init__(
        self,
        folder: str | None = None,
        process: Adapter | None = None,
        recraft: Adapter | None = None,
        styles: Sequence[Part] = (),
    ) -> None:
        if process is None and recraft is None:
            raise WeightsError(MISSING)
        super().__init__(folder)
        self.process, self.recraft, self.styles = process, recraft, tuple(styles)
        parts = [Part(each) for each in (process, recraft) if each] + list(styles)
        self.ref = ModelRef(id=self.ref.id, weights=digest(self.ref.weights, parts))

    def cell(self, domain: Domain, wanted: int | None = None) -> int:
        """Pixels along a side of a frame: as wanted, else as the adapter learned it, else as the public weights did.

        Raises:
            SizeError: the base cannot paint cells of that size; the message names the nearest.
        """
        trained = (self.process or self.recraft or _NOTHING).cells.get(domain.layout, domain.cell)
        cell, unit = wanted or trained, self.unit
        if cell % unit or cell < 2 * unit:
            near = max(2 * unit, round(cell / unit) * unit)
            raise SizeError(f"frames of {cell} pixels do not fit the base: give a multiple of {unit}, such as {near}")
        if Layout.of(domain.layout).frames * (cell // unit) ** 2 > MAX_TOKENS:
            raise SizeError(
                f"a {domain.layout} grid of {cell}-pixel frames has more than {MAX_TOKENS} tokens: give less than "
                f"{cell} pixels, such as {trained}"
            )
        return cell

    def paint(
        self,
        prompt: str,
        domain: Domain,
        frames: int | None = None,
        seed: int = 0,
        *,
        cell: int | None = None,
        steps: int = 24,
        guidance: float | None = None,
        on_denoise: OnDenoise | None = None,
    ) -> Process:
        """Paint a process from text; the same arguments on the same machine give the same pixels.

        More frames than a grid holds are painted grid by grid, each going on from the last frames of the one
        before; fewer are taken evenly from one grid.

        Raises:
            InputError: that number of frames, or no text.
            SizeError: see `cell`.
            WeightsError: no adapter knows the domain, or none can go on from given frames.
        """
        frames, layout = count(frames, domain), Layout.of(domain.layout)
        starts = windows(frames, layout.frames)
        self._omega(domain)
        if len(starts) > 1 and self.recraft is None and self.form == "tokens":
            raise WeightsError(f"more than {layout.frames} frames need an adapter that reads given frames: {MISSING}")
        sheet = Sheet(layout, self.cell(domain, cell) // self.unit)
        known: dict[int, Tensor] = {}
        for number, start in enumerate(starts):
            self._grid(prompt, domain, sheet, known, start, max(frames, layout.frames), seed, number, len(starts),
                       steps, guidance, on_denoise)  # fmt: skip
        pictures = self.pictures(sheet, known)
        chosen = evenly(len(pictures), frames)
        texts = tuple(domain.text(number, frames) for number in range(frames))
        return Process(tuple(pictures[number] for number in chosen), texts, domain.name, prompt, seed, self.ref)

    def before(
        self,
        last: Image,
        prompt: str,
        domain: Domain,
        frames: int,
        seed: int,
        *,
        steps: int = 24,
        guidance: float | None = None,
        on_denoise: OnDenoise | None = None,
    ) -> list[Image]:
        """Paint the frames before `last`, a square picture of the cell's size, which is not part of the result.

        Beyond one grid the earliest frames painted so far are what the grid before them leads to.

        Raises:
            WeightsError: no adapter can read given frames.
        """
        layout = Layout.of(domain.layout)
        if self.recraft is None and self.form == "tokens":
            raise WeightsError(f"no adapter that reads given frames is installed: {MISSING}")
        sheet = Sheet(layout, last.width // self.unit)
        total = max(frames, layout.frames)
        known = {total - 1: self.encode([last])[0]}
        starts = [total - layout.frames - start for start in windows(frames, layout.frames)]
        for number, start in enumerate(starts):
            self._grid(prompt, domain, sheet, known, start, total, seed, number, len(starts), steps, guidance,
                       on_denoise)  # fmt: skip
        pictures = self.pictures(sheet, known)
        return [pictures[number] for number in evenly(total, frames)[:-1]]

    @property
    def form(self) -> Form:
        """How given frames reach the base."""
        return (self.recraft or self.process or _NOTHING).form

    def _omega(self, domain: Domain) -> str | None:
        if self.process is None:
            return None
        if domain.name not in self.process.domains and len(self.process.domains) > 1:
            raise WeightsError(
                f"{self.process.name} knows {', '.join(self.process.domains)}, not {domain.name}, which needs "
                f"{domain.needs}: import it (brushloop adapters import) and name it with --adapter and --painter"
            )
        return domain.name if len(self.process.domains) > 1 else self.process.domains[0]

    def _grid(
        self, prompt: str, domain: Domain, sheet: Sheet, known: dict[int, Tensor], start: int, total: int, seed: int,
        number: int, grids: int, steps: int, guidance: float | None, on_denoise: OnDenoise | None,
    ) -> None:  # fmt: skip
        """Paint the frames from `start` on that are not in `known`, and put them there as tokens (n C)."""
        given = {frame - start: code for frame, code in known.items() if start <= frame < start + sheet.layout.frames}
        parts = [Part(self.process, self._omega(domain))] if self.process else []
        if given and self.recraft:
            parts.append(Part(self.recraft, self.recraft.domains[0] if len(self.recraft.domains) == 1 else domain.name))
        self.merger.use(*parts, *self.styles)
        transformer = self.transformer
        if guidance is None:
            guidance = 3.5 if getattr(transformer.config, "guidance_embeds", False) else 2.0
        noise = self.noise(sheet.size[0] * sheet.size[1], _seed(seed, number)).to(self.device)

        def heard(done: int) -> None:
            if on_denoise is not None:
                on_denoise(number * steps + done, grids * steps)

        text = caption(prompt, domain, start, total, self.form)
        with torch.inference_mode(), self.autocast():
            grid = denoise(
                transformer, self.scheduler(), sheet, noise,
                self.read(text), blank=self.read(""), given=given, form=self.form, steps=steps, guidance=guidance,
                on_denoise=heard,
            )  # fmt: skip
        for frame, code in enumerate(sheet.cut(grid.float().cpu())[0]):
            known.setdefault(start + frame, code)

    def pictures(self, sheet: Sheet, known: Mapping[int, Tensor]) -> list[Image]:
        """Frames in the order of time, each decoded alone, so that no cell bleeds into its neighbour."""
        return [self.decode(known[number], sheet.side, sheet.side) for number in sorted(known)]


_NOTHING = Adapter("nothing", ("all",), {"": torch.zeros(1, 1)}, {"": torch.zeros(1, 1, 1)})
MISSING = (
    "train one (python -m brushloop.train process, then recraft), or import the public weights "
    "(brushloop adapters import) and name them with --adapter and --painter flux:<folder>"
)


def caption(prompt: str, domain: Domain, start: int, total: int, form: Form) -> str:
    """What the base is told of a grid whose first frame is `start` of `total`."""
    layout = Layout.of(domain.layout)
    if form == "in_grid":  # in the manner of the public captions
        told = f"{layout.rows}*{layout.columns} of {layout.frames} sub-images, step-by-step {domain.phrase} process"
        return f"{told}, {prompt}" if prompt else told
    told = f"step {start + 1} to {start + layout.frames} of {total}"
    return f"{prompt}, {told}" if prompt else told


def count(frames: int | None, domain: Domain) -> int:
    """The number of frames wanted, or the domain's own.

    Raises:
        InputError: less than 1 or more than `MAX_FRAMES`.
    """
    if frames is not None and not 1 <= frames <= MAX_FRAMES:
        raise InputError(f"a process has 1 to {MAX_FRAMES} frames, not {frames}")
    return frames or domain.frames


def _seed(seed: int, number: int) -> int:
    """The seed of a process's grid: its own for the first."""
    return seed if number == 0 else int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:7], "big")
