"""A grid of frames as tokens, some of them given, and the sampler that paints the others.

One mechanism serves all: none is given when a process is painted from text; the first ones, when a grid goes on
from the one before; the last one in ReCraft. In the form `tokens` given frames are clean condition tokens at the
places of their cells, whose keys and values are computed once and read exactly in every denoising step, and only
the other cells are denoised. In the form `in_grid`, for the public weights, all cells are denoised and the given
latents are written into theirs before every denoising step and once more at the end (MakeAnything, section 3.4).

Shapes: B batch, N tokens of a grid, K frames of a grid, n tokens of a cell, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from brushloop.painter.adapters.adapter import Form
from brushloop.painter.condition import encode_condition, positions, velocity
from brushloop.painter.grids import Layout


@dataclass(frozen=True)
class Sheet:
    """A grid of `layout` as tokens, `side` of them along a cell."""

    layout: Layout
    side: int

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of tokens."""
        return self.layout.rows * self.side, self.layout.columns * self.side

    @property
    def index(self) -> Tensor:
        """For each frame the indices of its tokens in the grid's, row by row (K n)."""
        inside = torch.arange(self.side)
        cells = []
        for row, column in self.layout.cells:
            rows = (row * self.side + inside)[:, None] * self.size[1]
            cells.append((rows + column * self.side + inside).reshape(-1))
        return torch.stack(cells)

    def join(self, frames: Tensor) -> Tensor:
        """Frames (B K n C) as the tokens of a grid (B N C)."""
        grid = torch.empty(frames.shape[0], self.size[0] * self.size[1], frames.shape[-1], dtype=frames.dtype)
        grid[:, self.index.reshape(-1)] = frames.flatten(1, 2)
        return grid

    def cut(self, grid: Tensor) -> Tensor:
        """Tokens of a grid (B N C) as frames (B K n C)."""
        return grid[:, self.index.reshape(-1)].unflatten(1, self.index.shape)


def denoise(
    transformer: Any,
    scheduler: Any,
    sheet: Sheet,
    noise: Tensor,
    told: tuple[Tensor, Tensor],
    *,
    blank: tuple[Tensor, Tensor] | None = None,
    given: Mapping[int, Tensor] | None = None,
    form: Form = "tokens",
    steps: int = 24,
    guidance: float = 1.0,
    on_denoise: Callable[[int], None] = lambda done: None,
) -> Tensor:
    """Turn noise (1 N C) into the tokens of a grid; the cells of `given` come out as they went in.

    Args:
        transformer: prepared to read conditions (`condition.prepare`).
        scheduler: flow matching, Euler; it is set afresh.
        sheet: the grid.
        noise: where it starts.
        told: text features (1 L D) and pooled features (1 D).
        blank: the same of an empty text, for classifier-free guidance.
        given: clean tokens (n C) by number of frame.
        form: how they reach the painter.
        steps: denoising steps.
        guidance: scale; read by a distilled base, else used between `told` and `blank`.
        on_denoise: hears the denoising steps done.
    """
    given = given or {}
    high, wide = sheet.size
    ids, index = positions(high, wide).to(noise.device), sheet.index.to(noise.device)
    known = torch.cat([index[number] for number in given]) if given else index.new_empty(0)
    clean = torch.cat([*given.values()])[None].to(noise) if given else noise[:, :0]
    x, condition, free = noise.clone(), None, torch.arange(noise.shape[1], device=noise.device)
    if given and form == "tokens":
        condition = encode_condition(transformer, clean, positions(high, wide, 1).to(noise.device)[known])
        free = free[~torch.isin(free, known)]
    distilled = bool(getattr(transformer.config, "guidance_embeds", False))
    guided = not distilled and blank is not None and guidance != 1
    words, pooled = told
    if guided and blank is not None:
        words, pooled = torch.cat([words, blank[0]]), torch.cat([pooled, blank[1]])
        condition = condition and condition.repeat(2)
    scale = torch.full((1,), guidance, device=noise.device) if distilled else None
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps), mu=shift(scheduler, len(free)))
    for done, t in enumerate(scheduler.timesteps, start=1):
        if form == "in_grid" and given:
            x[:, known] = clean
        part = x[:, free]
        both = torch.cat([part, part]) if guided else part
        time = (t / 1000).expand(len(both)).to(noise.device)
        v = velocity(transformer, both, time, words, pooled, ids[free], condition, scale).float()
        if guided:
            with_text, without = v.chunk(2)
            v = without + guidance * (with_text - without)
        x[:, free] = scheduler.step(v, t, part, return_dict=False)[0]
        on_denoise(done)
    x[:, known] = clean
    return x


def shift(scheduler: Any, tokens: int) -> float | None:
    """FLUX's time shift, linear in the tokens that are denoised (Esser et al. 2024, section 5.3.2); None without."""
    config = scheduler.config
    if not config.use_dynamic_shifting:
        return None
    slope = (config.max_shift - config.base_shift) / (config.max_image_seq_len - config.base_image_seq_len)
    return float(config.base_shift + slope * (tokens - config.base_image_seq_len))


def windows(frames: int, size: int) -> list[int]:
    """First frames of the grids that paint a process: each shares at least one frame with the one before."""
    starts = [0]
    while starts[-1] + size < frames:
        starts.append(min(starts[-1] + size - 1, frames - size))
    return starts


def evenly(there: int, wanted: int) -> list[int]:
    """`wanted` numbers of `there`, evenly apart; the last is always among them."""
    if wanted >= there:
        return list(range(there))
    return [there - 1] if wanted == 1 else [round(i * (there - 1) / (wanted - 1)) for i in range(wanted)]
