"""How near the loop is to what its models cost: bars that hold for the shipped models and for full-size ones.

    python -m benchmarks.limits [--only disk rounds jobs]

`disk`: what lies on the disk of finished creations, against their pictures. `rounds`: a draft and a refinement, as the
loop asks for them, against two full passes. `jobs`: creations that are made at once, against the busier of the two
engines, painter and vision-language model, alone. One thread of torch, so that an engine is one core. Whatever is
compared is run in turn with what it is compared with, and the best of each counts: neighbours on the machine only add.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar

from benchmarks.effort import HARD, Counted
from brushloop.canvas import StepKind
from brushloop.painter.base import PaintRequest
from brushloop.supervision.held_out import prompts

FULL = 28
"""Denoising steps of a full pass, as diffusers' `FluxPipeline` does them unless told otherwise."""
TOGETHER = 4
"""Drafts painted in one go, at most."""
HASTY = 1
"""Denoising steps of a draft that is likely to be found fault with."""

Figures = dict[str, Any]
T = TypeVar("T")


def measure_disk(number: int = 8) -> Figures:
    """Bytes of a store of so many finished creations, by what they are for; `share` is all of them ÷ the pictures.

    It is closed first: SQLite's log is gone then, and its file is as large as it ever was.
    """
    from brushloop import Studio

    with tempfile.TemporaryDirectory() as home:
        _batch(Path(home), Studio(home=home), [text for _, text, _ in prompts(number)])
        return {"number": number, **disk(Path(home, "store"))}


def disk(home: Path) -> Figures:
    """Bytes of the files of a store by kind, and all of them ÷ those of the pictures."""
    sizes: dict[str, int] = {}
    for file in home.rglob("*"):
        if file.is_file():
            kind = "pictures" if file.suffix == ".png" else file.relative_to(home).parts[0]
            sizes[kind] = sizes.get(kind, 0) + file.stat().st_size
    return {"bytes": sizes, "share": sum(sizes.values()) / sizes["pictures"]}


def measure_rounds(number: int = 6, runs: int = 3) -> Figures:
    """A mean draft and a mean refinement ÷ a full pass from text and one over a canvas, in arithmetic and in seconds.

    The drafts are those of hard held-out prompts. The loop hardly ever has to refine them; the refinements are those
    that it asks for after drafts of `HASTY` denoising step.
    """
    import torch

    from brushloop import Studio
    from brushloop.agent.effort import Effort

    torch.set_num_threads(1)
    hard = [text for kind, text, _ in prompts(3 * number) if kind in HARD][:number]
    usual = Effort()
    hasty = replace(usual, alone_steps=HASTY, draft_steps=HASTY, per_thing=0)
    asked: dict[StepKind, list[PaintRequest]] = {StepKind.DRAFT: [], StepKind.REFINE: []}
    with tempfile.TemporaryDirectory() as home:
        shipped = Studio(home=home)
        painter = Counted(shipped.painter)
        for effort, kind in ((usual, StepKind.DRAFT), (hasty, StepKind.REFINE)):
            for seed, text in enumerate(hard):
                noted = Noted(painter)
                made = Studio(noted, shipped.vlm, home, effort=effort).paint(text, seed, budget={"rounds": 3})
                kinds = [step.kind for step in made.steps if step.kind in asked]
                asked[kind] += [request for request, of in zip(noted.asked, kinds, strict=True) if of is kind]
    drafts, refinements = asked.values()
    first = next(request for request in drafts if request.canvas is None)
    text = replace(first, denoising_steps=FULL)
    canvas = replace(text, canvas=painter.paint(first), regions=(), strength=1.0)
    requests = {"draft": drafts, "refine": refinements, "text": [text], "canvas": [canvas]}
    flop = {name: fmean(_flop(painter, request) for request in some) for name, some in requests.items()}
    turns = [{name: [_seconds(painter, each) for each in some] for name, some in requests.items()} for _ in range(runs)]
    seconds = {name: fmean(map(min, zip(*(turn[name] for turn in turns), strict=True))) for name in requests}
    return {
        "drafts": len(drafts), "refinements": len(refinements), "flop": flop, "seconds": seconds,
        "flop share": round_share(flop), "seconds share": round_share(seconds), "turns": [
            round_share({name: fmean(found) for name, found in turn.items()}) for turn in turns
        ],
    }  # fmt: skip


def round_share(cost: dict[str, float]) -> float:
    """A draft and a refinement ÷ two full passes."""
    return (cost["draft"] + cost["refine"]) / (cost["text"] + cost["canvas"])


def measure_jobs(number: int = 8, runs: int = 3) -> Figures:
    """Seconds for so many creations one after the other and all at once, and of each engine alone meanwhile.

    At once is as `brushloop batch --at-once` makes them: with the vision-language model in a process of its own;
    `together` paints first drafts that come at the same time in one go, too.
    """
    from brushloop.scale.together import studio_of

    texts = [text for _, text, _ in prompts(number)]
    ways = {"alone": {}, "at once": {"at_once": number}, "together": {"at_once": number, "together": TOGETHER}}
    with tempfile.TemporaryDirectory() as home:
        studios = {way: studio_of("embedded", "embedded", home, **given) for way, given in ways.items()}
        for studio in studios.values():
            studio.paint("a red apple", budget={"rounds": 1})  # loads the models
        found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
        for turn in range(runs):
            for way, studio in studios.items():
                folder = Path(home, f"{turn}-{way}")
                folder.mkdir()
                found[way].append(_batch(folder, studio, texts, ways[way].get("at_once", 1)))
    best = {way: {name: min(run[name] for run in some) for name in some[0]} for way, some in found.items()}
    spans = {way: makespan(best["alone"], best[way]) for way in ways}
    return {"number": number, **best, "makespan": spans["at once"], "makespan together": spans["together"]}


def makespan(alone: dict[str, float], at_once: dict[str, float]) -> float:
    """Creations at once ÷ the busier engine alone."""
    return at_once["wall"] / max(alone["painter"], alone["vlm"])


class Noted:
    """A painter or a vision-language model, what it was asked, and the seconds that it took."""

    def __init__(self, model: Any) -> None:
        self.model, self.asked, self.seconds = model, list[Any](), 0.0
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def paint(self, request: PaintRequest, *given: Any) -> Any:
        """As the painter's."""
        return self._noting(request, lambda: self.model.paint(request, *given))

    def ask(self, question: Any) -> Any:
        """As the model's."""
        return self._noting(question, lambda: self.model.ask(question))

    def _noting(self, asked: Any, work: Callable[[], T]) -> T:
        start = time.perf_counter()
        made = work()
        with self._lock:
            self.asked.append(asked)
            self.seconds += time.perf_counter() - start
        return made


def table(figures: dict[str, Figures]) -> str:
    """Rows of the table of costs, and what there is to say of them, as Markdown."""
    loop, demo, kept, rounds, jobs = (figures[part] for part in ("loop", "demo", "disk", "rounds", "jobs"))
    sizes, alone, at_once = kept["bytes"], jobs["alone"], jobs["at once"]
    each = {kind: f"{size / kept['number'] / 1000:.1f} KB" for kind, size in sizes.items()}
    around = loop["wall"] * demo["steps"] / 1000 / demo["seconds"]
    database = f"{sizes['checkpoints.sqlite'] / 1000:.0f} KB"
    return f"""\
| orchestration, of the demo's wall | 1% | {around:.2%} | `loop`, `demo` |
| files of finished creations ÷ their pictures | 1.10 | {kept["share"]:.2f} | `disk` |
| arithmetic of a round ÷ two full passes | 0.32 | {rounds["flop share"]:.3f} | `rounds` |
| its processor time ÷ theirs | {1.15 * rounds["flop share"]:.3f} | {rounds["seconds share"]:.3f} | `rounds` |
| {jobs["number"]} creations at once ÷ the busier engine alone | 1.10 | {jobs["makespan"]:.2f} | `jobs` |
| the same, with drafts painted together | 1.10 | {jobs["makespan together"]:.2f} | `jobs` |

A creation keeps {each["pictures"]} of pictures and, whatever their size, {each["objects"]} of steps, {each["heads"]} of
heads and {each["notes"]} of measurements; SQLite keeps one empty file for all of them ({database}). At 128 x 128
pixels that is more than a tenth; of pictures of 1024 x 1024 it is less than a hundredth.

A round is a draft and a refinement as the loop asks for them ({rounds["drafts"]} drafts of hard held-out prompts;
{rounds["refinements"]} refinements of drafts that were made with one denoising step, since it hardly ever refines
others). A full pass has {FULL} denoising steps over the whole canvas: one begins with the text, the other with a
canvas as condition. A window of so small a picture saves less time than arithmetic: what a denoising step costs
besides tokens (starting some thousand operations, reading the weights) stays.

Creations at once have their vision-language model in a process of its own, and torch one thread in each. One after the
other they took {alone["wall"]:.1f} s: {alone["painter"]:.1f} s of the painter, {alone["vlm"]:.1f} s of the
vision-language model; at once {at_once["wall"]:.1f} s, and {jobs["together"]["wall"]:.1f} s with up to {TOGETHER}
drafts painted in one go. In one process they would wait for Python's lock: the model holds it for half of its time and
the painter for a fifth of its own (py-spy), since operations this small are mostly Python. What is left over the bar
is the first plan, the last look, and the graph's own work beside the painter.
"""


def _batch(folder: Path, shipped: Any, texts: Sequence[str], at_once: int = 1) -> dict[str, float]:
    """Make creations as `brushloop batch --at-once` does; wall seconds, and those of each engine."""
    import torch

    from brushloop import Studio
    from brushloop.scale.batch import carry_out, here

    torch.set_num_threads(1)
    source = folder / "prompts.jsonl"
    source.write_text("".join(json.dumps({"prompt": text, "seed": n}) + "\n" for n, text in enumerate(texts)))
    painter, vlm = Noted(shipped.painter), Noted(shipped.vlm)
    studio = Studio(painter, vlm, folder / "store")
    start = time.perf_counter()
    done = carry_out(source, folder / "results.jsonl", here(studio, at_once))
    wall = time.perf_counter() - start
    studio.graph.checkpointer.conn.close()  # type: ignore[union-attr]
    if done.failed:
        raise SystemExit(f"{done.failed} of {len(texts)} creations failed: see {folder / 'results.jsonl'}")
    return {"wall": wall, "painter": painter.seconds, "vlm": vlm.seconds}


def _flop(painter: Counted, request: PaintRequest) -> float:
    """Floating-point operations of a picture."""
    painter.flop, painter.counts = 0, True
    painter.paint(request)
    painter.counts = False
    return painter.flop


def _seconds(painter: Counted, request: PaintRequest) -> float:
    """Processor seconds of a picture."""
    start = time.process_time()
    painter.paint(request)
    return time.process_time() - start


PARTS: dict[str, Callable[[], Figures]] = {"disk": measure_disk, "rounds": measure_rounds, "jobs": measure_jobs}


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=list(PARTS), choices=PARTS)
    for name in parser.parse_args().only:
        print(name, json.dumps(PARTS[name](), indent=1))


if __name__ == "__main__":
    main()
