"""Recipes `process` and `recraft`: adapters that teach the embedded painter how things are made, step by step.

`process` is the asymmetric LoRA of MakeAnything's first stage: one A, one B a domain, and a batch that mixes
domains, because ω is set for each sample. `recraft` is its second stage: the first adapter stands still, and a LoRA
learns to paint the frames around those that are given, mostly those before the last one, sometimes those after the
first ones, so that a making can go on beyond one grid. Given frames are clean condition tokens; the loss is flow
matching over the others. The base, its autoencoder and its text encoders are frozen.

Shapes: B batch, K frames of a grid, n tokens of a cell, C channels, D domains.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from brushloop.errors import InputError
from brushloop.painter.adapters import files, layers
from brushloop.painter.adapters.adapter import Adapter
from brushloop.painter.backbone import Backbone
from brushloop.painter.condition import encode_condition, positions, velocity
from brushloop.painter.domains import domain
from brushloop.painter.grids import Layout
from brushloop.painter.process import caption
from brushloop.painter.sheets import Sheet
from brushloop.supervision.processes import DOMAINS, Making, make
from brushloop.train.flow import guidance, noised, still
from brushloop.train.loop import Over, fit
from brushloop.train.machine import autocast, recompute

RECIPE = Over(steps=6000, batch=6, lr=1e-3, warmup=100, ema=0.998, weight_decay=0.0, stable=True, log_every=40)
RECRAFT = Over(steps=3000, batch=6, lr=7e-4, warmup=100, ema=0.998, weight_decay=0.0, stable=True, log_every=40)
CELLS = {"2x2": 64, "3x3": 48}
"""Pixels along a side of a frame on the embedded base, by layout."""
TURNS = ("3x3", "3x3", "2x2")


def cell(layout: str, side: int, unit: int) -> int:
    """Pixels along a side of a frame in a grid of `side` pixels (0: the embedded base's), in whole tokens of `unit`."""
    return CELLS[layout] if not side else side // Layout.of(layout).columns // unit * unit


Source = Callable[[random.Random, Layout, int], tuple[str, Making, str]]
"""What a sample is: the domain it is learned as, the frames of one grid, and what the painter is told."""


def sample(rng: random.Random, layout: Layout, cell: int) -> tuple[str, Making, str]:
    """A domain of that layout, the frames of one grid of a making in it, and what the painter is told.

    Most makings fill the grid; three in ten are longer, and the grid shows a part of them.
    """
    names = [name for name in DOMAINS if domain(name).layout == str(layout)]
    name = rng.choice(names)
    total = layout.frames if rng.random() < 0.7 else rng.randint(layout.frames + 1, 2 * layout.frames - 1)
    start = rng.randint(0, total - layout.frames)
    whole = make(name, rng, total, cell)
    part = Making(name, whole.prompt, whole.frames[start : start + layout.frames])
    return name, part, caption(whole.prompt, domain(name), start, total, "tokens")


class Processes:
    """Flow matching over grids of makings.

    Args:
        recipe: the numbers of the run.
        base: a FLUX folder in diffusers' format, or what is loaded of one.
        process: the first stage's adapter, to train the second; None to train the first.
        domains: of the first stage's adapter, a B for each.
        source: where samples come from, for a grid of a layout with cells of so many pixels.
        turns: the layouts of the batches, in turn.
    """

    def __init__(
        self,
        recipe: Over,
        base: Path | Backbone,
        process: Adapter | None = None,
        domains: Sequence[str] = tuple(DOMAINS),
        source: Source = sample,
        turns: Sequence[str] = TURNS,
    ) -> None:
        self.recipe, self.source, self.turns = recipe, source, turns
        self.backbone = still(base, recipe.small)
        self.transformer: Any = self.backbone.transformer
        self.device = self.backbone.device
        self.cells = {turn: cell(turn, recipe.side, self.backbone.unit) for turn in sorted({*turns})}
        self.domains = list(process.domains if process else domains)
        torch.manual_seed(recipe.seed)
        if process is None:
            self.name = "process"
            layers.add(self.transformer, self.domains, rank=recipe.rank, name="process", cells=self.cells)
        else:
            self.name = "recraft"
            layers.put(self.transformer, process, "process")
            layers.add(self.transformer, ["recraft"], rank=recipe.rank, name="recraft", cells=self.cells)
            self.transformer.set_adapter(["process", "recraft"])
        self.module = layers.learning(self.transformer, self.name)  # alone, so that checkpoints are small
        if recipe.checkpointing:
            recompute(self.transformer)

    def given(self, rng: random.Random, frames: int) -> list[int]:
        """Which frames of a grid are given: none in the first stage; the last, or a few first ones, in the second."""
        if self.name == "process":
            return []
        return [frames - 1] if rng.random() < 0.65 else list(range(rng.randint(1, frames // 2)))

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """The loss of one step's batch, which mixes domains of one layout."""
        rng = random.Random(f"process/{self.name}/{self.recipe.seed}/{step}")
        turn = self.turns[step % len(self.turns)]
        layout = Layout.of(turn)
        sheet = Sheet(layout, self.cells[turn] // self.backbone.unit)
        made = [self.source(rng, layout, self.cells[turn]) for _ in range(self.recipe.batch)]
        omega = torch.tensor([[float(each == name) for each in self.domains] for name, _, _ in made])
        clean = self.backbone.encode([frame for _, part, _ in made for frame in part.frames]).clone().to(self.device)
        clean = clean.unflatten(0, (len(made), layout.frames))
        given = self.given(rng, layout.frames)
        free = [frame for frame in range(layout.frames) if frame not in given]
        high, wide = sheet.size
        texts = ["" if rng.random() < 0.1 else text for _, _, text in made]
        with torch.no_grad():
            words, pooled = self.backbone.read(texts)
        mixed, t, target = noised(clean[:, free].flatten(1, 2))
        layers.mix(self.transformer, omega.to(self.device), "process")  # also for blocks that are computed again
        with autocast(self.device, self.recipe.precision):
            condition = None
            if given:
                ids = positions(high, wide, 1)[sheet.index[given].reshape(-1)].to(self.device)
                condition = encode_condition(self.transformer, clean[:, given].flatten(1, 2), ids)
            ids = positions(high, wide)[sheet.index[free].reshape(-1)].to(self.device)
            guess = velocity(self.transformer, mixed, t, words, pooled, ids, condition, guidance(self.transformer, t))
        loss = (guess.float() - target).pow(2).mean()
        return loss, {turn: loss.item() * len(self.turns) / self.turns.count(turn)}

    def adapter(self, learned: Any) -> Adapter:
        """What is trained, or an average of it, as an adapter."""
        domains = self.domains if self.name == "process" else ["recraft"]
        return layers.gathered(learned, self.name, domains, cells=self.cells)


def train(
    folder: Path, base: Path, process: Path | None = None, recipe: Over = RECIPE, seconds: float | None = None
) -> Path:
    """Train on the base in `base` and write the adapter into `folder`; with `process` the second stage.

    Raises:
        InputError: there is no base, or no adapter of the first stage.
        WeightsError: the first stage's adapter is for another base.
    """
    if not (base / "model_index.json").is_file():
        raise InputError(f"the adapters need a painter at {base}: run `python -m brushloop.train painter` first")
    if process is not None and not process.is_file():
        raise InputError(f"recraft needs the domains at {process}: run `python -m brushloop.train process` first")
    task = Processes(recipe, base, files.read(process) if process else None)
    made = folder / f"{task.name}.safetensors"

    def keep(average: nn.Module, step: int) -> None:
        files.write(task.adapter(average), made)

    fit(task, recipe, folder, on_save=keep, seconds=seconds)
    return made
