"""What more samples and more parameters bring: three sizes of painter and of vision-language model, from nothing.

    python -m benchmarks.scaling painter       the three sizes, each with measurements on the way; goes on
    python -m benchmarks.scaling vlm
    python -m benchmarks.scaling table

The largest size is the one that ships. All sizes see the same samples, in the part of the world that the ablation uses
(ten objects), so that hours of a processor show something; rate and batch are the same, without decay, and what is
measured are averaged weights, on what was held out:

- painter: error of flow matching (0-…, mean over four timesteps), of pictures from prompts; at the end the share of
  prompts that the judge calls right, painted in one shot;
- vision-language model: cross-entropy per weighted token of plans, and of looks at pictures;
- milliseconds of a processor for one denoising step of one picture, and for reading one look of a batch.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import linear_regression
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.ablation import PART, prompts
from brushloop.precision import autocast
from brushloop.supervision import faults
from brushloop.supervision.world import scenes
from brushloop.supervision.world.worlds import only
from brushloop.train import painter, vlm
from brushloop.train.flow import noised
from brushloop.train.loop import Recipe, fit, worn
from brushloop.weights import SHIPPED

OUT = Path("runs/scaling")
PAINTERS = {"small": (128, (1, 4)), "middle": (192, (2, 5)), "shipped": (painter.WIDTH, painter.LAYERS)}
"""Width, and double- and single-stream blocks."""
VLMS = {"small": (96, 128), "middle": (128, 192), "shipped": (192, 256)}
"""Width of the tower and of the language model."""
SAMPLES = (2_000, 4_000, 8_000, 16_000, 32_000, 64_000)
LESSONS = (1_200, 2_400, 4_800)
SEEING = 250
"""Steps of the tower alone, before the lessons."""


def paint(name: str) -> None:
    """Train a painter of that size from prompts, and measure it on the way."""
    from diffusers import AutoencoderKL

    width, layers = PAINTERS[name]
    recipe = replace(
        painter.RECIPE, stable=False, final_lr=1.0, ema=0.99, track="", batch=16, save_every=120.0, turns="paint"
    )
    vae = AutoencoderKL.from_pretrained(SHIPPED / "painter" / "vae")
    task = painter.Painting(recipe, vae, width, layers)
    folder = OUT / f"painter-{name}"
    draws = recipe.batch * recipe.draws // painter.COSTS["paint"]
    average = _milestones(task, recipe, folder, SAMPLES, draws, lambda: {"flow": _flow(task), "ms": _denoising(task)})
    if average is not None:
        painter.save(task, copy.deepcopy(average), folder / "painter")
        _write(folder, {"right": _right(folder / "painter")})


def see(name: str) -> None:
    """Train a vision-language model of that size, and measure it on the way."""
    sight, text = VLMS[name]
    tokens = vlm._kept_tokenizer(OUT / "tokenizer")
    torch.manual_seed(0)
    reading, touch = vlm.Reading(vlm.build(tokens, sight, text)), vlm.Touch(None)
    tower = replace(vlm.TOWER, steps=SEEING, track="", save_every=120.0)
    recipe = replace(vlm.RECIPE, final_lr=1.0, ema=0.99, track="", save_every=120.0)
    folder = OUT / f"vlm-{name}"
    if not (folder / "lessons" / "checkpoint.pt").exists():
        eyes = vlm.TowerTask(tower, reading, touch)
        eyes.module.load_state_dict(fit(eyes, tower, folder / "tower").state_dict())
    task, held = vlm.Lessons(recipe, reading, tokens, touch), _Held(recipe, reading, tokens, touch)

    def measure() -> dict[str, float]:
        with torch.no_grad():
            plan = held.loss(0)[1]["plan"] * held.turns.share("plan")
            start = time.process_time()
            look = held.loss(1)[1]["look"] * held.turns.share("look")
            return {"plan": plan, "look": look, "ms": 1000 * (time.process_time() - start) / (2 * recipe.batch)}

    _milestones(task, recipe, folder / "lessons", LESSONS, recipe.batch, measure)


class _Held(vlm.Lessons):
    """Lessons of what was held out; the same ones for every model."""

    def lessons(self, step: int) -> list[vlm.Lesson]:
        rng = random.Random(f"scaling/{step}")
        states = [faults.sample(rng, training=False) for _ in range(2 * self.recipe.batch)]
        if self.turns.at(step) == "plan":
            return [vlm.Lesson(vlm.plan_text(state.prompt), vlm.answer(state.plan)) for state in states]
        return [
            vlm.look_lesson(state.prompt, state.plan, state.step, state.look, state.picture, state.drawn)
            for state in states
        ]


def _milestones(
    task: Any, recipe: Recipe, folder: Path, samples: tuple[int, ...], a_step: int, measure: Callable[[], Any]
) -> nn.Module | None:
    """Train from one number of samples to the next, and write down what is measured there; None if all of it is."""
    known, average = _read(folder), None
    for number in samples:
        if str(number) in known:
            continue
        with only(PART):
            average = fit(task, replace(recipe, steps=round(number / a_step)), folder)
            with worn(task.module, average):
                _write(folder, {str(number): measure(), "parameters": _size(task)})
    return average


def _size(task: Any) -> int:
    module = task.module.model if hasattr(task.module, "model") else task.module
    return sum(parameter.numel() for parameter in module.parameters())


@torch.no_grad()
def _flow(task: painter.Painting, number: int = 96) -> float:
    """Error of flow matching on held-out prompts, at timesteps and with noise that are the same for every model."""
    rng, losses = random.Random("scaling"), list[Tensor]()
    shown = [scenes.sample_split(rng, False) for _ in range(number)]
    examples = [
        painter.Example(painter.words.prompt(one, rng)[0], scenes.render(one.elements, one.style, one.variant), ())
        for one in shown
    ]
    for at in range(0, number, 24):
        some = examples[at : at + 24]
        clean = task.latents([example.picture for example in some])
        for seed in range(4):
            torch.manual_seed(seed)
            mixed, t, target = noised(clean)
            with autocast("cpu"):
                features, pooled = task.read(some, [False] * len(some), painter.LENGTH)
                guess = painter.velocity(task.module["transformer"], mixed, t, features, pooled, task.ids, None)
            losses.append((guess.float() - target).pow(2).mean())
    return float(torch.stack(losses).mean())


@torch.no_grad()
def _denoising(task: painter.Painting, runs: int = 10) -> float:
    """Milliseconds of a processor for one evaluation on one picture: the least of several."""
    example = painter.Example("a red cat", scenes.Image.new("RGB", (scenes.CANVAS, scenes.CANVAS)), ())
    features, pooled = task.read([example], [False], painter.LENGTH)
    x, t, times = torch.randn(1, len(task.ids), 64), torch.tensor([0.5]), list[float]()
    for _ in range(runs):
        start = time.process_time()
        with autocast("cpu"):
            painter.velocity(task.module["transformer"], x, t, features, pooled, task.ids, None)
        times.append(1000 * (time.process_time() - start))
    return min(times)


def _right(folder: Path, number: int = 60) -> float:
    """Share of held-out prompts of the part that one shot gets right."""
    from brushloop import Studio
    from brushloop.supervision.judge import Judge, verdict

    judge, right = Judge(), 0
    with tempfile.TemporaryDirectory() as home:
        studio = Studio(f"flux:{folder}", home=home)
        for seed, (_, prompt, scene) in enumerate(prompts(number, 0)):
            right += verdict(judge.look([studio.one_shot(prompt, seed=seed)])[0], scene).correct
    return right / number


def _read(folder: Path) -> dict[str, Any]:
    path = folder / "figures.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def _write(folder: Path, more: dict[str, Any]) -> None:
    (folder / "figures.json").write_text(json.dumps({**_read(folder), **more}, indent=1))


def table() -> str:
    """What was measured, in Markdown; *slope* is the exponent of the number of samples over the last four of them."""
    lines = []
    for kind, samples, figures in (("painter", SAMPLES, ("flow",)), ("vlm", LESSONS, ("plan", "look"))):
        columns = [column for figure in figures for column in (*(f"{figure} at {n:,}" for n in samples), "slope")]
        head = [kind, "parameters", "ms", *columns, *(["right"] if kind == "painter" else [])]
        lines += [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
        for name in PAINTERS if kind == "painter" else VLMS:
            found = _read(OUT / f"{kind}-{name}" / ("" if kind == "painter" else "lessons"))
            at = [number for number in samples if str(number) in found]
            if not at:
                continue
            cells = [name, f"{found['parameters'] / 1e6:.1f} M", f"{found[str(at[-1])]['ms']:.1f}"]
            for figure in figures:
                cells += [f"{found[str(n)][figure]:.4f}" if n in at else "" for n in samples]
                cells += [_slope({n: found[str(n)][figure] for n in at[-4:]})]
            if kind == "painter":
                cells += [f"{found['right']:.2f}" if "right" in found else ""]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def _slope(errors: dict[int, float]) -> str:
    if len(errors) < 2:
        return ""
    found = linear_regression([math.log(number) for number in errors], [math.log(error) for error in errors.values()])
    return f"{found.slope:.2f}"


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("painter", "vlm", "table"))
    parser.add_argument("--sizes", nargs="+", default=list(PAINTERS), choices=PAINTERS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.what == "table":
        print(table())
        return
    for name in given.sizes:
        (paint if given.what == "painter" else see)(name)


if __name__ == "__main__":
    main()
