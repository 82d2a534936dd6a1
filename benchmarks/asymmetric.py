"""The asymmetric LoRA against its alternatives, on domains of which one has hardly any data.

    python -m benchmarks.asymmetric train     every row that is not trained yet; goes on where it stopped
    python -m benchmarks.asymmetric judge     paints with each, and writes the table

Four domains in grids of 2 x 2: three with 1000 makings to learn from, `sketch` with 50. Every row sees as many samples,
a quarter of them of each domain, with the same words (which name the domain): no adapter at all; one LoRA for all; a
LoRA for each domain; one A and a B for each domain. Rank, learning rate and base are the same. Judged on objects of
which no row saw a making (the base knows them from scenes), against the true makings of these objects.

- alignment: the last frame's features (of the judge's network, mean and maximum over the picture) are nearest to those
  of the right object, out of all held-out objects, in true last frames of the domain;
- domain: they are nearest to the true last frames of the right domain;
- coherence, 0-1: the share of what is painted in a frame that is still painted in the next one, times 1 minus the mean
  distance between how much is painted in each frame and how much is in a true making, both as shares of the last
  frame's. The layers of the art are the truth of the order;
- usability: the share of makings with alignment, the right domain, and at least 0.8 of a true making's coherence.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.recraft import kept, painted
from brushloop.painter.adapters import files
from brushloop.painter.adapters.adapter import Adapter
from brushloop.painter.domains import domain
from brushloop.painter.grids import Layout
from brushloop.painter.process import ProcessPainter, caption
from brushloop.supervision.held_out import wilson
from brushloop.supervision.judge import Judge
from brushloop.supervision.processes import Making, make
from brushloop.supervision.world import worlds
from brushloop.train.loop import Recipe, fit
from brushloop.train.process import CELLS, RECIPE, Processes, Source
from brushloop.weights import find

LAYOUT = Layout.of("2x2")
SIZE = CELLS[str(LAYOUT)]
DOMAINS = {"emoji": 1000, "line draw": 1000, "illustration": 1000, "sketch": 50}
SMALL = "sketch"
ALL = "all"
RUNS = Path("runs/asymmetric")
RECIPE_HERE = replace(RECIPE, steps=800, warmup=50, ema=0.99, save_every=120.0, track="")
BASE, TRUE = "no adapter", "true makings"
ROWS: dict[str, tuple[tuple[str, ...], ...]] = {
    BASE: (),
    "one LoRA for all": ((ALL,),),
    "a LoRA each": tuple((name,) for name in DOMAINS),
    "asymmetric": (tuple(DOMAINS),),
}
"""The adapters of each row, by the domains that each of them has a B for."""

Array = NDArray[np.float64]


def unseen(name: str) -> bool:
    """Whether no row sees makings of an object: a quarter of the objects, by the hash of the name."""
    return hashlib.sha256(f"asymmetric|{name}".encode()).digest()[0] % 4 == 0


UNSEEN = tuple(thing.name for thing in worlds.SMALL.things if unseen(thing.name))


def makings(name: str, seed: str, *, training: bool) -> Iterator[Making]:
    """Makings of a domain without end, of objects seen in training or of the others, these in equal numbers."""
    rng, turn = random.Random(f"asymmetric/{seed}/{name}"), 0
    while True:
        made = make(name, rng, LAYOUT.frames, SIZE, training=rng.random() < 0.875)
        thing = made.prompt.partition(" ")[2]
        if training != unseen(thing) and (training or thing == UNSEEN[turn % len(UNSEEN)]):
            turn += 1
            yield made


@cache
def sequences() -> dict[str, list[Making]]:
    """The makings to learn from, so many of each domain."""
    return {name: list(islice(makings(name, "train", training=True), number)) for name, number in DOMAINS.items()}


def source(known: Sequence[str]) -> Source:
    """Samples for an adapter that has a B for each of `known`: of these domains, or of all."""
    names = list(DOMAINS) if known == (ALL,) else list(known)

    def draw(rng: random.Random, layout: Layout, cell: int) -> tuple[str, Making, str]:
        name = rng.choice(names)
        making = rng.choice(sequences()[name])
        return (ALL if known == (ALL,) else name), making, told(making)

    return draw


def told(making: Making) -> str:
    """What the painter is told of a grid; all rows are told the domain, since one of them has no other way to know."""
    return caption(words(making), domain(making.domain), 0, LAYOUT.frames, "tokens")


def words(making: Making) -> str:
    """The prompt of a making."""
    return f"{making.prompt}, {domain(making.domain).phrase}"


def file(known: Sequence[str]) -> Path:
    """Where an adapter is kept."""
    return RUNS / "-".join(known).replace(" ", "_") / "process.safetensors"


def train(recipe: Recipe = RECIPE_HERE) -> None:
    """Every adapter that is not there yet. One for a single domain sees that domain's share of the samples."""
    base = find("painter", None, ("model_index.json",)).folder
    for row in ROWS.values():
        for known in row:
            made = file(known)
            share = len(DOMAINS) if known[0] in DOMAINS and len(known) == 1 else 1
            mine = replace(recipe, steps=recipe.steps // share)
            if (made.parent / "done").exists():
                continue
            task = Processes(mine, base, domains=known, source=source(known), turns=[str(LAYOUT)])

            def keep(average: torch.nn.Module, step: int, task: Processes = task, made: Path = made) -> None:
                files.write(task.adapter(average), made)

            fit(task, mine, made.parent, on_save=keep)
            (made.parent / "done").touch()


def nothing() -> Adapter:
    """An adapter that changes nothing: the base alone."""
    base = find("painter", None, ("model_index.json",)).folder
    task = Processes(RECIPE_HERE, base, domains=[ALL])
    return task.adapter(task.module)


class Features:
    """What the judge's network makes of pictures, and the true last frames by domain and object."""

    def __init__(self, each: int = 6) -> None:
        self.network = Judge().network
        number = each * len(UNSEEN)  # in turn: the objects in their order, then again
        self.known = {
            name: self.of([making.frames[-1] for making in islice(makings(name, "truth", training=False), number)])
            for name in DOMAINS
        }

    @torch.no_grad()
    def of(self, pictures: Sequence[Image.Image]) -> Array:
        """(pictures, features)."""
        arrays = np.stack([np.asarray(each.convert("RGB").resize((128, 128))) for each in pictures])
        found = self.network.body(torch.from_numpy(arrays).permute(0, 3, 1, 2).float() / 127.5 - 1)
        return np.asarray(torch.cat([found.mean((2, 3)), found.amax((2, 3))], 1).double())

    def nearest(self, picture: Image.Image, name: str) -> tuple[str, str]:
        """The object it is nearest to in that domain, and the domain it is nearest to."""
        whole = np.concatenate(list(self.known.values()))
        scale = whole.std(0) + 1e-6
        mine = self.of([picture])[0] / scale
        far = np.linalg.norm(self.known[name] / scale - mine, axis=1)
        means = {each: np.linalg.norm(some / scale - mine, axis=1).min() for each, some in self.known.items()}
        return UNSEEN[int(far.argmin()) % len(UNSEEN)], min(means, key=means.__getitem__)


def coherence(frames: Sequence[Image.Image], true: Sequence[Image.Image]) -> float:
    """How much a making comes about as the true one does (0-1); see the head of this file."""
    ours, truth = ([np.asarray(frame.convert("RGB"), np.float64) for frame in each] for each in (frames, true))
    shares = [[painted(frame).mean() / max(1e-6, painted(each[-1]).mean()) for frame in each] for each in (ours, truth)]
    off = np.abs(np.minimum(shares[0], 2) - np.asarray(shares[1]))[:-1].mean()
    return float(kept(ours) * max(0.0, 1 - off))


def judge(number: int = 22, steps: int = 16, seed: int = 0) -> dict[str, dict[str, dict[str, float]]]:
    """Each row's figures by domain, over `number` makings of each; the rows' pictures are kept."""
    features = Features()
    wanted = {name: list(islice(makings(name, "judge", training=False), number)) for name in DOMAINS}
    true = {name: [coherence(one.frames, one.frames) for one in some] for name, some in wanted.items()}
    found: dict[str, dict[str, dict[str, float]]] = {}
    for row, adapters in {TRUE: None, **ROWS}.items():
        for name, some in wanted.items():
            painter = None
            if adapters is not None:
                mine = next((known for known in adapters if known == (ALL,) or name in known), None)
                painter = ProcessPainter(None, files.read(file(mine)) if mine else nothing())
            kind = domain(name).model_copy(update={"layout": str(LAYOUT), "frames": LAYOUT.frames})
            marks = []
            for at, making in enumerate(some):
                if painter is None:
                    frames: Sequence[Image.Image] = making.frames
                else:
                    made = painter.paint(words(making), kind, LAYOUT.frames, seed + at, cell=SIZE, steps=steps)
                    frames = made.frames
                thing, looks = features.nearest(frames[-1], name)
                marks.append(
                    (thing == making.prompt.partition(" ")[2], looks == name, coherence(frames, making.frames))
                )
                sheet(row, name, at, frames)
            limit = 0.8 * float(np.mean(true[name]))
            found.setdefault(row, {})[name] = {
                "alignment": float(np.mean([mark[0] for mark in marks])),
                "domain": float(np.mean([mark[1] for mark in marks])),
                "coherence": float(np.mean([mark[2] for mark in marks])),
                "usability": float(np.mean([mark[0] and mark[1] and mark[2] >= limit for mark in marks])),
                "number": number,
            }
            print(row, name, json.dumps(found[row][name]), flush=True)
    (RUNS / "figures.json").write_text(json.dumps(found, indent=1))
    return found


def sheet(row: str, name: str, at: int, frames: Sequence[Image.Image]) -> None:
    """Keep the frames side by side."""
    made = Image.new("RGB", (len(frames) * (SIZE + 2), SIZE), "white")
    for place, frame in enumerate(frames):
        made.paste(frame.convert("RGB"), (place * (SIZE + 2), 0))
    where = RUNS / "pictures"
    where.mkdir(parents=True, exist_ok=True)
    made.save(where / f"{row}-{name}-{at:02}.png".replace(" ", "_"))


def table(found: dict[str, dict[str, dict[str, float]]]) -> str:
    """The figures in Markdown: the domains with much data together, the small one apart."""
    head = ("", *(f"{what}, {where}" for where in ("large", SMALL) for what in ("alignment", "coherence", "usability")))
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row, domains in found.items():
        cells = []
        for group in ([name for name in DOMAINS if name != SMALL], [SMALL]):
            number = round(sum(domains[name]["number"] for name in group))
            for what in ("alignment", "coherence", "usability"):
                value = float(np.mean([domains[name][what] for name in group]))
                low, high = wilson(round(value * number), number)
                cells.append(f"{value:.2f}" if what == "coherence" else f"{value:.2f} ({low:.2f}-{high:.2f})")
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "judge", "table"))
    parser.add_argument("--steps", type=int, default=RECIPE_HERE.steps, help="training steps of a row")
    parser.add_argument("--number", type=int, default=22, help="makings judged in each domain")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.what == "train":
        train(replace(RECIPE_HERE, steps=given.steps))
    else:
        found = judge(given.number) if given.what == "judge" else json.loads((RUNS / "figures.json").read_text())
        print(table(found))


if __name__ == "__main__":
    main()
