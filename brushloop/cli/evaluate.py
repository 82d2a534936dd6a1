"""The command `brushloop eval`: how the loop worked, measured over creations."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brushloop.cli.console import result
from brushloop.cli.options import AnyPainter, AnyVLM, Json, Names
from brushloop.errors import InputError
from brushloop.weights import OWN

if TYPE_CHECKING:
    from brushloop.creation import Creation
    from brushloop.supervision.process import See
    from brushloop.supervision.records import Record


def eval_(
    names: Names = None,
    home: Annotated[Path | None, typer.Option(help="The store of creations; by default BRUSHLOOP_HOME.")] = None,
    records: Annotated[Path | None, typer.Option(help="Exported records instead of a store.")] = None,
    detector: Annotated[
        Path | None,
        typer.Option(help="Weights of the detector that says what is there; by default the judge of their world."),
    ] = None,
    scenes: Annotated[
        int | None,
        typer.Option(min=1, help="Paint so many held-out prompts first, one-shot and in the loop, and measure those."),
    ] = None,
    painter: AnyPainter = None,
    vlm: AnyVLM = None,
    as_json: Json = False,
) -> None:
    """Measure how the loop worked: what the critic found, what was repaired, what drifted, what it cost.

    All creations are judged as of the world that the models of the first one know.
    """
    from brushloop.agent.names import makers_of
    from brushloop.supervision.detector import Detective
    from brushloop.supervision.held_out import by_category, table
    from brushloop.supervision.judge import weights_of
    from brushloop.supervision.process import measure
    from brushloop.supervision.world.worlds import known_to, within

    if records and (names or home or scenes):
        raise InputError("give --records, or creations of a store, not both")
    if scenes and names:
        raise InputError("give --scenes, or names of creations, not both")
    if (painter or vlm) and not scenes:
        raise InputError("--painter and --vlm are what paints --scenes: give a number of them")
    with within(known_to(vlm or OWN)):
        rows = _painted(scenes, home, painter or OWN, vlm or OWN) if scenes else []
    names = [row["id"] for row in rows] if rows else names
    creations = [] if records else _creations(home, names or [])
    found = list(_recorded(records) if records else map(_of, creations))
    if not found:
        raise InputError("there is no creation to measure: paint some first, or name another --home")
    with within(known_to(makers_of(creations[0])[1] if creations else OWN)) as world:
        witness = Detective(detector or weights_of(world.name))
        value = {**measure(found, witness).as_json(), "detector": witness.ref.model_dump()}
    lines = list(_lines(value))
    if rows:
        value["scenes"] = by_category(rows)
        lines += ["", table(rows)]
    result(value, lines, as_json)


def _painted(number: int, home: Path | None, painter: str, vlm: str) -> list[dict[str, Any]]:
    """The scene benchmark in a store; those of its creations that are there already are taken as they are."""
    from brushloop.agent.studio import Studio
    from brushloop.supervision.held_out import prompts
    from brushloop.supervision.judge import Judge, verdict, weights_of
    from brushloop.supervision.world.worlds import current

    studio, judge, rows = Studio(painter, vlm, home=home), Judge(weights_of(current().name)), []
    there = {head.id for head in studio.store.heads()}
    for index, (category, prompt, scene) in enumerate(prompts(number)):
        id = f"scene-{index:04d}"
        creation = studio.resume(id) if id in there else studio.paint(prompt, seed=index, id=id)
        pictures = {"one_shot": studio.one_shot(prompt, seed=index), "loop": creation.image}
        row: dict[str, Any] = {"id": id, "category": category}
        for name, picture in pictures.items():
            row[name] = {"correct": picture is not None and verdict(judge.look([picture])[0], scene).correct}
        rows.append(row)
        print(f"{index + 1} of {number} scenes", file=sys.stderr, flush=True)
    return rows


def _recorded(path: Path) -> Iterator[tuple[Record, See]]:
    from brushloop.supervision.records import RecordFolder

    folder = RecordFolder.open(path)
    return ((record, folder.image) for record in folder if record.source.name == "loop")


def _creations(home: Path | None, names: list[str]) -> list[Creation]:
    from brushloop.agent.names import creation_of
    from brushloop.creation import Creation
    from brushloop.store import Store

    if home and not home.is_dir():
        raise InputError(f"no store of creations at {home}: --home names a folder like BRUSHLOOP_HOME")
    store = Store(home)
    return [creation_of(store, name, False) for name in names] or [
        Creation(head.id, head.head, store) for head in reversed(store.heads())
    ]


def _of(creation: Creation) -> tuple[Record, See]:
    from brushloop.supervision.export import of_creation

    return of_creation(creation), creation.store.get_image


def _lines(value: Mapping[str, Any]) -> Iterator[str]:
    yield f"{value['creations']} creations, {value['left_out']} left out; witness {value['detector']['id']}"
    for kind, found in value["inspection"].items():
        yield f"inspection {kind:<12} precision {_rate(found['precision'])}  recall {_rate(found['recall'])}"
    for name in ("detected", "over_correction", "repair", "needless", "broke", "never_worse_by_critic",
                 "never_worse_by_detector", "as_planned"):  # fmt: skip
        yield f"{name.replace('_', ' '):<23} {_rate(value[name])}"
    drift = ", ".join(f"{number}: {amount:.4f}" for number, amount in value["drift_by_round"].items())
    yield f"{'drift by round':<23} {drift or '-'}"
    for name in ("rounds", "denoising_steps"):
        spent = value[name]
        yield f"{name.replace('_', ' '):<23} mean {spent['mean'] if spent['mean'] is not None else '-'}"


def _rate(found: Mapping[str, Any]) -> str:
    if found["rate"] is None:
        return "-" + " " * 21
    return f"{found['rate']:.2f} [{found['low']:.2f}, {found['high']:.2f}] of {found['of']}".ljust(22)
