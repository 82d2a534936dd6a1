"""The ablation: what each kind of data and each term of the loss adds to the loop, at the same budget.

    python -m benchmarks.ablation prepare --teacher runs/teacher/judge.safetensors --seed 0
    python -m benchmarks.ablation row conflict --seed 0          # or all; goes on where it was stopped
    python -m benchmarks.ablation table                          # writes docs/ablation.md from what is there

Every row starts from the same two bases and trains the same number of steps (or seconds) on its own mixture of
process records; then it paints held-out prompts, one-shot and in the loop, and the judge, who taught nothing, says
what is right. docs/ablation.md tells why it is set up as it is.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from brushloop.supervision.held_out import CATEGORIES, gain, wilson
from brushloop.supervision.world import scenes, words
from brushloop.supervision.world.worlds import SMALL, only

OUT, PAGE = Path("runs/ablation"), Path("docs/ablation.md")
OBJECTS = ("apple", "star", "balloon", "car", "heart", "dog", "tree", "house", "sun", "fish")
PART = SMALL.part("ablation", OBJECTS, ("flat",))
"""What the models of the ablation know: ten objects, five of which take colours, in one style, on all backgrounds."""
WIDTH, LAYERS = 160, (1, 5)
"""Of the painter, which begins from nothing."""

DATA: dict[str, tuple[str, list[str], int]] = {
    "whole": ("whole", [], 12000),
    "additive": ("additive", [], 3000),
    "varied": ("multi-turn", [], 3000),
    "edits": ("edits", [], 6000),
    "conflict": ("conflict", [], 6000),
    "alignment": ("alignment", [], 2000),
}
"""Folders of records: recipe, what is set of it, and how many."""


@dataclass(frozen=True)
class Row:
    """What one row learns from: shares of folders for the painter and for planner and critic, and what it changes."""

    says: str
    painter: dict[str, float] = field(default_factory=dict)
    vlm: dict[str, float] = field(default_factory=dict)
    settings: tuple[str, ...] = ()
    painted: str = ""
    """The row whose own states it also learns from."""
    brush: str = ""
    """The row whose painter it takes, because it would learn the same."""
    pen: str = ""
    """The row whose planner and critic it takes, likewise."""
    after: str = "base"
    """The row that it is compared with."""


WHOLE, GROWN, VARIED = {"whole": 1.0}, {"whole": 0.4, "additive": 1.0}, {"whole": 0.4, "varied": 1.0, "edits": 1.0}
FAULTY = {**VARIED, "conflict": 0.6}
TERMS = ("semantic=0.05", "spatial=0.05", "preservation=0.05")
ROWS: dict[str, Row] = {
    "base": Row("base painter, one-shot", WHOLE),
    "additive": Row("+ multi-turn, additive only", GROWN, {"additive": 1.0}),
    "varied": Row("+ varied edits", VARIED, {"varied": 1.0}, after="additive"),
    "conflict": Row(
        "+ conflict data from scene graphs", FAULTY, {"varied": 0.5, "conflict": 1.0, "alignment": 0.3}, after="varied"
    ),
    "sampled": Row(
        "+ self-sampled conflict data", {**FAULTY, "sampled": 0.2},
        {"varied": 0.5, "conflict": 0.5, "alignment": 0.3, "sampled": 0.5}, painted="conflict", after="conflict",
    ),
    "sampled-only": Row(
        "self-sampled instead of scene-graph conflict data", {**VARIED, "sampled": 0.2},
        {"varied": 0.5, "sampled": 1.0}, painted="conflict", after="conflict",
    ),
    "constraints": Row(
        "+ constraint terms", {**FAULTY, "sampled": 0.2},
        settings=TERMS, painted="conflict", pen="sampled", after="sampled",
    ),
    "unpreserved": Row(
        "− text prior preservation", {**FAULTY, "sampled": 0.2},
        {"varied": 0.5, "conflict": 0.5, "alignment": 0.3, "sampled": 0.5}, ("kept=0",), painted="conflict",
        brush="constraints", after="constraints",
    ),
    "untrained": Row("base painter, untrained planner bolted on", brush="base"),
}  # fmt: skip
"""In the order of the issue: each + adds to the one before."""


@dataclass(frozen=True)
class Budget:
    """What each row may spend."""

    seed: int
    steps: int
    vlm_steps: int
    batch: int
    prompts: int
    states: int
    records: float
    seconds: float | None
    teacher: Path
    workers: int

    @property
    def home(self) -> Path:
        return OUT / f"seed-{self.seed}"


# Training ---------------------------------------------------------------------------------------------------------


def prepare(budget: Budget, base_steps: int, base_vlm_steps: int) -> None:
    """The records of all rows, and the two bases."""
    with ProcessPoolExecutor(budget.workers, get_context("spawn")) as pool:
        list(pool.map(partial(_built, budget), DATA))
    fresh = budget.home / "base" / "fresh"
    if not (fresh / "model_index.json").is_file():
        begin(fresh, budget.seed)
    painter(budget, "base", "painter", WHOLE, (), base_steps, str(fresh))
    vlm(budget, "base", {"additive": 1.0}, (), base_vlm_steps, None)


def _built(budget: Budget, name: str) -> None:
    from brushloop.supervision.build.recipes import recipe
    from brushloop.supervision.build.run import build

    kind, settings, number = DATA[name]
    with only(PART):
        build(recipe(kind, settings), budget.home / "data" / name, round(number * budget.records), budget.seed)


def begin(folder: Path, seed: int) -> None:
    """A painter that knows nothing: the shipped autoencoder and tokenizers, everything else random."""
    import torch
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline
    from transformers import CLIPTokenizer, T5Tokenizer

    from brushloop.train.painter import build
    from brushloop.weights import SHIPPED

    torch.manual_seed(seed)
    tokens, tokens_2 = (
        kind.from_pretrained(SHIPPED / "painter" / name, local_files_only=True)
        for kind, name in ((CLIPTokenizer, "tokenizer"), (T5Tokenizer, "tokenizer_2"))
    )
    parts = build(len(tokens_2), len(tokens), tokens.eos_token_id, width=WIDTH, layers=LAYERS)
    FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0, use_dynamic_shifting=False),
        vae=AutoencoderKL.from_pretrained(SHIPPED / "painter" / "vae"), tokenizer=tokens, tokenizer_2=tokens_2,
        **dict(parts.items()),
    ).save_pretrained(folder)  # fmt: skip


def painter(
    budget: Budget, where: str, name: str, shares: dict[str, float], settings: tuple[str, ...], steps: int, base: str
) -> Path:
    """Train a painter on shares of the folders; goes on where it was stopped."""
    from brushloop.supervision.detector import Detective
    from brushloop.train.loop import fitted
    from brushloop.train.supervise import PROCESS, Brush, train

    folder = budget.home / where / name
    if (folder / "done").exists():
        return folder / "painter"
    recipe = replace(
        PROCESS, steps=steps, batch=budget.batch, lr=1.2e-3, muon=True, warmup=max(1, min(100, steps // 10)), ema=0.995,
        seed=budget.seed, semantic=0.0, spatial=0.0, preservation=0.0, track="", stable=True,
    )  # fmt: skip
    recipe = fitted(recipe, settings)
    teacher = Detective(budget.teacher) if recipe.semantic or recipe.spatial or recipe.preservation else None
    train(folder, recipe, Brush(recipe, course(budget, shares), base, teacher), seconds=budget.seconds)
    (folder / "done").touch()
    return folder / "painter"


def vlm(
    budget: Budget, where: str, shares: dict[str, float], settings: tuple[str, ...], steps: int, base: str | None
) -> Path:
    """Train planner and critic on shares of the folders; goes on where it was stopped."""
    from brushloop.train.loop import fitted
    from brushloop.train.supervise import VLM, Pen, train

    folder = budget.home / where / "words"
    if (folder / "done").exists():
        return folder / "vlm"
    recipe = replace(
        VLM, steps=steps, batch=max(2, budget.batch // 2), warmup=max(1, min(30, steps // 10)), ema=0.99,
        seed=budget.seed, track="", lr=4e-4, stable=True,
    )  # fmt: skip
    recipe = fitted(recipe, tuple(setting for setting in settings if setting.startswith("kept")))
    train(folder, recipe, Pen(recipe, course(budget, shares), base), seconds=budget.seconds)
    (folder / "done").touch()
    return folder / "vlm"


def course(budget: Budget, shares: dict[str, float]) -> Any:
    """Folders by their names, each with its share."""
    from brushloop.train.course import Course

    return Course([(budget.home / "data" / name, share) for name, share in shares.items()])


def models(budget: Budget, name: str) -> tuple[str, str | None]:
    """The painter and the planner and critic of a row, by name, trained if they are not; None plans nothing."""
    row, bases = ROWS[name], budget.home / "base"
    if row.painted:
        sample(budget, row.painted)
    if row.brush:
        brush = models(budget, row.brush)[0].removeprefix("flux:")
    else:
        terms = tuple(setting for setting in row.settings if not setting.startswith("kept"))
        start = str(bases / "painter" / "painter")
        brush = str(painter(budget, name, "brush", row.painter, terms, budget.steps, start))
    if row.pen:
        return f"flux:{brush}", models(budget, row.pen)[1]
    if not row.vlm:
        return f"flux:{brush}", "embedded" if name == "untrained" else None
    pen = vlm(budget, name, row.vlm, row.settings, budget.vlm_steps, str(bases / "words" / "vlm"))
    return f"flux:{brush}", f"hf:{pen}"


def sample(budget: Budget, name: str) -> None:
    """Records of the states that a row's models paint of training prompts, as the teacher labels them."""
    from brushloop.supervision.build.recipes import recipe
    from brushloop.supervision.build.run import build

    out, store = budget.home / "data" / "sampled", budget.home / "states"
    if (out / "report.json").exists():
        return
    makers = models(budget, name)
    with ProcessPoolExecutor(budget.workers, get_context("spawn")) as pool:
        list(pool.map(partial(_painted, budget, store, makers), range(budget.workers)))
    with only(PART):
        build(recipe("self-sampled", [f"stores={store}", f"teacher={budget.teacher}"]), out, 100_000, budget.seed)


def _painted(budget: Budget, store: Path, makers: tuple[str, str], part: int) -> None:
    import torch

    from brushloop.train.closed import paint

    torch.set_num_threads(1)
    with only(PART):
        paint(store, budget.states, *makers, seed=budget.seed, part=part, parts=budget.workers)


# Measuring --------------------------------------------------------------------------------------------------------


def prompts(number: int, seed: int) -> list[tuple[str, str, scenes.Scene]]:
    """Held-out (category, prompt, scene) of the part, the categories in turn; the same for every row of a seed."""
    rng, out = random.Random(f"ablation/{seed}"), []
    with only(PART):
        for index in range(number):
            scene = scenes.sample_split(rng, False, CATEGORIES[index % len(CATEGORIES)])
            out.append((CATEGORIES[index % len(CATEGORIES)], words.prompt(scene, rng)[0], scene))
    return out


def evaluate(budget: Budget, name: str) -> None:
    """Paint held-out prompts one-shot and in the loop, and judge them; in several processes."""
    makers = models(budget, name)
    with ProcessPoolExecutor(budget.workers, get_context("spawn")) as pool:
        list(pool.map(partial(_measured, budget, name, makers), range(budget.workers)))


def _measured(budget: Budget, name: str, makers: tuple[str, str | None], part: int) -> None:
    """Every `workers`-th prompt, from `part` on; those that were measured before are left out."""
    import torch

    from brushloop import Studio
    from brushloop.errors import BrushloopError
    from brushloop.supervision.judge import Judge, verdict

    torch.set_num_threads(1)
    folder, (brush, pen) = budget.home / name, makers
    done = {json.loads(line)["index"] for path in folder.glob("eval-*.jsonl") for line in path.read_text().splitlines()}
    studio, judge = Studio(brush, pen or "embedded", home=folder / "store"), Judge()
    for index, (category, prompt, scene) in enumerate(prompts(budget.prompts, budget.seed)):
        if index in done or index % budget.workers != part:
            continue
        began = time.process_time()
        single = studio.one_shot(prompt, seed=index)
        row: dict[str, Any] = {"index": index, "category": category, "prompt": prompt}
        row["one_shot"] = verdict(judge.look([single])[0], scene).correct
        if pen is not None:
            row["loop"], row["stop"], row["rounds"] = False, "error", 0
            try:
                creation = loop(studio, prompt, index)
            except BrushloopError as error:
                row["error"] = error.code
            else:
                row["stop"] = str(creation.stop_reason)
                row["rounds"] = sum(step.kind in ("draft", "refine") for step in creation.steps)
                if creation.image is not None:
                    row["loop"] = verdict(judge.look([creation.image])[0], scene).correct
        row["seconds"] = round(time.process_time() - began, 2)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"eval-{part}.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")


def loop(studio: Any, prompt: str, index: int) -> Any:
    """A creation of the loop, or the rest of one that was killed."""
    id = f"eval-{index:04d}"
    if any(head.id == id for head in studio.store.heads()):
        return studio.resume(id)
    return studio.paint(prompt, seed=index, budget={"rounds": 12, "stall": 2}, id=id)


def found(name: str) -> list[dict[str, Any]]:
    """What was measured of a row, over all seeds."""
    rows = []
    for path in sorted(OUT.glob(f"seed-*/{name}/eval-*.jsonl")):
        seed = path.parts[-3]
        rows += [{**json.loads(line), "seed": seed} for line in path.read_text().splitlines()]
    return rows


def score(row: dict[str, Any]) -> bool:
    """Whether the row's own way of painting was right: in the loop, or one-shot where there is none."""
    return bool(row.get("loop", row["one_shot"]))


def process(name: str) -> dict[str, Any]:
    """Process metrics over the creations of a row."""
    from brushloop.creation import Creation
    from brushloop.store import Store
    from brushloop.supervision.detector import Detective
    from brushloop.supervision.export import of_creation
    from brushloop.supervision.process import measure

    pairs = []
    for home in sorted(OUT.glob(f"seed-*/{name}/store")):
        store = Store(home)
        pairs += [(of_creation(Creation(head.id, head.head, store)), store.get_image) for head in store.heads()]
    return measure(pairs, Detective()).as_json()


# The page ---------------------------------------------------------------------------------------------------------


def table(names: Sequence[str]) -> str:
    """Right pictures of each row, overall and by category, and its gain over the row it adds to."""
    lines = [
        f"| row | n | right | gain | {' | '.join(CATEGORIES)} | one-shot |",
        f"|---|---|---|---|{'---|' * len(CATEGORIES)}---|",
    ]
    for name in names:
        rows, row = found(name), ROWS[name]
        if not rows:
            lines.append(f"| {row.says} | 0 | not run | | {' | ' * len(CATEGORIES)}|")
            continue
        before = {(one["seed"], one["index"]): score(one) for one in found(row.after)}
        pairs = [(before[key], score(one)) for one in rows if (key := (one["seed"], one["index"])) in before]
        change = "" if name == "base" or not pairs else "{:+.0f} ({:+.0f} to {:+.0f})".format(*gain(pairs))
        cells = [share([score(one) for one in rows if one["category"] == category]) for category in CATEGORIES]
        single = share([one["one_shot"] for one in rows])
        lines.append(
            f"| {row.says} | {len(rows)} | {share([score(one) for one in rows], True)} | {change} | "
            f"{' | '.join(cells)} | {single} |"
        )
    return "\n".join(lines)


def share(hits: Sequence[bool], interval: bool = False) -> str:
    """`0.42`, with Wilson's interval if asked for."""
    if not hits:
        return "–"
    low, high = wilson(sum(hits), len(hits))
    return f"{sum(hits) / len(hits):.2f}" + (f" ({low:.2f}-{high:.2f})" if interval else "")


def workings(names: Sequence[str]) -> str:
    """How the loop of each row worked."""
    lines = [
        "| row | found: precision | recall | over-corrected | repaired | broke | pictures | stopped by an error |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in names:
        rows = [row for row in found(name) if "loop" in row]
        if not rows:
            continue
        told = process(name)
        inside = told["inspection"].get("any", {})
        rates = [
            inside.get("precision"),
            inside.get("recall"),
            *(told[k] for k in ("over_correction", "repair", "broke")),
        ]
        cells = ["–" if not rate or rate["rate"] is None else f"{rate['rate']:.2f} of {rate['of']}" for rate in rates]
        errors = sum("error" in row for row in rows)
        mean = sum(row["rounds"] for row in rows) / len(rows)
        lines.append(f"| {ROWS[name].says} | {' | '.join(cells)} | {mean:.1f} | {errors} of {len(rows)} |")
    return "\n".join(lines)


def write(page: Path = PAGE) -> None:
    """Put the tables between the marks of docs/ablation.md."""
    names = list(ROWS)
    seeds = sorted(path.name for path in OUT.glob("seed-*"))
    settings = [json.loads(path.read_text()) for path in sorted(OUT.glob("seed-*/budget.json"))]
    told = "; ".join(f"{seed}: {json.dumps(one)}" for seed, one in zip(seeds, settings, strict=False))
    made = f"{table(names)}\n\n{workings(names)}\n\nBudgets: {told or 'none'}."
    text = page.read_text()
    start, end = "<!-- table: begin -->\n", "<!-- table: end -->"
    before, _, rest = text.partition(start)
    page.write_text(f"{before}{start}{made}\n{end}{rest.partition(end)[2]}")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("what", choices=("prepare", "row", "table"))
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"{', '.join(ROWS)}; none means all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=1500, help="of the painter, of each row")
    parser.add_argument("--vlm-steps", type=int, default=200, help="of planner and critic, of each row")
    parser.add_argument("--base-steps", type=int, default=9000)
    parser.add_argument("--base-vlm-steps", type=int, default=80)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--prompts", type=int, default=120)
    parser.add_argument("--states", type=int, default=150, help="training prompts painted for self-sampled records")
    parser.add_argument("--records", type=float, default=1.0, help="share of the usual number of records")
    parser.add_argument("--seconds", type=float, help="of each of a row's two trainings, instead of all its steps")
    parser.add_argument("--teacher", type=Path, default=Path("runs/teacher/judge.safetensors"))
    parser.add_argument("--train-only", action="store_true", help="measure later")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2, help="processes that build records and paint")
    given = parser.parse_args()
    if unknown := [name for name in given.rows if name not in ROWS]:
        parser.error(f"no row {unknown[0]!r}: there are {', '.join(ROWS)}")
    if given.what == "table":
        write()
        print(PAGE.read_text())
        return
    if not given.teacher.is_file():
        parser.error(f"no detector at {given.teacher}: python -m brushloop.train teacher makes one")
    import torch

    torch.set_num_threads(given.threads)
    budget = Budget(
        given.seed, given.steps, given.vlm_steps, given.batch, given.prompts, given.states, given.records,
        given.seconds, given.teacher, given.workers,
    )  # fmt: skip
    budget.home.mkdir(parents=True, exist_ok=True)
    if given.what == "prepare":
        kept = {key: getattr(given, key) for key in ("steps", "vlm_steps", "base_steps", "base_vlm_steps", "batch")}
        more = {"prompts": given.prompts, "states": given.states, "records": given.records, "seconds": given.seconds}
        (budget.home / "budget.json").write_text(json.dumps(kept | more))
        prepare(budget, given.base_steps, given.base_vlm_steps)
        return
    for name in given.rows or ROWS:
        if given.train_only:
            models(budget, name)
        else:
            evaluate(budget, name)


if __name__ == "__main__":
    main()
