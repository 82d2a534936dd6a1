"""Recipes `instruct` and `editor`: an editor that knows which kind of edit it is doing (AnyEdit, section 4.3).

`instruct` is the first stage, instruction understanding: a LoRA over the base learns seven kinds of edit from words,
with the picture before as a clean condition unit, and those that follow a picture, with that as a second one;
pictures and text are each left out of 5% of the batches or texts, for guidance. `editor` is the second stage, task
tuning: base and LoRA stand still, and the projector, the task embeddings, the router, the experts and the indicators
learn every kind that the small world can show. The visual prompt need not be left out there: without it the editor is
the frozen first stage.

The paper trains at 256 px; the embedded base paints 128.

Shapes: B batch, N tokens of a picture, C channels.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from brushloop.canvas import EditType
from brushloop.edits import DEFINITIONS, STAGE_ONE
from brushloop.errors import InputError
from brushloop.painter.adapters import files, layers
from brushloop.painter.adapters.adapter import Adapter
from brushloop.painter.backbone import Backbone
from brushloop.painter.condition import encode_condition, positions, velocity
from brushloop.painter.editor.model import Config, Editor, write
from brushloop.painter.editor.painter import drawn
from brushloop.painter.editor.vision import Vision
from brushloop.painter.units import FOLLOWED, Indicators, Unit, join, mask_tokens, plain
from brushloop.supervision.world.cases import WORLD, Case, case
from brushloop.supervision.world.scenes import CANVAS
from brushloop.train.flow import guidance, noised, still
from brushloop.train.loop import Over, fit
from brushloop.train.machine import autocast, recompute

INSTRUCT = Over(steps=6000, batch=8, lr=7e-4, warmup=100, ema=0.998, weight_decay=0.0, stable=True, log_every=40)
EDITOR = Over(steps=6000, batch=8, lr=5e-4, warmup=100, ema=0.998, stable=True, log_every=40)
FIRST = (*STAGE_ONE, *(kind for kind in WORLD if DEFINITIONS[kind].visual))
"""What the first stage learns."""
DROPPED = 0.05
"""How often each condition is left out."""
UNTOLD = 0.3
"""How often nobody tells where an edit applies: most instructions come without a mask."""
BALANCE = 0.01
"""Weight of the load-balance loss (Switch Transformers, section 2.2)."""
SIZES = {"depth": 2, "heads": 4, "head_dim": 32}
"""Of the editor over the embedded base; over FLUX it has the paper's (`Config`)."""


class Editing:
    """Both stages: the first without `learned`, the second with what the first learned.

    Args:
        recipe: numbers of the run.
        base: a painter folder, or what is loaded of one.
        learned: the first stage's adapter.
        sizes: of the editor.
    """

    def __init__(
        self, recipe: Over, base: Path | Backbone, learned: Adapter | None = None, sizes: dict[str, Any] | None = None
    ) -> None:
        self.recipe = recipe
        self.backbone = still(base, recipe.small)
        self.transformer: Any = self.backbone.transformer
        self.device = self.backbone.device
        self.side = (recipe.side or CANVAS) // self.backbone.unit
        self.vision = Vision("autoencoder", self.backbone, CANVAS)
        torch.manual_seed(recipe.seed)
        self.editor: Editor | None = None
        self.module: nn.Module
        if learned is None:
            self.kinds: Sequence[EditType] = FIRST
            layers.add(self.transformer, ["edit"], rank=recipe.rank, name="edit")
            self.module = layers.learning(self.transformer, "edit")
        else:
            self.kinds = WORLD
            layers.put(self.transformer, learned, "edit")
            self.transformer.requires_grad_(False)
            sizes = {**SIZES, "rank": recipe.rank, **(sizes or {}), "kinds": tuple(kind.value for kind in WORLD)}
            self.editor = Editor(Config.of(self.transformer, **sizes)).to(self.device)
            self.module = self.editor
        if recipe.checkpointing:
            recompute(self.transformer)

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """The loss of one step's batch, which mixes kinds of edit."""
        rng = random.Random(f"editing/{self.recipe.seed}/{step}")
        kind = rng.choice(self.kinds)
        number = FOLLOWED if DEFINITIONS[kind].visual else None  # a batch of one form: all follow a picture, or none
        kinds = [each for each in self.kinds if DEFINITIONS[each].visual == DEFINITIONS[kind].visual]
        if self.editor is not None and kind is EditType.REFERENCE and rng.random() < 0.5:
            kinds, number = [kind], 1
        cases = [case(rng, rng.choice(kinds)) for _ in range(self.recipe.batch)]
        cases = [replace(each, regions=()) if rng.random() < UNTOLD else each for each in cases]
        if number == 1:
            cases = [replace(each, text="replace it with {image1}") for each in cases]
        side = self.side
        clean = self.encode([each.after for each in cases])
        mixed, t, target = noised(clean)
        texts = ["" if rng.random() < DROPPED else each.text for each in cases]
        words, pooled = self.read(texts)
        blind = self.editor is None and rng.random() < DROPPED
        with autocast(self.device, self.recipe.precision):
            condition = None
            if not blind:
                condition = encode_condition(self.transformer, *self.units(cases, number))
            prompt, balance = None, torch.zeros((), device=self.device)
            if self.editor is not None:
                prompt, balance = self.editor.prompt(
                    self.transformer, [each.kind for each in cases], self.visuals(cases), words.shape[1]
                )
            guess = velocity(
                self.transformer, mixed, t, words, pooled, positions(side, side).to(self.device), condition,
                guidance(self.transformer, t), prompt,
            )  # fmt: skip
        flow = (guess.float() - target).pow(2).mean()
        figures = {"flow": flow.item()}
        if self.editor is not None:
            figures["balance"] = balance.item()
        return flow + BALANCE * balance, figures

    def encode(self, pictures: Sequence[Image.Image | None]) -> Tensor:
        """Pictures, enlarged to the canvas where it is larger, as normalised tokens (B N C)."""
        size = (self.side * self.backbone.unit,) * 2
        fitting = [each if each.size == size else each.resize(size) for each in pictures if each is not None]
        return self.backbone.encode(fitting).clone().to(self.device)

    def read(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Text features (B L D), marked where they name a picture, and pooled features (B D)."""
        with torch.no_grad():
            words, pooled = self.backbone.read([plain(text) for text in texts])
        if self.editor is not None:
            marks: Indicators = self.editor.indicators
            each = zip(words.split(1), texts, strict=True)
            words = torch.cat([marks.words(one, text, self.backbone.spans(plain(text))) for one, text in each])
        return words, pooled

    def units(self, cases: Sequence[Case], number: int | None) -> tuple[Tensor, Tensor]:
        """The pictures before with their regions and, under a `number`, those that are followed, in one sequence."""
        side, channels = self.side, self.transformer.config.in_channels
        drawings = [mask_tokens(drawn(each.regions, (side * 8, side * 8)), side, side, channels) for each in cases]
        masks = torch.stack(drawings).to(self.device)
        found = [Unit(self.encode([each.before for each in cases]), (side, side), masks)]
        if number is not None:
            found.append(Unit(self.encode([each.visual for each in cases]), (side, side), None, number))
        tokens, ids = join(found, self.editor.indicators if self.editor else None)
        return tokens, ids.to(self.device)

    def visuals(self, cases: Sequence[Case]) -> Tensor | None:
        """Features of the visual inputs (B N F), which all cases of a batch have, or none."""
        pictures = [each.visual for each in cases if each.visual is not None]
        return self.vision.features(pictures).clone().to(self.device) if pictures else None

    def adapter(self, learned: Any) -> Adapter:
        """What the first stage trains, or an average of it, as an adapter of one domain, `edit`."""
        return layers.gathered(learned, "edit", ["edit"])


def train(
    folder: Path,
    base: Path,
    learned: Path | None = None,
    recipe: Over = INSTRUCT,
    seconds: float | None = None,
    sizes: dict[str, Any] | None = None,
) -> Path:
    """Train on the base in `base`; without `learned` the first stage, with it the second. Returns what was written.

    Raises:
        InputError: there is no base, or no adapter of the first stage.
        WeightsError: that adapter is for another base.
    """
    if not (base / "model_index.json").is_file():
        raise InputError(f"the editor needs a painter at {base}: run `python -m brushloop.train painter` first")
    if learned is not None and not learned.is_file():
        raise InputError(f"editor needs the first stage at {learned}: run `python -m brushloop.train instruct` first")
    task = Editing(recipe, base, files.read(learned) if learned else None, sizes)
    made = folder / ("editor.safetensors" if task.editor else "edit.safetensors")

    def keep(average: nn.Module, step: int) -> None:
        if task.editor is not None:
            write(task.editor, made, average)
        else:
            files.write(task.adapter(average), made)

    fit(task, recipe, folder, on_save=keep, seconds=seconds)
    return made
