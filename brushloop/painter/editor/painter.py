"""A painter that knows which kind of edit it is doing: a base, an adapter for instructions, and the editor's experts.

The canvas and every other picture are clean condition units; the kind of edit and the visual input become a visual
prompt that the experts read. Where the kind is not certain there is no visual prompt, and what is left is the general
path: the base with the first stage's adapter.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from brushloop.canvas import Box, EditType, pixels_of
from brushloop.edits import DEFINITIONS, Expert
from brushloop.errors import InputError, SizeError
from brushloop.painter.adapters import files
from brushloop.painter.adapters.adapter import Adapter
from brushloop.painter.adapters.merge import Part
from brushloop.painter.backbone import MAX_TOKENS, Backbone
from brushloop.painter.base import OnDenoise, PaintRequest, Picture
from brushloop.painter.condition import Condition, encode_condition, positions, velocity
from brushloop.painter.editor.guidance import Given, Scales, guided
from brushloop.painter.editor.model import Editor, read
from brushloop.painter.editor.vision import Vision
from brushloop.painter.grids import flat
from brushloop.painter.sheets import shift
from brushloop.painter.units import FOLLOWED, Unit, check, join, mask_tokens, plain
from brushloop.weights import is_own

if TYPE_CHECKING:
    from PIL.Image import Image

OWN = 128
"""Pixels along a side of what the embedded base paints."""


class EditorPainter(Backbone):
    """A Flux folder with an editor.

    Args:
        folder: the base; None is the one that ships.
        editor: what the second stage of training made.
        edit: what the first stage made; None where the base understands instructions by itself.
        scales: guidance of picture, text and visual prompt; the text's is the request's.
    """

    def __init__(
        self, folder: str | None, editor: Editor, edit: Adapter | None = None, scales: Scales | None = None
    ) -> None:
        super().__init__(folder)
        self.editor, self.edit, self.scales = editor, edit, scales or Scales()
        self.size = (OWN, OWN) if folder is None or is_own(folder) else (1024, 1024)

    @property
    def edits(self) -> frozenset[EditType]:
        """Kinds of edit that the editor was taught."""
        return frozenset(EditType(name) for name in self.editor.config.kinds)

    def check_size(self, size: tuple[int, int]) -> None:
        """Raise `SizeError` for a size that is no whole number of tokens, or of too many."""
        if any(side % self.unit or side < 2 * self.unit for side in size):
            near = tuple(max(2 * self.unit, round(side / self.unit) * self.unit) for side in size)
            raise SizeError(
                f"the base paints multiples of {self.unit} pixels, not {size[0]}x{size[1]}: give {near[0]}x{near[1]}"
            )
        if size[0] * size[1] // self.unit**2 > MAX_TOKENS:
            raise SizeError(f"{size[0]}x{size[1]} pixels are more than {MAX_TOKENS} tokens: give a smaller size")

    def check(self, request: PaintRequest) -> None:
        """Raise `InputError` if the request names pictures that are not there, or a kind that needs one."""
        check(request.prompt, len(_pictures(request)))
        if request.kind and request.kind not in self.edits:
            known = ", ".join(sorted(self.editor.config.kinds)) or "none"
            raise InputError(f"this editor was not taught the kind {request.kind.value}: it knows {known}")
        if request.kind and DEFINITIONS[request.kind].visual and request.visual is None:
            raise InputError(
                f"an edit of the kind {request.kind.value} follows a picture: give one, or let one be derived"
            )

    def notes(self, request: PaintRequest) -> dict[str, str | int | float | bool]:
        """The weights of the experts, those above zero; none on the general path."""
        if request.kind is None:
            return {"path": "general"}
        with torch.inference_mode():
            weights = self._loaded.weights([request.kind])[0][0]
        told = {
            f"expert_{expert.value}": round(float(weight), 4)
            for expert, weight in zip(Expert, weights, strict=True)
            if weight > 0
        }
        return {"path": "experts", **told}

    def paint(self, request: PaintRequest, on_denoise: OnDenoise | None = None) -> Image:
        """Paint one picture. See `Painter.paint`.

        Raises:
            InputError: the prompt names a picture that is not given.
        """
        self.check_size(request.size)
        self.check(request)
        editor, transformer, device = self._loaded, self.transformer, self.device
        self.merger.use(*([Part(self.edit, self.edit.domains[0])] if self.edit else ()))
        columns, rows = (side // self.unit for side in request.size)
        with torch.inference_mode(), self.autocast():
            noise = self.noise(rows * columns, request.seed).to(device)
            units = self.units(request, rows, columns)
            canvas = units[0].tokens if request.canvas is not None else None
            condition: Condition | None = None
            if units:
                condition = encode_condition(transformer, *(each.to(device) for each in join(units, editor.indicators)))
            told, blank = self.told(request.prompt), self.read("")
            features = None if request.visual is None else self.vision.features([request.visual]).to(device)
            prompt = None
            if request.kind is not None:
                prompt, _ = editor.prompt(transformer, [request.kind], features, told[0].shape[1])
            distilled = bool(getattr(transformer.config, "guidance_embeds", False))
            scale = torch.full((1,), request.guidance, device=device) if distilled else None
            scales = Scales(1.0, 1.0) if distilled else replace(self.scales, text=request.guidance)
            steps, ids = max(1, round(request.denoising_steps * request.strength)), positions(rows, columns).to(device)
            scheduler = self.scheduler()
            sigmas = np.linspace(request.strength, request.strength / steps, steps)
            scheduler.set_timesteps(sigmas=sigmas, mu=shift(scheduler, rows * columns))
            start = float(scheduler.sigmas[0])
            x = noise if canvas is None or start >= 1 else start * noise + (1 - start) * canvas.to(device)
            for done, t in enumerate(scheduler.timesteps, start=1):

                def evaluate(given: Given, x: Tensor = x, t: Tensor = t) -> Tensor:
                    words, pooled = told if given.text else blank
                    return velocity(
                        transformer, x, (t / 1000).expand(1).to(device), words, pooled, ids,
                        condition if given.picture else None, scale, prompt if given.visual else None,
                    ).float()  # fmt: skip

                v = guided(scales, prompt is not None, evaluate)
                x = scheduler.step(v, t, x, return_dict=False)[0]
                if on_denoise is not None:
                    on_denoise(done, steps)
        return self.decode(x[0].float().cpu(), rows, columns)

    def units(self, request: PaintRequest, rows: int, columns: int) -> list[Unit]:
        """The pictures of a request as units, each fitted to the canvas; the canvas, if there is one, is the first."""
        made = []
        channels = self.transformer.config.in_channels
        for number, picture in enumerate(_pictures(request)):
            image, size, area = flat(picture.image), (rows, columns), picture.mask
            if number > 0 or request.canvas is None:  # any ratio, no more tokens than the canvas
                size = near(image.size, rows * columns)
            elif area is None:
                area = drawn(request.regions, (columns * 8, rows * 8))
            image = image.resize((size[1] * self.unit, size[0] * self.unit), _lanczos())
            mask = None if area is None else mask_tokens(area, *size, channels)[None]
            made.append(Unit(self.encode([image]), size, mask, number))
        if request.visual is not None:
            visual = flat(request.visual).resize((columns * self.unit, rows * self.unit), _lanczos())
            made.append(Unit(self.encode([visual]), (rows, columns), None, FOLLOWED))
        return made

    def told(self, prompt: str) -> tuple[Tensor, Tensor]:
        """Text features and pooled features of a prompt, marked where it names a picture."""
        words, pooled = self.read(plain(prompt))
        return self._loaded.indicators.words(words, prompt, self.spans(plain(prompt))), pooled

    @cached_property
    def vision(self) -> Vision:
        """What looks at visual inputs."""
        return Vision(self.editor.config.encoder, self)

    @cached_property
    def _loaded(self) -> Editor:
        self.editor.fits(self.transformer)
        return self.editor.to(self.device).eval().requires_grad_(False)


def open_editor(folder: str | None, editor: str, edit: str = "") -> EditorPainter:
    """An editor over a base, from its files. `installed` names those that come with the package.

    Raises:
        WeightsError: one is missing, damaged, or no such file.
        InputError: the first stage's adapter is given without an editor.
    """
    if not editor:
        raise InputError("an adapter of the first stage goes with an editor: name one (editor=FILE)")
    own = files.INSTALLED / "editor.safetensors", files.INSTALLED / "edit.safetensors"
    path = own[0] if editor == "installed" else Path(editor)
    first = own[1] if editor == "installed" and not edit else Path(edit) if edit else None
    return EditorPainter(folder, read(path), files.read(first) if first and (edit or first.is_file()) else None)


def near(size: tuple[int, int], tokens: int) -> tuple[int, int]:
    """Rows and columns of at most `tokens` tokens in the ratio of a picture of `size` (width, height)."""
    ratio = size[1] / size[0]
    rows = max(1, min(tokens, int(math.sqrt(tokens * ratio) + 1e-6)))
    return rows, max(1, min(tokens // rows, int(rows / ratio + 0.5)))


def drawn(regions: tuple[Box, ...], size: tuple[int, int]) -> Image:
    """Boxes as a grey mask of `size`: the first is white, each further one darker, so that order is told."""
    from PIL import Image

    mask = Image.new("L", size, 0)
    for number, box in enumerate(regions):
        mask.paste(round(255 * (1 - 0.125 * (number % 6))), pixels_of(box, size))
    return mask


def _pictures(request: PaintRequest) -> list[Picture]:
    own = [] if request.canvas is None else [Picture(request.canvas, request.mask)]
    return [*own, *request.images]


def _lanczos() -> int:
    from PIL.Image import Resampling

    return Resampling.LANCZOS
