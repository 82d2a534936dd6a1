"""The commands `brushloop data ...`: building, checking and exporting process records."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from brushloop.cli.console import clean, result
from brushloop.cli.options import Json, Last, Seed
from brushloop.errors import InputError, StoreError

if TYPE_CHECKING:
    from brushloop.supervision.build.run import Report

app = typer.Typer(help="Process records: build them, check them, turn creations into them.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="A folder of records.", metavar="FOLDER")]
Out = Annotated[Path, typer.Option("--out", help="The folder to write to.")]


@app.command()
def build(
    out: Out,
    recipe: Annotated[str, typer.Option(help="A recipe's name (brushloop data recipes), or a .json file.")] = "mixed",
    number: Annotated[int, typer.Option(min=1, help="Records in all, those that are there included.")] = 1000,
    seed: Seed = 0,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="A field of the recipe, as field=value. May be repeated.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Build records; goes on where it was stopped or killed."""
    from brushloop.supervision.build.recipes import recipe as named
    from brushloop.supervision.build.run import build as make

    chosen, began = named(recipe, setting or ()), time.monotonic()

    def tell(now: Report, last: bool = False) -> None:
        done, seconds = now.records - now.resumed, time.monotonic() - began
        if last or (done % 100 == 0 and now.records < number):
            rate = done / seconds if seconds else 0.0
            print(f"{now.records} of {number} records, {rate:.1f}/s, {now.rejected.total()} drafts turned down",
                  file=sys.stderr, flush=True)  # fmt: skip

    report = make(chosen, out, number, seed, tell)
    tell(report, last=True)
    value = {"out": str(out), "recipe": chosen.name, "seed": seed, **report.as_json()}
    lines = [f"{report.records} records, {report.pictures} pictures in {out}"]
    lines += [f"{count:6} {name}" for name, count in report.builders.most_common()]
    lines += [f"{count:6} turned down: {reason}" for reason, count in report.rejected.most_common(12)]
    lines += ["the stores held no more states"] if report.exhausted else []
    result(value, lines, as_json)


@app.command()
def recipes(as_json: Json = False) -> None:
    """List the recipes and the fields that can be set."""
    from brushloop.supervision.build.recipes import RECIPES, DataRecipe

    usual = {name: field.get_default() for name, field in DataRecipe.model_fields.items() if name != "name"}
    lines = [f"{name:<14} {', '.join(f'{k}={v}' for k, v in fields.items())}" for name, fields in RECIPES.items()]
    lines += ["fields and what they are if not set: " + ", ".join(f"{name}={value}" for name, value in usual.items())]
    result({"recipes": {name: dict(fields) for name, fields in RECIPES.items()}, "fields": usual}, lines, as_json)


@app.command()
def export(
    out: Out,
    names: Annotated[
        list[str] | None, typer.Argument(help="Creations, as for show; none means the newest.", metavar="[NAME]...")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All creations.")] = False,
    last: Last = False,
    as_json: Json = False,
) -> None:
    """Turn creations, human steps included, into records, after those that are there."""
    from brushloop.agent.names import creation_of
    from brushloop.store import Store
    from brushloop.supervision.export import export as turn
    from brushloop.supervision.records import RecordFolder

    store, folder = Store(), RecordFolder(out)
    if everything:
        names = [head.id for head in reversed(store.heads())]
    folder.mend()
    known, made = {record.id for record in folder}, []
    for name in names or [None]:  # type: ignore[list-item]
        creation = creation_of(store, name, last)
        if creation.id.replace(".", "_") in known:
            if everything:  # exported before
                continue
            raise InputError(f"{out} has a record of creation {creation.id} already: name another folder")
        made.append(turn(creation, folder))
        known.add(made[-1].id)
    value = {"out": str(out), "records": [record.id for record in made]}
    result(value, [f"{record.id}  {len(record.turns)} turns  {clean(record.prompt)}" for record in made], as_json)


@app.command()
def check(folder: Folder, as_json: Json = False) -> None:
    """Read every record and hash every picture again; name what is broken.

    The exit code is 4 if anything is.
    """
    from brushloop.supervision.records import RecordFolder

    records = RecordFolder.open(folder)
    problems = list(records.problems())
    number = len(records)
    lines = [*map(clean, problems), f"{folder}: {number} records, {len(problems) or 'no'} faults"]
    result({"folder": str(folder), "records": number, "ok": not problems, "problems": problems}, lines, as_json)
    if problems:
        raise typer.Exit(StoreError.exit_code)


@app.command()
def shards(
    folder: Folder,
    out: Out,
    each: Annotated[int, typer.Option(min=1, help="Records in one shard.")] = 1000,
    as_json: Json = False,
) -> None:
    """Write the records and their pictures as WebDataset tar shards."""
    from brushloop.supervision.formats import write_shards
    from brushloop.supervision.records import RecordFolder

    paths = [str(path) for path in write_shards(RecordFolder.open(folder), out, each)]
    result({"out": str(out), "shards": paths}, paths, as_json)
