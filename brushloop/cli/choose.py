"""The command that chooses among variants, and what `paint --variants` prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brushloop.cli.console import clean, progress, result
from brushloop.cli.options import Json, Out
from brushloop.errors import InputError

if TYPE_CHECKING:
    from brushloop.agent.expect import Expected
    from brushloop.agent.studio import Studio
    from brushloop.creation import Creation


def choose(
    name: Annotated[str, typer.Argument(help="The creation that was painted in variants.", metavar="NAME")],
    number: Annotated[int | None, typer.Argument(help="The variant; by default the best score.")] = None,
    why: Annotated[str, typer.Option(help="Your reason, for the record.")] = "",
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Choose among the variants of a creation; all of them are kept."""
    from brushloop.agent import variants
    from brushloop.agent.names import creation_of, png_to
    from brushloop.store import Store

    png_to(out)
    store = Store()
    tell(variants.choose(store, creation_of(store, name).id, number, why), out, as_json)


def chooser(who: str, variants: int | None, id: str | None, pause: Sequence[str] | None) -> bool:
    """Whether the score chooses.

    Raises:
        InputError: nobody of that name can choose, that number cannot be, or a pause was asked for too.
    """
    from brushloop.agent.variants import check

    if who not in ("score", "person"):
        raise InputError(f"{who[:40]!r} cannot choose: write --choose score or --choose person")
    if variants and pause:
        raise InputError("--pause and --variants were both given: choose among variants, or step into one creation")
    if variants is not None:
        check(id or "creation", variants)
    return who == "score"


def explored(studio: Studio, id: str, number: int, by_score: bool, out: Path | None, as_json: bool) -> None:
    """Paint variants, choose, and print what was made."""
    with progress() as hear:
        made = studio.explore(id, number, choosing=by_score, on_event=hear)
    tell(made, out, as_json)


def foreseen(expected: Expected, variants: int, as_json: bool) -> None:
    """Print what it is likely to cost, `variants` times."""
    several = {name: getattr(expected, name) for name in ("rounds", "pixels", "seconds", "tokens")}
    several = {name: cost and cost * variants for name, cost in several.items()}
    expected = expected.model_copy(update=several)
    result({"expected": expected.model_dump()}, [f"expected: {expected.said()}; nothing was painted"], as_json)


def tell(creation: Creation, out: Path | None, as_json: bool) -> None:
    """Print a creation and its variants."""
    from brushloop.agent.variants import chosen, variants

    value: dict[str, Any] = creation.summary()
    number, rows, lines = chosen(creation.store, creation.id), [], []
    for count, made in enumerate(variants(creation.store, creation.id), 1):
        end = made.steps[-1]
        score = end.critique.score if made.finished and end.critique else None
        image = made.summary()["image"]
        reason = made.stop_reason.value if made.stop_reason else None
        rows.append({"id": made.id, "head": made.head, "image": image, "score": score, "stop_reason": reason})
        marked = "*" if count == number else " "
        lines.append(
            f"{marked} {count:2} {'' if score is None else f'{score:.2f}':>5} {reason or 'unfinished':<10} {image}"
        )
    value |= {"variants": rows, "chosen": number}
    if out and creation.finished:
        value["file"] = str(creation.export(out))
    why = clean(creation.steps[-1].text) if creation.finished else f"choose with: brushloop choose {creation.id} NUMBER"
    result(value, [*lines, str(value.get("file") or value["image"] or ""), f"{creation.id}  {why}"], as_json)
