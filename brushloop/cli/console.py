"""What the command says: results on stdout, progress and errors on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from brushloop.errors import BrushloopError

if TYPE_CHECKING:
    from brushloop.agent.events import DenoiseEvent, Event, OnEvent


def clean(text: str) -> str:
    """On one line and without control characters: words of a model or a file must not steer a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def result(value: Mapping[str, Any], lines: Iterable[str], as_json: bool) -> None:
    """Print what a command found: `value` as JSON, or `lines` for people."""
    text = json.dumps(value, indent=2) if as_json else "\n".join(lines)
    print(text, flush=True)


def failure(error: Exception, as_json: bool, code: str | None = None) -> None:
    """One line on stderr; for `--json` the same on stdout. With `BRUSHLOOP_DEBUG=1` the traceback comes first."""
    if os.environ.get("BRUSHLOOP_DEBUG", "0") not in ("", "0"):
        import traceback

        traceback.print_exception(error)
    message = clean(str(error))
    if code is None and isinstance(error, BrushloopError):
        code = error.code
    elif code is None:
        code = "unexpected"
        message = f"{type(error).__name__}: {message}; BRUSHLOOP_DEBUG=1 shows where"
    print(f"error[{code}]: {message}", file=sys.stderr, flush=True)
    if as_json:
        print(json.dumps({"error": {"code": code, "message": message}}), flush=True)


@contextmanager
def progress(left: Callable[[Event], float | None] = lambda event: None) -> Iterator[OnEvent]:
    """Tell on stderr what a run does: a line for each step, and on a terminal a bar for the picture in work.

    `left` tells after an event how many seconds are still needed, if that is known; a terminal shows them.
    """
    with _bar(left) if sys.stderr.isatty() else _lines() as tell:

        def quietly(event: Event) -> None:
            with suppress(OSError):  # a stderr that nobody reads must not stop the painting
                tell(event)

        yield quietly


@contextmanager
def _lines() -> Iterator[OnEvent]:
    def tell(event: Event) -> None:
        if line := _line(event):
            print(line, file=sys.stderr, flush=True)

    yield tell


@contextmanager
def _bar(left: Callable[[Event], float | None]) -> Iterator[OnEvent]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
    from rich.text import Text

    columns = SpinnerColumn(), TextColumn("{task.description:<8}"), BarColumn(bar_width=24), MofNCompleteColumn()
    with Progress(*columns, console=Console(stderr=True, highlight=False), transient=True) as shown:
        task = shown.add_task("begins", total=None)

        def tell(event: Event) -> None:
            if line := _line(event):
                kind, _, text = line.partition(" ")
                still = (_still(left(event)), "dim")
                shown.console.print(Text.assemble((f"{kind} ", _STYLES.get(kind, "bold")), text, still))
                shown.reset(task, description="thinks", total=None)
            elif event["type"] == "denoise":
                now: DenoiseEvent = event
                shown.update(task, description=now["node"], completed=now["done"], total=now["total"])

        yield tell


_STYLES = {"draft": "bold cyan", "refine": "bold magenta", "reflect": "bold yellow", "finish": "bold green"}


def _still(seconds: float | None) -> str:
    return f"  (about {seconds:.0f} s left)" if seconds and seconds >= 1 else ""


def _line(event: Event) -> str | None:
    if event["type"] == "step":
        variant = f"{event['variant']}: " if "variant" in event else ""
        return f"{event['kind']:<8} {variant}{clean(event['text'])}"
    if event["type"] == "wait":
        return f"{'wait':<8} {event['seconds']:g} s: {clean(event['why'])}"
    if event["type"] == "paused":
        return f"{'paused':<8} before {event['next']}: brushloop resume {event['id']}"
    return None
