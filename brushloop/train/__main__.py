"""`python -m brushloop.train NAME`: train one of the embedded models, or go on with a run that was stopped.

The order from nothing is: autoencoder, judge, painter, vlm; then, to close the loop, teacher, states (which the
installed models paint) and vlm again for more steps; process, then recraft, are adapters of the painter, and so is
instruct, over which editor learns every kind of edit. Each writes its run under `--runs` (checkpoint, log, and what
ships); `--install` copies that into the package.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from brushloop.errors import InputError
from brushloop.train.loop import Recipe
from brushloop.weights import SHIPPED

NAMES = ("autoencoder", "judge", "teacher", "painter", "states", "vlm", "process", "recraft", "instruct", "editor")


def run(name: str, runs: Path, steps: int | None, seconds: float | None, debug: bool) -> Path:
    """Train one model; returns the folder or file that ships."""
    if name not in NAMES:
        raise InputError(f"no recipe {name!r}; there are {', '.join(NAMES)}")
    vae = runs / "autoencoder" / "vae"
    if name == "painter" and not vae.is_dir():
        raise InputError(
            f"the painter needs an autoencoder at {vae}: run `python -m brushloop.train autoencoder` first"
        )

    def fitted(recipe: Recipe) -> Recipe:
        if debug:
            recipe = replace(recipe, steps=2, batch=2, warmup=1, log_every=1)
        return recipe if steps is None else replace(recipe, steps=steps)

    where = runs / name
    if name == "autoencoder":
        from brushloop.train import autoencoder

        autoencoder.train(where, fitted(autoencoder.RECIPE), seconds)
        return where / "vae"
    if name in ("judge", "teacher"):
        from brushloop.train import judge

        recipe = judge.RECIPE if name == "judge" else judge.TEACHER
        judge.train(where, vae if vae.is_dir() else None, fitted(recipe), seconds)
        return where / "judge.safetensors"
    if name == "states":
        from brushloop.train import states

        states.paint(where, 2 if debug else steps or 600)
        return where
    if name == "painter":
        from brushloop.train import painter

        painter.train(where, vae, fitted(painter.RECIPE), seconds)
        return where / "painter"
    if name in ("process", "recraft"):
        from brushloop.train import process

        base = runs / "painter" / "painter"
        first = runs / "process" / "process.safetensors" if name == "recraft" else None
        recipe = process.RECRAFT if first else process.RECIPE
        return process.train(where, base if base.is_dir() else SHIPPED / "painter", first, fitted(recipe), seconds)
    if name in ("instruct", "editor"):
        from brushloop.train import editing

        base = runs / "painter" / "painter"
        first = runs / "instruct" / "edit.safetensors" if name == "editor" else None
        recipe = editing.EDITOR if first else editing.INSTRUCT
        return editing.train(where, base if base.is_dir() else SHIPPED / "painter", first, fitted(recipe), seconds)
    from brushloop.train import vlm

    tower = replace(vlm.TOWER, steps=2, batch=2) if debug else vlm.TOWER
    vlm.train(where, vae if vae.is_dir() else None, tower, fitted(vlm.RECIPE), seconds, partial(_states, runs))
    return where / "vlm"


def _states(runs: Path) -> list[Any]:
    """Lessons from the loop's own states, if there are any and a teacher to label them."""
    teacher = runs / "teacher" / "judge.safetensors"
    if not (runs / "states").is_dir() or not teacher.is_file():
        return []
    from brushloop.store import Store
    from brushloop.supervision.judge import Judge
    from brushloop.train.states import lessons

    return lessons(Store(runs / "states"), Judge(teacher))


def install(name: str, made: Path) -> Path:
    """Copy what was made to where the package ships it."""
    if name == "judge":
        from brushloop.supervision.judge import WEIGHTS

        return Path(shutil.copy(made, WEIGHTS))
    if name in ("process", "recraft", "instruct", "editor"):
        from brushloop.painter.adapters.files import INSTALLED

        INSTALLED.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(made, INSTALLED / made.name))
    target = SHIPPED / name
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(made, target)
    shutil.copy(Path(__file__).parent / "cards" / f"{name}.md", target / "README.md")
    return target


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m brushloop.train", description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of checkpoints and logs")
    parser.add_argument("--recipe", choices=("full", "debug"), default="full", help="debug takes two tiny steps")
    parser.add_argument("--steps", type=int, help="steps in all, instead of the recipe's")
    parser.add_argument("--seconds", type=float, help="stop after this long, with a checkpoint")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--install", action="store_true", help="copy the result into the package")
    given = parser.parse_args(arguments)
    if given.threads:
        import torch

        torch.set_num_threads(given.threads)
    made = run(given.name, given.runs, given.steps, given.seconds, given.recipe == "debug")
    print(made)
    if given.install and given.name in ("judge", "painter", "vlm", "process", "recraft", "instruct", "editor"):
        print(install(given.name, made))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
