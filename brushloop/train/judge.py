"""Recipe `judge`: the independent detector, on its own division of the world."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor, nn
from torch.nn import functional as F

from brushloop.supervision.faults import spoil
from brushloop.supervision.judge import GRID, Detector
from brushloop.supervision.judge import load as load_detector
from brushloop.supervision.judge import save as save_detector
from brushloop.supervision.world import scenes
from brushloop.supervision.world.worlds import current
from brushloop.train.begin import named, take_over
from brushloop.train.loop import Recipe, fit
from brushloop.train.machine import autocast, device

SPLIT = "judge/"
"""Name of the judge's own division of the world."""


@dataclass(frozen=True)
class Seeking(Recipe):
    """The numbers of a detector's run."""

    crowd: int = 0
    """How many things a scene is filled up with, as far as there is room: more to name for the same arithmetic."""


RECIPE = Seeking(steps=1300, batch=32, lr=3e-3, seed=71, warmup=100, ema=0.995, weight_decay=1e-4, log_every=25)
TEACHER = replace(RECIPE, seed=72)
"""The same network on the models' division: it labels the states from which the critic learns, and measures nothing."""


def draw(rng: random.Random, training: bool) -> scenes.Scene:
    """A scene of the judge's division: pairs of objects are held out, by hashes of its own.

    Colours of objects are not: an eye that never saw an orange key takes it for a carrot (measured: 6% of
    all objects misnamed, nearly all of them in colours held out).
    """
    while True:
        scene = scenes.sample(rng)
        if held_out(scene) is not training:
            return scene


def held_out(scene: scenes.Scene) -> bool:
    """Whether a scene shows a pair of things that is kept from the judge's training."""
    names = [thing.name for thing in scene.elements[1:]]
    pairs = {"+".join(sorted(pair)) for pair in itertools.combinations(names, 2)}
    return any(scenes.held_out(pair, SPLIT) for pair in pairs)


def blemish(picture: Image.Image, rng: random.Random) -> Image.Image:
    """Soften, tint and dirty a picture a little, as painters do."""
    if rng.random() < 0.5:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 1.1)))
    array = np.asarray(picture, np.float64)
    noise = np.random.default_rng(rng.randrange(2**32))
    if rng.random() < 0.5:
        array = array + noise.normal(0, rng.uniform(1, 9), array.shape)
    if rng.random() < 0.5:
        array = array * rng.uniform(0.92, 1.08) + noise.uniform(-8, 8, (1, 1, 3))
    return Image.fromarray(array.clip(0, 255).astype(np.uint8))


class Detection:
    """Find every object of a scene."""

    def __init__(self, recipe: Seeking, vae: Any = None) -> None:
        self.recipe = recipe
        teaching = recipe.seed == TEACHER.seed
        self.draw = partial(scenes.sample_split if teaching else draw, training=True)
        self.kept_out = scenes.is_held_out if teaching else held_out
        self.device = device()
        self.known = current().names
        self.module: Any = Detector(self.known).to(self.device)
        self.vae = vae and vae.to(self.device)

    def begin(self, path: Path) -> None:
        """Take over a detector's weights: what it knows of the names that are told apart here too."""
        ours, theirs = self.known, load_detector(path).names
        first = 5  # whether something is there, and its box
        cells = [(row, row) for row in range(first)]
        cells += named(ours.objects, theirs.objects, first, first)
        cells += named(ours.colors, theirs.colors, first + len(ours.objects), first + len(theirs.objects))
        scene = [
            *named(ours.backgrounds, theirs.backgrounds),
            *named(ours.styles, theirs.styles, len(ours.backgrounds), len(theirs.backgrounds)),
        ]
        rows = {
            f"{part}.{kind}": of for part, of in (("cells", cells), ("scene", scene)) for kind in ("weight", "bias")
        }
        take_over(self.module, path, rows)

    def batch(self, step: int) -> tuple[Tensor, list[scenes.Scene]]:
        rng = random.Random(f"judge/{self.recipe.seed}/{step}")
        pictures, shown = [], []
        for _ in range(self.recipe.batch):
            scene = scenes.crowded(rng, self.draw(rng), self.recipe.crowd, self.kept_out)
            picture = scenes.render(scene.elements, scene.style, scene.variant)
            if rng.random() < 0.2 and len(scene.elements) > 2:  # something spoiled is no object
                gone = scene.elements[-1]
                scene = scenes.Scene(scene.elements[:-1], scene.style, None, scene.variant)
                picture = scenes.render(scene.elements, scene.style, scene.variant)
                for box in gone.boxes:
                    spoil(picture, box, rng, low=rng.choice((2, 3, 4)))
            pictures.append(np.asarray(blemish(picture, rng)))
            shown.append(scene)
        pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).to(self.device).float() / 127.5 - 1
        if self.vae is not None:
            some = slice(0, self.recipe.batch // 4)
            with torch.no_grad(), autocast(self.device, self.recipe.precision):
                pixels[some] = self.vae.decoder(self.vae.encoder(pixels[some]).chunk(2, 1)[0]).float().clamp(-1, 1)
        return pixels.contiguous(memory_format=torch.channels_last), shown

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        pixels, shown = self.batch(step)
        with autocast(self.device, self.recipe.precision):
            cells, whole = self.module(pixels)
        cells, whole = cells.float().cpu(), whole.float().cpu()
        known, heat = self.known, torch.zeros(len(shown), GRID, GRID)
        ignore = torch.zeros_like(heat, dtype=torch.bool)
        spots: list[tuple[int, int, int]] = []
        names, tones, sides = [], [], []
        for b, scene in enumerate(shown):
            for thing in scene.elements[1:]:
                for box in thing.boxes:
                    covered = scenes.drawn(box, thing.name, scene.style)
                    left, top, right, bottom = (edge * scenes.CANVAS / 100 for edge in covered)
                    column, row = int((left + right) / 16), int((top + bottom) / 16)
                    for r in range(max(0, row - 1), min(GRID, row + 2)):
                        for c in range(max(0, column - 1), min(GRID, column + 2)):
                            x, y = (c + 0.5) * 8, (r + 0.5) * 8
                            if (r, c) != (row, column):
                                ignore[b, r, c] = heat[b, r, c] == 0
                            if left < x < right and top < y < bottom:
                                spots.append((b, r, c))
                                names.append(known.objects.index(thing.name))
                                tones.append(known.colors.index(thing.color) if thing.color else -100)
                                sides.append((x - left, y - top, right - x, bottom - y))
                    heat[b, row, column] = 1
                    ignore[b, row, column] = False
        at = torch.tensor(spots).unbind(1)
        picked = cells.permute(0, 2, 3, 1)[at[0], at[1], at[2]]
        p = cells[:, 0]
        focal = F.binary_cross_entropy_with_logits(p, heat, reduction="none") * (heat - p.sigmoid()).abs().detach()
        found = (focal * ~ignore).sum() / heat.sum()
        side = F.l1_loss(picked[:, 1:5].sigmoid(), torch.tensor(sides) / 64)
        guess = picked[:, 5:].split([len(known.objects), len(known.colors)], dim=1)
        places, styles = whole.split([len(known.backgrounds), len(known.styles)], dim=1)
        name = F.cross_entropy(guess[0], torch.tensor(names))
        tone = F.cross_entropy(guess[1], torch.tensor(tones), ignore_index=-100)
        ground = F.cross_entropy(places, torch.tensor([known.backgrounds.index(s.background) for s in shown]))
        style = F.cross_entropy(styles, torch.tensor([known.styles.index(s.style) for s in shown]))
        parts = {"found": found, "box": side, "name": name, "tone": tone, "ground": ground, "style": style}
        return found + 4 * side + name + 0.5 * tone + 0.2 * ground + 0.2 * style, {
            k: v.item() for k, v in parts.items()
        }


def object_f1(weights: Path, number: int = 500, seed: int = 0) -> dict[str, float]:
    """Object F1, colour accuracy and background accuracy on held-out renders of the judge's own division."""
    from brushloop.supervision.judge import Judge, overlap

    judge = Judge(weights)
    judge.must_know(current())
    rng = random.Random(f"judge-test/{seed}")
    hits = wanted = seen = colored = right = grounds = 0
    for _ in range(number):
        scene = draw(rng, False)
        sight = judge.look([scenes.render(scene.elements, scene.style, scene.variant)])[0]
        left = list(sight.objects)
        grounds += sight.background == scene.background
        for thing, box in [
            (one, scenes.drawn(box, one.name, scene.style)) for one in scene.elements[1:] for box in one.boxes
        ]:
            match = next((one for one in left if one.name == thing.name and overlap(one.box, box) >= 0.5), None)
            if match is not None:
                left.remove(match)
                hits += 1
                if thing.color:
                    colored += 1
                    right += match.color == thing.color
        wanted += sum(thing.count for thing in scene.elements[1:])
        seen += len(sight.objects)
    return {
        "precision": hits / seen, "recall": hits / wanted, "f1": 2 * hits / (seen + wanted),
        "color": right / max(1, colored), "background": grounds / number,
    }  # fmt: skip


def train(folder: Path, vae: Path | None = None, recipe: Seeking = RECIPE, seconds: float | None = None) -> None:
    """Train and write `folder/judge.safetensors`."""
    from diffusers import AutoencoderKL

    world = current()
    task = Detection(recipe, AutoencoderKL.from_pretrained(vae).eval() if vae else None)
    task.module.to(memory_format=torch.channels_last)

    def keep(average: nn.Module, step: int) -> None:
        save_detector(average, folder / "judge.safetensors", world)

    fit(task, recipe, folder, on_save=keep, seconds=seconds)
