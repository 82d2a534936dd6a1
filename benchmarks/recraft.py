"""Whether the states that recraft paints could have led to a picture, on vector art held out from training.

    python -m benchmarks.recraft --number 8 --steps 12

`number` pictures in each domain, each the end of a making whose true states are known; once without a word, and once
with what they show (`--prompt`). `--seen` takes objects whose makings training saw instead. Measured are

- same file: the last frame that the command writes is the given file, byte for byte;
- kept: the share of what is painted in a frame that is still painted in the next one;
- order: Kendall's tau-b over the painted pixels between the frame in which a pixel comes near its final colour and the
  frame in which it does in the true making. Beside it two orders that need no model: by the distance to the nearest
  edge, edges first, and from left to right, each in as many frames with as many pixels in each.

A pixel is painted where it differs from the paper, near where more than half of the way from paper to final colour is
done. States of an adapter are soft, so order is measured by the way that is left, summed over frames, too ("soft").
`--world large` takes the objects held out from a larger world, which the painter's base never saw either.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import tempfile
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from brushloop.painter.domains import domain
from brushloop.supervision.processes import Making, held_out, make
from brushloop.supervision.world.worlds import current, within
from brushloop.train.process import CELLS

Array = NDArray[np.float64]

DOMAINS = ("illustration", "icon", "emoji")
PAINTED = 24
"""Levels of 255 by which a channel of a painted pixel differs from the paper."""
FIGURES = ("kept", "kept truly", "order", "soft", "by edges", "by columns")


def paper(frame: Array) -> Array:
    """Colour of the paper (3): the median of the frame's rim."""
    rim = np.concatenate([frame[0], frame[-1], frame[:, 0], frame[:, -1]])
    return np.median(rim, axis=0)


def painted(frame: Array) -> NDArray[np.bool_]:
    """Where a frame (H W 3) is not paper."""
    return np.asarray(np.abs(frame - paper(frame)).max(-1) > PAINTED)


def kept(frames: Sequence[Array]) -> float:
    """Share of what is painted in a frame that is painted in the next one, mean over frames that are not empty."""
    masks = [painted(frame) for frame in frames]
    return float(np.mean([(one & two).sum() / one.sum() for one, two in pairwise(masks) if one.any()] or [1.0]))


def left(frames: Sequence[Array]) -> Array:
    """Share of the way from paper to final colour that is left in each frame (K H W), 0-1."""
    final = frames[-1]
    way = np.linalg.norm(final - paper(final), axis=-1)
    return np.stack([np.linalg.norm(frame - final, axis=-1) / np.maximum(way, 1) for frame in frames]).clip(0, 1)


def arrival(frames: Sequence[Array]) -> Array:
    """The frame (H W) from which on a pixel stays near its final colour."""
    near = left(frames) < 0.5
    return (~near[::-1].cumprod(0).astype(bool)).sum(0).astype(float)


def reveal(rank: Array, frames: int) -> Array:
    """An order of pixels (n) cut into frames of as many pixels each."""
    order = np.argsort(np.argsort(rank, kind="stable"), kind="stable")
    return order * frames // len(order)


def edges(final: Array) -> Array:
    """Distance of every pixel (H W) to the nearest edge, in pixels."""
    from scipy.ndimage import distance_transform_edt

    steps = np.zeros(final.shape[:2], bool)
    steps[:, 1:] |= np.abs(np.diff(final, axis=1)).max(-1) > PAINTED
    steps[1:] |= np.abs(np.diff(final, axis=0)).max(-1) > PAINTED
    return np.asarray(distance_transform_edt(~steps))


def agreement(one: Array, two: Array) -> float:
    """Kendall's tau-b; 0 where either is the same everywhere."""
    from scipy.stats import kendalltau

    tau = float(kendalltau(one, two).statistic)
    return 0.0 if np.isnan(tau) else tau


def figures(made: Sequence[Image.Image], true: Sequence[Image.Image]) -> dict[str, float]:
    """The figures of one picture, from the frames made and those of the true making, of one size."""
    ours, truth = ([np.asarray(frame.convert("RGB"), np.float64) for frame in each] for each in (made, true))
    where, count = painted(truth[-1]), len(truth)
    wanted = arrival(truth)[where]
    columns = np.indices(where.shape)[1].astype(float)
    return {
        "kept": kept(ours),
        "kept truly": kept(truth),
        "order": agreement(arrival(ours)[where], wanted),
        "soft": agreement(left(ours).sum(0)[where], wanted),
        "by edges": agreement(reveal(edges(truth[-1])[where], count), wanted),
        "by columns": agreement(reveal(columns[where], count), wanted),
    }


def makings(name: str, number: int, seen: bool = False) -> Iterator[Making]:
    """Makings of a domain, held out from training or seen in it, each object once before any comes again."""
    kind, rng, made = domain(name), random.Random(f"recraft/{name}"), list[str]()
    objects = sum(held_out(thing.name) != seen for thing in current().things)
    while len(made) < number:
        one = make(name, rng, kind.frames, CELLS[kind.layout], training=seen)
        if one.prompt not in made[len(made) // objects * objects :]:
            made.append(one.prompt)
            yield one


def same_file(name: str, picture: Image.Image) -> bool:
    """Whether the command ends with the very file that was given."""
    from brushloop.cli.main import main as command

    with tempfile.TemporaryDirectory() as where, contextlib.redirect_stdout(io.StringIO()) as said:
        given = Path(where, "given.png")
        picture.save(given)
        os.environ["BRUSHLOOP_HOME"] = f"{where}/home"
        code = command(["recraft", str(given), "--domain", name, "--steps", "1", "--out", f"{where}/out", "--json"])
        return code == 0 and Path(json.loads(said.getvalue())["frames"][-1]).read_bytes() == given.read_bytes()


def measure(number: int = 8, steps: int = 12, seen: bool = False) -> dict[str, dict[str, float]]:
    """Means of the figures by domain, over `number` pictures each, without and with a prompt."""
    from brushloop.painter.recraft import recraft
    from brushloop.painter.workshop import Workshop

    found: dict[str, dict[str, float]] = {}
    for name in DOMAINS:
        kind, given = domain(name), list(makings(name, number, seen))
        painter, same = Workshop().open(kind, reads=True), same_file(name, given[0].frames[-1])
        for told in (False, True):
            rows = []
            for seed, true in enumerate(given):
                prompt = true.prompt if told else ""
                made = recraft(painter, true.frames[-1], kind, prompt, seed=seed, steps=steps)
                rows.append(figures(made.frames, true.frames))
                print(
                    f"{name}, {true.prompt}: {', '.join(f'{key} {rows[-1][key]:.2f}' for key in FIGURES)}", flush=True
                )
            means = {key: float(np.mean([row[key] for row in rows])) for key in FIGURES}
            found[f"{name}, with a prompt" if told else name] = {"same file": float(same), **means}
    return found


def table(found: dict[str, dict[str, float]]) -> str:
    """The figures in Markdown."""
    head = ("domain", "same file", "kept", "in the true making", "order", "soft", "by edges", "left to right")
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, row in found.items():
        same = "yes" if row["same file"] else "no"
        lines.append(f"| {name} | {same} | {' | '.join(f'{row[key]:.2f}' for key in FIGURES)} |")
    return "\n".join(lines)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=8)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--seen", action="store_true", help="objects that training saw")
    parser.add_argument("--world", default="small", help="whose objects")
    given = parser.parse_args()
    with within(given.world):
        print(table(measure(given.number, given.steps, given.seen)))


if __name__ == "__main__":
    main()
