"""The commands `process` and `recraft`: how something is made, frame by frame."""

from __future__ import annotations

import json
import secrets
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from brushloop.cli.console import clean, progress, result
from brushloop.cli.made import folder_at, written
from brushloop.cli.options import Json, Painter, Picture, Seed
from brushloop.errors import InputError

if TYPE_CHECKING:
    from brushloop.agent.events import OnEvent
    from brushloop.canvas import Task
    from brushloop.painter.base import OnDenoise
    from brushloop.painter.process import Process

DomainName = Annotated[str, typer.Option("--domain", help="How it is made: brushloop adapters list shows all.")]
Frames = Annotated[int | None, typer.Option("--frames", help="Frames in all; by default the domain's, 4 or 9.")]
Cell = Annotated[int | None, typer.Option(help="Pixels along a side of a frame while it is painted.")]
Steps = Annotated[int, typer.Option(min=1, max=200, help="Denoising steps of each grid.")]
Guidance = Annotated[float | None, typer.Option(help="Scale of the text's guidance; by default the base's own.")]
Given = Annotated[Path | None, typer.Option("--adapter", help="Adapter of the domains; by default the installed one.")]
Reader = Annotated[
    Path | None,
    typer.Option("--recraft-adapter", help="Adapter that reads given frames; by default the installed one."),
]
Style = Annotated[
    list[str] | None, typer.Option("--style", help="An ordinary LoRA file laid over the domain, as FILE or FILE:0.8.")
]
Out = Annotated[Path | None, typer.Option("--out", help="Folder for the frames; by default one in BRUSHLOOP_HOME.")]
Guide = Annotated[
    Path | None,
    typer.Option("--guide", help="Also write a guide to it: .pdf, .html, .pptx or whatever export can write."),
]


def process(
    prompt: Annotated[str, typer.Argument(help="What is made.", metavar="PROMPT")],
    domain: DomainName,
    frames: Frames = None,
    seed: Seed = 0,
    cell: Cell = None,
    steps: Steps = 24,
    guidance: Guidance = None,
    painter: Painter = "embedded",
    adapter: Given = None,
    recraft_adapter: Reader = None,
    style: Style = None,
    out: Out = None,
    guide: Guide = None,
    as_json: Json = False,
) -> None:
    """Paint the making of something, frame by frame."""
    from brushloop.agent import crafts
    from brushloop.agent.studio import Studio
    from brushloop.canvas import Task
    from brushloop.painter.domains import domain as find
    from brushloop.painter.workshop import Workshop

    _check_guide(guide)
    words, kind = _prompt(prompt, Task.PROCESS, seed), find(domain)
    folder = _folder(out)
    shop = Workshop(painter, adapter, recraft_adapter, tuple(style or ()))
    maker = shop.open(kind, reads=(frames or 0) > kind.frames)
    began = time.monotonic()
    with progress() as tell:
        made = maker.paint(
            words, kind, frames, seed, cell=cell, steps=steps, guidance=guidance, on_denoise=_heard(tell, "process")
        )
    id = crafts.keep(Studio(painter), made, time.monotonic() - began).id
    _write(made, id, folder, None, guide, as_json)


def recraft(
    picture: Picture,
    domain: DomainName = "illustration",
    prompt: Annotated[str, typer.Option(help="What the picture shows.")] = "",
    frames: Frames = None,
    seed: Seed = 0,
    cell: Cell = None,
    steps: Steps = 24,
    guidance: Guidance = None,
    painter: Painter = "embedded",
    adapter: Given = None,
    recraft_adapter: Reader = None,
    style: Style = None,
    out: Out = None,
    guide: Guide = None,
    as_json: Json = False,
) -> None:
    """Paint the steps that lead to a picture; the last frame is the picture itself, byte for byte."""
    from brushloop.agent import crafts
    from brushloop.agent.studio import Studio
    from brushloop.canvas import Task
    from brushloop.painter.domains import domain as find
    from brushloop.painter.recraft import recraft as paint
    from brushloop.painter.workshop import Workshop
    from brushloop.pictures import open_picture

    _check_guide(guide)
    kind, given = find(domain), open_picture(picture)
    words = _prompt(prompt, Task.RECRAFT, seed) if prompt else ""
    folder = _folder(out)
    maker = Workshop(painter, adapter, recraft_adapter, tuple(style or ())).open(kind, reads=True)
    began = time.monotonic()
    with progress() as tell:
        made = paint(
            maker, given, kind, words, frames, seed, cell=cell, steps=steps, guidance=guidance,
            on_denoise=_heard(tell, "recraft"),
        )  # fmt: skip
    id = crafts.keep(Studio(painter), made, time.monotonic() - began, given).id
    _write(made, id, folder, picture, guide, as_json)


def _prompt(prompt: str, task: Task, seed: int) -> str:
    """The prompt, checked as every brief's is."""
    from pydantic import ValidationError

    from brushloop.canvas import Brief
    from brushloop.errors import PromptError

    try:
        return Brief(prompt=prompt, task=task, seed=seed).prompt
    except ValidationError as error:
        raise PromptError(f"{error.errors()[0]['msg']}: say in words what is made") from error


def _heard(tell: OnEvent, node: str) -> OnDenoise:
    return lambda done, total: tell({"type": "denoise", "node": node, "done": done, "total": total})


def _folder(out: Path | None) -> Path:
    """Where the frames go; made, so that a place that cannot be written is told before anything is painted."""
    from brushloop.store import default_home

    if out is None:
        home = default_home()
        if "://" in home:
            raise InputError(f"frames are files, and {home} is no folder: name one with --out")
        out = Path(home) / "processes" / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
    return folder_at(out)


def _check_guide(path: Path | None) -> None:
    """What a guide cannot be, or be written to, is told before anything is painted."""
    if path is None:
        return
    from brushloop.tutorial.exporters import check_installed, exporter_for

    check_installed(exporter_for(path))
    if not path.parent.is_dir():
        raise InputError(f"there is no folder {path.parent} for the guide: make it, or name another")


def _write_guide(made: Process, given: Path | None, path: Path) -> None:
    """Write a guide to the frames, in their own words, with the tools and materials of their domain."""
    from brushloop.painter.domains import domain
    from brushloop.tutorial.exporters import exporter_for, write
    from brushloop.tutorial.making import process_book

    told = f"{made.domain}, in {len(made.frames)} steps."
    if given:
        told += " The last state is the picture given; those before it were painted backwards from it."
    exporter = exporter_for(path)
    name = path.name[: -len(exporter.suffix)]
    title = made.prompt or (given.stem.replace("_", " ").replace("-", " ").strip() if given else "") or made.domain
    title, told = (text[0].upper() + text[1:] for text in (title, told))
    write(process_book(title, made.frames, made.texts, told, name, domain(made.domain)), exporter, path)


def _write(made: Process, id: str, folder: Path, given: Path | None, guide: Path | None, as_json: bool) -> None:
    """Write the frames, numbered, and `process.json`; the picture given is copied, byte for byte, as the last."""
    from brushloop.files import write_atomically
    from brushloop.painter.domains import domain

    paths, needed = [], domain(made.domain)
    for number, frame in enumerate(made.frames, start=1):
        last = given if number == len(made.frames) else None
        path = folder / f"frame-{number:02}{last.suffix.lower() if last else '.png'}"
        if last:
            write_atomically(str(path), last.read_bytes())
        else:
            written(frame, path)
        paths.append(str(path))
    value = {
        "id": id, "frames": paths, "texts": list(made.texts), "domain": made.domain, "prompt": made.prompt,
        "seed": made.seed, "model": made.model.model_dump(mode="json"), "folder": str(folder),
        "tools": list(needed.tools), "materials": list(needed.materials),
    }  # fmt: skip
    write_atomically(str(folder / "process.json"), json.dumps(value, indent=2).encode())
    lines = [f"{path}  {clean(text)}" for path, text in zip(paths, made.texts, strict=True)]
    if guide:
        _write_guide(made, given, guide)
        value["guide"] = str(guide)
        lines.append(str(guide))
    result(value, [*lines, id], as_json)
