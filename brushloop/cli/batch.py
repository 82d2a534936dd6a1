"""The command `brushloop batch`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from brushloop.cli.console import clean, result
from brushloop.cli.options import VLM, Json, Painter
from brushloop.errors import InputError

if TYPE_CHECKING:
    from brushloop.scale.batch import Tally

EVERY = 2.0
"""Seconds between two lines of progress."""


def batch(
    source: Annotated[
        Path,
        typer.Argument(help='A prompt a line: {"prompt": "...", "seed": 3}.', metavar="PROMPTS.jsonl"),
    ],
    out: Annotated[
        Path | None, typer.Option(help="File of results, a line each; by default PROMPTS.results.jsonl.")
    ] = None,
    on: Annotated[str, typer.Option(help="Where: here, ray, or ray:<address of a cluster>.")] = "here",
    painter: Painter = "embedded",
    vlm: VLM = "embedded",
    at_once: Annotated[
        int | None, typer.Option(min=1, max=256, help="Lines in work at once, in each replica; 1, or 4 with a server.")
    ] = None,
    together: Annotated[
        int, typer.Option(min=1, max=64, help="First drafts painted in one go; the last bits then depend on company.")
    ] = 1,
    replicas: Annotated[int, typer.Option(min=0, help="Painters on Ray; 0: as many as it has room for.")] = 0,
    gpus: Annotated[float, typer.Option(min=0, help="GPUs of a replica on Ray, for example 0.5.")] = 0.0,
    cpus: Annotated[float, typer.Option(min=0, help="CPUs of a replica on Ray.")] = 1.0,
    as_json: Json = False,
) -> None:
    """Paint a file of prompts, here or on a Ray cluster. What is done stays done: the same command again goes on."""
    from brushloop.agent.studio import Studio
    from brushloop.scale.batch import carry_out, here, items
    from brushloop.scale.cluster import Room, on_ray
    from brushloop.scale.together import studio_of

    next(items(source), None)  # a file that cannot be read is told before anything is loaded
    kind, _, address = on.partition(":")
    if kind not in ("here", "ray") or (kind == "here" and address):
        raise InputError(f"cannot run on {on!r}: write here, ray, or ray:<address>")
    at_once = max(together, at_once or (4 if vlm.startswith("openai:") else 1))
    home = Studio(painter, vlm).store.url
    makers = partial(studio_of, painter, vlm, home, together)
    work = on_ray(makers, Room(gpus, cpus, at_once, replicas), address or None) if kind == "ray" else None
    out = out or source.with_suffix(".results.jsonl")
    done = carry_out(source, out, work or here(makers(at_once=at_once), at_once), f"{painter}\n{vlm}", _progress())
    value = {
        "out": str(out), "lines": done.lines, "ok": done.done - done.failed, "failed": done.failed,
        "before": done.before, "seconds": round(done.seconds, 3),
    }  # fmt: skip
    result(value, [f"{out}  {done.done - done.failed} of {done.lines} lines painted, {done.failed} failed"], as_json)


def _progress() -> Callable[[Tally], None]:
    last = 0.0

    def tell(now: Tally) -> None:
        nonlocal last
        if time.monotonic() - last < EVERY and now.done < now.lines:
            return
        last = time.monotonic()
        rate = (now.done - now.before) / max(now.seconds, 1e-9)
        left = (now.lines - now.done) / rate if rate else 0.0
        line = f"{now.done} of {now.lines} done, {now.failed} failed, {rate:.2f} a second, {left:.0f} s left"
        print(clean(line), file=sys.stderr, flush=True)

    return tell
