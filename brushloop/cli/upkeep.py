"""The commands that look after a store: gc and repair."""

from __future__ import annotations

from typing import Annotated

import typer

from brushloop.cli.console import clean, result
from brushloop.cli.options import Json, Last, Name
from brushloop.errors import StoreError


def gc(
    older: Annotated[float, typer.Option(help="Seconds: what is younger stays, whatever leads to it.")] = 1800.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be taken away.")] = False,
    as_json: Json = False,
) -> None:
    """Take away what no creation leads to, now or at any time before."""
    from brushloop.agent.checkpoints import forget
    from brushloop.store import Store
    from brushloop.upkeep import collect

    store = Store()
    found = collect(store, older, dry_run)
    threads = 0 if dry_run else forget(store)
    value = {"home": store.url, "kept": found.kept, "taken": found.taken, "bytes": found.bytes, "threads": threads}
    word = "would be taken away" if dry_run else f"taken away, {found.bytes / 2**20:.1f} MiB"
    result(value, [*found.taken, f"{found.kept} objects and notes kept, {len(found.taken)} {word}"], as_json)


def repair(name: Name = None, last: Last = False, as_json: Json = False) -> None:
    """Put a damaged creation back to its newest whole step; resume paints the rest again.

    What no longer hashes goes to the folder damaged/. The exit code is 4 if no step is whole.
    """
    from brushloop import upkeep
    from brushloop.agent.names import creation_of
    from brushloop.store import Store

    store = Store()
    broken = [problem.object for problem in store.damaged()]
    id = name if name in broken else creation_of(store, name, last).id
    done = upkeep.repair(store, id)
    ok = done.head is not None
    lines = [f"damaged   {digest}" for digest in done.damaged]
    lines.append(f"head      {done.head or 'no step is whole'}")
    if ok and done.head != done.before:
        lines.append(
            f"was       {done.before or 'unreadable'}\nresume it to paint the rest again: brushloop resume {id}"
        )
    value = {"id": id, "ok": ok, "head": done.head, "before": done.before, "damaged": done.damaged}
    result(value, [clean(line) for line in lines], as_json)
    if not ok:
        raise typer.Exit(StoreError.exit_code)
