"""The command `chat`: a conversation over one creation, from options or line by line from stdin."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brushloop.cli.console import clean, failure, progress, result
from brushloop.cli.options import AnyPainter, AnyVLM, Effort, Json, Last, Review, opened, studio_for
from brushloop.errors import InputError

if TYPE_CHECKING:
    from brushloop.agent.studio import Studio
    from brushloop.creation import Creation


def chat(
    name: Annotated[
        str | None,
        typer.Argument(help="The creation to speak about; without one, a conversation begins.", metavar="[NAME]"),
    ] = None,
    say: Annotated[
        list[str] | None, typer.Option("--say", help="A turn. May be repeated; without any, turns are read from stdin.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the first turn.")] = 0,
    painter: AnyPainter = None,
    vlm: AnyVLM = None,
    review: Review = None,
    effort: Effort = None,
    last: Last = False,
    as_json: Json = False,
) -> None:
    """Change a picture turn by turn.

    The first turn describes a picture, later ones say what to change: `add a cat`, `make the cat blue`, `the second
    one, but with the tree from the first`, `undo`, `back to the first`.
    """
    old = opened(name, last) if name or last else None
    studio = studio_for(painter, vlm, old, review, effort)
    rows: list[dict[str, Any]] = []
    made = old
    for said in say or _lines():
        try:
            with progress() as tell:
                made = studio.chat(said, made.id if made else None, seed=seed, on_event=tell)
        except InputError as error:
            if say or not sys.stdin.isatty():
                raise
            failure(error, False)  # at a terminal one can say it again
            continue
        rows.append(_row(made, said))
        if not as_json:
            result({}, [f"{rows[-1]['number']:3}  {rows[-1]['image'] or 'no picture'}  {made.id}"], False)
    if made is None or not rows:
        raise InputError("nothing was said: give --say, or lines on stdin")
    if as_json:
        result({"id": made.id, "head": made.head, "turns": rows, "pictures": _pictures(studio, made)}, [], True)


def _row(creation: Creation, said: str) -> dict[str, Any]:
    from brushloop.agent.chat import pictures

    summary = creation.summary()
    row = {"said": said, "number": len(pictures(creation)), "id": creation.id}
    return row | {"image": summary["image"], "stop_reason": summary["stop_reason"]}


def _pictures(studio: Studio, creation: Creation) -> list[dict[str, Any]]:
    from brushloop.agent.chat import pictures

    found = enumerate(pictures(creation), 1)
    return [{"number": n, "said": p.said, "image": studio.store.image_path(p.frame)} for n, p in found]


def _lines() -> Iterator[str]:
    while True:
        if sys.stdin.isatty():
            print("you> ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield clean(line)
