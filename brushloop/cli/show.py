"""The commands that look at creations. None of them loads a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brushloop.agent import words
from brushloop.cli.console import clean, result
from brushloop.cli.made import folder_at
from brushloop.cli.options import Json, Last, Name, opened
from brushloop.errors import CorruptObjectError, InputError, StoreError, UnknownCreationError
from brushloop.weights import OWN, folder_of, is_own, own_names

if TYPE_CHECKING:
    from brushloop.creation import Creation
    from brushloop.heads import Head
    from brushloop.store import Store


def show(
    name: Name = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write one offline page to this file.")] = None,
    last: Last = False,
    as_json: Json = False,
) -> None:
    """Show what was wanted, planned and painted."""
    from brushloop.agent.names import creation_of, is_picture
    from brushloop.creation import read_recipe

    store = _store()
    try:
        creation = creation_of(store, name, last)
    except UnknownCreationError as error:
        if html or not name or not is_picture(name):
            raise
        recipe = read_recipe(name)  # the picture tells its recipe even where its creation is not
        value = {**recipe.model_dump(mode="json"), "image": name, "in_store": False}
        prompt = clean(recipe.brief.prompt)
        result(value, [prompt, f"seed {recipe.seed}, step {recipe.head}", f"({clean(str(error))})"], as_json)
        return
    value = {**creation.summary(), "brief": creation.brief.model_dump(mode="json"), "in_store": True}
    nouns = {"plan": creation.plan, "critique": creation.critique}
    value |= {part: noun.model_dump(mode="json") if noun else None for part, noun in nouns.items()}
    lines = list(_shown(creation))
    if html:
        from brushloop.agent.page import write_page

        value["html"] = str(write_page(creation, html))
        lines.append(f"page      {html}")
    result(value, lines, as_json)


def steps(name: Name = None, last: Last = False, as_json: Json = False) -> None:
    """List the steps of a creation, the oldest first."""
    creation = opened(name, last)
    rows, lines = [], []
    for number, (digest, step) in enumerate(zip(creation.hashes, creation.steps, strict=True)):
        measured = creation.store.measurements(digest)
        image = creation.store.image_path(step.outputs[-1]) if step.outputs else None
        rows.append({"hash": digest, **step.model_dump(mode="json"), "image": image, "measured": measured})
        seconds = f"{measured['seconds']:7.2f} s" if "seconds" in measured else " " * 9
        lines.append(f"{number:3} {digest[:12]} {step.kind:<8} {seconds}  {clean(step.text)}")
    result({"id": creation.id, "head": creation.head, "steps": rows}, lines, as_json)


def replay(
    name: Name = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write the pictures into this folder, numbered.")] = None,
    last: Last = False,
    as_json: Json = False,
) -> None:
    """Take the pictures out of the record again."""
    from brushloop.files import write_atomically
    from brushloop.record import png_from

    creation = opened(name, last)
    frames, lines = [], []
    if out:
        folder_at(out)
    for number, (digest, step) in enumerate(creation.store.chain(creation.head)):
        path = None
        if step.outputs:
            image = creation.store.get_image(step.outputs[-1])
            path = creation.store.image_path(step.outputs[-1])
            if out:
                path = str(out / f"{number:03}-{step.kind}.png")
                write_atomically(path, png_from(image))
        frames.append({"hash": digest, "kind": step.kind.value, "image": path, "text": step.text})
        lines.append(f"{number:3} {step.kind:<8} {clean(step.text)}" + (f"\n             {path}" if path else ""))
    result({"id": creation.id, "head": creation.head, "steps": frames}, lines, as_json)


def verify(name: Name = None, last: Last = False, as_json: Json = False) -> None:
    """Hash everything again and name what was changed.

    The exit code is 4 if anything was.
    """
    from brushloop.agent.names import is_picture

    store = _store()
    try:
        id = opened(name, last).id
    except CorruptObjectError:  # a damaged head is what verify is there to tell
        if name is None or is_picture(name):
            raise
        id = name
    problems = store.verify(id)
    found = [vars(problem) for problem in problems]
    lines = [f"{problem.kind:<14} {clean(problem.message)}" for problem in problems]
    lines.append(f"{id}: {len(problems)} fault{'s' * (len(problems) > 1)}" if problems else f"{id}: whole")
    result({"id": id, "ok": not problems, "problems": found}, lines, as_json)
    if problems:
        raise typer.Exit(StoreError.exit_code)


def list_(as_json: Json = False) -> None:
    """List the creations, the newest first."""
    store = _store()
    rows = [_row(store, head) for head in store.heads()]
    lines = [f"{row['id']:<27} {row['state']:<10} {clean(row['prompt'] or row['error'] or '')}" for row in rows]
    result({"home": store.url, "creations": rows}, lines or [f"no creation in {store.url} yet"], as_json)


def models(
    name: Annotated[str, typer.Argument(help="embedded, or embedded:<set>.", metavar="[NAME]")] = OWN,
    as_json: Json = False,
) -> None:
    """Tell what models that come with the package know."""
    from brushloop.painter.flux import FluxPainter
    from brushloop.vlm_embedded import EmbeddedVLM

    where = folder_of(name, "flux")
    if not is_own(name):
        raise InputError(f"{name} does not come with the package: name {OWN} or {OWN}:<set>")
    vlm, painter = EmbeddedVLM(where), FluxPainter(where)
    shipped: list[dict[str, Any]] = []
    parts = ("objects", "colors", "backgrounds", "styles", "relations", "sizes")
    world = {part: vlm.world[part] for part in parts}
    for kind, model in (("painter", painter), ("vlm", vlm)):
        folder = model.weights.folder
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        shipped.append(
            {"kind": kind, "id": model.ref.id, "weights": model.ref.weights, "folder": str(folder), "bytes": size}
        )
    lines = [f"{part:<12} {', '.join(map(str, known))}" for part, known in world.items()]
    names = own_names()
    lines += [f"{'sets':<12} {', '.join(names)}"] if len(names) > 1 else []
    lines += [
        f"{row['kind']:<12} {row['id']}, {row['bytes'] / 2**20:.1f} MiB, {row['weights'][:12]}" for row in shipped
    ]
    result({**world, "pixels": list(painter.size), "models": shipped, "sets": names}, lines, as_json)


def _store() -> Store:
    from brushloop.store import Store

    return Store()


def _shown(creation: Creation) -> list[str]:
    """A creation in a few lines, for people."""
    brief, frame = creation.brief, creation.frame
    pictures = sum(step.kind in ("draft", "refine") for step in creation.steps)
    ended = f"ended: {creation.stop_reason}" if creation.finished else "not finished: brushloop resume goes on"
    lines = [
        f"creation  {creation.id}",
        f"prompt    {clean(brief.prompt)}",
        f"seed      {brief.seed}",
        f"head      {creation.head}",
        f"steps     {len(creation.steps)}, {pictures} pictures painted; {ended}",
    ]
    lines += (
        [f"plan {n:<4} {clean(words.of_stroke(step))}" for n, step in enumerate(creation.plan.steps, 1)]
        if creation.plan
        else []
    )
    for name in ("tools", "materials"):
        needed: tuple[str, ...] = getattr(creation.plan, name, ())
        lines += [f"{name:<9} {clean(', '.join(needed))}"] if needed else []
    lines += [f"says      {clean(creation.steps[-1].text)}"] if creation.finished else []
    return lines + ([f"picture   {creation.store.image_path(frame)}"] if frame else [])


def _row(store: Store, head: Head) -> dict[str, Any]:
    """A line of the list: one step for how it ended, and the way up to its brief."""
    row: dict[str, Any] = {"id": head.id, "head": head.head, "created": head.created.isoformat()}
    row |= {"updated": head.updated.isoformat(), "prompt": None, "seed": None, "stop_reason": None, "error": None}
    try:
        end = store.get_step(head.head)
        reason = end.settings.get("stop_reason")
        brief = next((step.brief for _, step in store.ancestry(head.root) if step.brief), None)
    except StoreError as error:
        return row | {"state": "damaged", "error": str(error)}
    row |= {"stop_reason": reason, "state": reason or "unfinished"}
    if (variant := end.settings.get("variant")) is not None:  # the one that was chosen among several
        row |= {"variant": variant}
    return row | ({"prompt": brief.prompt, "seed": brief.seed} if brief else {})
