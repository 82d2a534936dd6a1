"""`python -m brushloop.train NAME`: train one of the embedded models, or go on with a run that was stopped.

The order from nothing is: autoencoder, judge, painter, vlm; then, to close the loop, teacher, states (which the
installed models paint) and vlm again for more steps; process, then recraft, are adapters of the painter, and so is
instruct, over which editor learns every kind of edit. Each writes its run under `--runs` (checkpoint, log, curves, and
what ships); `--install` copies that into the package.

`supervise` trains a painter, a vision-language model, or both together on process records (`brushloop data build`),
from any base in a folder; `sample` lets two models paint training prompts, from which `brushloop data build --recipe
self-sampled` makes records of their own states (docs/training.md).
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from brushloop.errors import BrushloopError, InputError
from brushloop.supervision.build.recipes import nearest
from brushloop.supervision.world.worlds import SMALL, current, known_to, within
from brushloop.train.loop import R, fitted
from brushloop.weights import OWN, SHIPPED, find, folder_of, is_own

NAMES = ("autoencoder", "judge", "teacher", "painter", "states", "vlm", "process", "recraft", "instruct", "editor")
CARDS = Path(__file__).parent / "cards"
PROMPTS = 600
"""How many training prompts are painted for the closed loop, where nothing else is said."""
ON_RECORDS = ("supervise", "sample")
INSTALLED = ("judge", "painter", "vlm", "process", "recraft", "instruct", "editor")
"""What `--install` copies into the package."""


def run(
    name: str,
    runs: Path,
    steps: int | None,
    seconds: float | None,
    debug: bool,
    settings: Sequence[str] = (),
    base: Path | None = None,
) -> Path:
    """Train one model; returns the folder or file that ships.

    `base` is the painter that adapters and the editor are laid over: by default the one among `runs`, else the one
    that ships.

    Raises:
        InputError: no such recipe or field of it, or what it builds on is not there.
    """
    if name not in NAMES:
        raise InputError(f"no recipe {name!r}{nearest(name, NAMES)}; there are {', '.join(NAMES)}")
    vae = runs / "autoencoder" / "vae"

    def told(recipe: R) -> R:
        recipe = as_told(recipe, steps, debug, settings)
        return replace(recipe, begin=str(_shipped(name, recipe.begin))) if is_own(recipe.begin) else recipe

    where = runs / name
    ours = runs / "painter" / "painter"
    base = base or (ours if ours.is_dir() else SHIPPED / "painter")
    if name == "autoencoder":
        from brushloop.train import autoencoder

        autoencoder.train(where, told(autoencoder.RECIPE), seconds)
        return where / "vae"
    if name in ("judge", "teacher"):
        from brushloop.train import judge

        seeking = told(judge.RECIPE if name == "judge" else judge.TEACHER)
        judge.train(where, vae if vae.is_dir() else None, seeking, seconds)
        return where / "judge.safetensors"
    if name == "states":
        from brushloop.train.closed import paint

        paint(where, 2 if debug else steps or PROMPTS, seconds=seconds)
        return where
    if name == "painter":
        from brushloop.train import painter

        drawn = told(painter.RECIPE)
        begun = Path(drawn.begin) / "vae"
        if not vae.is_dir() and not (drawn.begin and begun.is_dir()):
            raise InputError(
                f"the painter needs an autoencoder at {vae}: run `python -m brushloop.train autoencoder` first, or "
                "begin with a painter's folder (--set begin=embedded), which has one"
            )
        painter.train(where, vae if vae.is_dir() else begun, drawn, seconds)
        return where / "painter"
    if name in ("process", "recraft"):
        from brushloop.train import process

        first = runs / "process" / "process.safetensors" if name == "recraft" else None
        recipe = process.RECRAFT if first else process.RECIPE
        return process.train(where, base, first, told(recipe), seconds)
    if name in ("instruct", "editor"):
        from brushloop.train import editing

        first = runs / "instruct" / "edit.safetensors" if name == "editor" else None
        recipe = editing.EDITOR if first else editing.INSTRUCT
        return editing.train(where, base, first, told(recipe), seconds)
    from brushloop.train import vlm

    taught = told(vlm.RECIPE)
    tower = replace(vlm.TOWER, steps=taught.tower, parts=taught.parts, precision=taught.precision)
    tower = replace(tower, steps=2, batch=2) if debug else tower
    vlm.train(where, vae if vae.is_dir() else None, tower, taught, seconds, partial(_states, runs))
    return where / "vlm"


def _shipped(name: str, models: str) -> Path:
    """Where the weights lie with which a run of this name begins, if it is told to begin with `models` that ship."""
    folder = folder_of(models, "flux")
    if name in ("judge", "teacher"):
        from brushloop.supervision.judge import weights_of

        return weights_of(known_to(models))
    return find("vlm" if name == "vlm" else "painter", folder, ()).folder


def _below(base: str) -> Path:
    """The folder of a painter over which an adapter is trained: one that ships, by its name, or any."""
    return _shipped("painter", base) if is_own(base) else Path(base)


def as_told(recipe: R, steps: int | None, debug: bool, settings: Sequence[str]) -> R:
    """A recipe with what the command line says of it."""
    if debug:
        recipe = replace(recipe, steps=2, batch=2, warmup=1, log_every=1)
    recipe = fitted(recipe, settings)
    return recipe if steps is None else replace(recipe, steps=steps)


def supervise(given: argparse.Namespace) -> list[Path]:
    """Train what is named by `--painter` and `--vlm`, together, on the records."""
    from brushloop.supervision.detector import Detective
    from brushloop.train.course import Course, folders
    from brushloop.train.supervise import CONSTRAINTS, PROCESS, VLM, Brush, Pen, train

    if not (given.painter or given.vlm) or not given.records:
        raise InputError("supervise needs --records FOLDER, and --painter or --vlm or both (embedded, or a folder)")
    recipe = PROCESS if given.painter else VLM
    if given.teacher is None:
        recipe = fitted(recipe, [f"{name}=0" for name in CONSTRAINTS])
    recipe = as_told(recipe, given.steps, given.recipe == "debug", given.set)
    course, parts = Course(folders(given.records)), list[Any]()
    if given.painter:
        parts.append(Brush(recipe, course, _base(given.painter), given.teacher and Detective(given.teacher)))
    if given.vlm:
        parts.append(Pen(recipe, course, _base(given.vlm)))
    return train(given.out or given.runs / "supervise", recipe, *parts, seconds=given.seconds)


def sample(given: argparse.Namespace) -> list[Path]:
    """Let two models paint training prompts; what they made becomes records of their own states."""
    from brushloop.train.closed import paint

    where = given.out or given.runs / "sample"
    number = 2 if given.recipe == "debug" else given.steps or PROMPTS
    paint(where, number, given.painter, given.vlm, seconds=given.seconds)
    return [where]


def _base(name: str) -> str | None:
    return None if name == "embedded" else name.removeprefix("flux:").removeprefix("hf:")


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
    """Copy what was made to where the package ships it; models of another world are a set of its name.

    Raises:
        InputError: an adapter of another world; those that ship are laid over the small one's painter.
    """
    world = current()
    if name == "judge":
        from brushloop.supervision.judge import own_weights

        return Path(shutil.copy(made, own_weights(world.name)))
    if name in ("process", "recraft", "instruct", "editor"):
        from brushloop.painter.adapters import files

        if world.name != SMALL.name:
            raise InputError(f"{made} is laid over a painter of the world {world.name!r}: name it where it is used")
        path = files.install(made)
        shutil.copy(CARDS / "adapters.md", path.parent / "README.md")
        return path
    target = SHIPPED / ("" if world.name == SMALL.name else world.name) / name
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(made, target)
    shutil.copy(CARDS / target.relative_to(SHIPPED).with_suffix(".md"), target / "README.md")
    return target


def _made(given: argparse.Namespace) -> list[Path]:
    """Do what the command line says; returns what was written."""
    if given.name in ON_RECORDS:
        return (supervise if given.name == "supervise" else sample)(given)
    for option in ("records", "painter", "vlm", "teacher", "out"):
        if getattr(given, option):
            where = given.runs / given.name
            raise InputError(
                f"--{option} is for {' and '.join(ON_RECORDS)}: a run of {given.name} lies at {where} "
                "(--runs names another folder), and --base what its adapter is laid over"
            )
    debug, base = given.recipe == "debug", given.base and _below(given.base)
    made = run(given.name, given.runs, given.steps, given.seconds, debug, given.set, base)
    return [made, install(given.name, made)] if given.install and given.name in INSTALLED else [made]


def _dry(given: argparse.Namespace) -> tuple[str, str, Sequence[str], int, Sequence[str]]:
    """What to estimate: recipe, base, settings, side of pictures, records."""
    base = str(_below(given.base or OWN))
    if given.name == "supervise":
        if given.painter or not given.vlm:
            raise InputError("of supervise a dry run estimates the vision-language model: name that by --vlm alone")
        base = _base(given.vlm) or str(SHIPPED / "vlm")
    return given.name, base, given.set, given.side, given.records


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m brushloop.train", description=__doc__)
    parser.add_argument("name", choices=(*NAMES, *ON_RECORDS))
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of checkpoints and logs")
    parser.add_argument("--recipe", choices=("full", "debug"), default="full", help="debug takes two tiny steps")
    parser.add_argument("--steps", type=int, help="steps in all, instead of the recipe's; prompts of sample")
    parser.add_argument("--seconds", type=float, help="stop after this long, with a checkpoint")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="a field of the recipe")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--world", default="small", help="what is learned from: small, which ships, or a larger world")
    parser.add_argument("--base", help="under process, recraft, instruct, editor: a FLUX.1 folder, or embedded:SET")
    parser.add_argument("--dry-run", action="store_true", help="what a step takes, without weights (docs/bases.md)")
    parser.add_argument("--side", type=int, default=1024, help="pixels of a picture that --vlm reads, for --dry-run")
    parser.add_argument("--tflops", type=float, default=590.0, help="10^12 operations a second, for --dry-run")
    parser.add_argument("--install", action="store_true", help="copy the result into the package")
    records = parser.add_argument_group("supervise and sample")
    records.add_argument("--records", action="append", default=[], metavar="FOLDER[=SHARE]", help="may be repeated")
    records.add_argument("--painter", help="base of the painter: embedded, or a folder; for sample, its name")
    records.add_argument("--vlm", help="base of planner and critic: embedded, or a folder; for sample, its name")
    records.add_argument("--teacher", type=Path, help="weights of the detector of the constraint terms; none, no terms")
    records.add_argument("--out", type=Path, help="folder of the run, instead of one under --runs")
    given = parser.parse_args(arguments)
    if given.threads:
        import torch

        torch.set_num_threads(given.threads)
    try:
        if given.dry_run:
            from brushloop.train import dry

            print(dry.estimate(*_dry(given)).told(given.tflops))
            return 0
        with within(given.world):
            for path in _made(given):
                print(path)
    except BrushloopError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
