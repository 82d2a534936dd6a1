"""The commands `brushloop process`, `brushloop recraft` and `brushloop adapters ...`: how things are made."""

from __future__ import annotations

import json
import secrets
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brushloop.agent.console import clean, progress, result
from brushloop.agent.looking import Json
from brushloop.errors import InputError, WeightsError

if TYPE_CHECKING:
    from brushloop.agent.events import OnEvent
    from brushloop.painter.base import OnDenoise
    from brushloop.painter.domains import Domain
    from brushloop.painter.process import Process

adapters = typer.Typer(help="Adapters of the painter: list, import and export them.", no_args_is_help=True)

DomainName = Annotated[str, typer.Option("--domain", help="How it is made: brushloop adapters list shows all.")]
Frames = Annotated[int | None, typer.Option("--frames", help="Frames in all; by default the domain's, 4 or 9.")]
Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="The same seed gives the same frames.")]
Cell = Annotated[int | None, typer.Option(help="Pixels along a side of a frame while it is painted.")]
Steps = Annotated[int, typer.Option(min=1, max=200, help="Denoising steps of each grid.")]
Guidance = Annotated[float | None, typer.Option(help="Scale of the text's guidance; by default the base's own.")]
Painter = Annotated[str, typer.Option(help="Painter: embedded, or flux:<folder>.")]
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
    from brushloop.canvas import Brief, Task
    from brushloop.painter.domains import domain as find
    from brushloop.painter.workshop import Workshop

    _check_guide(guide)
    brief, kind = _brief(Brief, prompt, Task.PROCESS, seed), find(domain)
    folder = _folder(out)
    shop = Workshop(painter, adapter, recraft_adapter, tuple(style or ()))
    maker = shop.open(kind, reads=(frames or 0) > kind.frames)
    began = time.monotonic()
    with progress() as tell:
        made = maker.paint(
            brief, kind, frames, seed, cell=cell, steps=steps, guidance=guidance, on_denoise=_heard(tell, "process")
        )
    id = crafts.keep(Studio(painter), made, time.monotonic() - began).id
    _write(made, id, folder, None, guide, as_json)


def recraft(
    picture: Annotated[Path, typer.Argument(help="A PNG, JPEG or WebP.", metavar="PICTURE")],
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
    from brushloop.canvas import Brief, Task
    from brushloop.painter.domains import domain as find
    from brushloop.painter.recraft import recraft as paint
    from brushloop.painter.workshop import Workshop
    from brushloop.pictures import open_picture

    _check_guide(guide)
    kind, given = find(domain), open_picture(picture)
    words = _brief(Brief, prompt, Task.RECRAFT, seed) if prompt else ""
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


@adapters.command("list")
def list_(as_json: Json = False) -> None:
    """List the 21 domains, and which of them the installed adapter knows."""
    from brushloop.painter.adapters.files import trained
    from brushloop.painter.domains import domains

    known = trained()
    rows = []
    for each in domains():
        there = each.name in known
        rows.append({**each.model_dump(mode="json"), "trained": there, "needs": None if there else _needs(each)})
    lines = [f"{row['index']:>2} {row['name']:<23} {row['layout']} {row['needs'] or 'installed'}" for row in rows]
    result({"domains": rows}, lines, as_json)


@adapters.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A LoRA in the layout of kohya, diffusers or peft.", metavar="FILE")],
    out: Annotated[Path, typer.Argument(help="Where to write it.", metavar="OUT.safetensors")],
    domains: Annotated[
        str, typer.Option(help="Its domains in order, with commas; by default the order of the public weights.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Read an adapter, such as the public MakeAnything weights, and write it in our layout."""
    from brushloop.painter.adapters import files

    made = files.read(file, [name.strip() for name in domains.split(",") if name.strip()])
    path = files.write(made, out)
    value = {"file": str(path), "domains": list(made.domains), "rank": made.rank, "layers": len(made.up)}
    result(value, [str(path), f"{len(made.domains)} domains, rank {made.rank}, {len(made.up)} layers"], as_json)


@adapters.command("export")
def export(
    file: Annotated[Path, typer.Argument(help="Where to write it.", metavar="OUT.safetensors")],
    domain: Annotated[str, typer.Option(help="A domain, or a mixture such as icon=0.7,sketch=0.3.")],
    adapter: Given = None,
    as_json: Json = False,
) -> None:
    """Write one domain, or a mixture, as an ordinary LoRA file that diffusers and ComfyUI load."""
    from brushloop.painter.adapters import files

    made = _adapter("process", adapter)
    if made is None:
        raise WeightsError("no trained adapter is installed: train one, or name one with --adapter")
    omega: Any = domain
    if "=" in domain:
        try:
            omega = {name.strip(): float(share) for name, share in (part.split("=") for part in domain.split(","))}
        except ValueError:
            raise InputError(f"cannot read the mixture {domain!r}: write it as icon=0.7,sketch=0.3") from None
    path = files.export(made, omega, file)
    result({"file": str(path), "domain": domain, "rank": made.rank}, [str(path)], as_json)


def _needs(domain: Domain) -> str:
    return "not trained yet: python -m brushloop.train process" if domain.drawn else f"needs {domain.needs}"


def _brief(noun: Any, prompt: str, task: Any, seed: int) -> str:
    """The prompt, checked as every brief's is."""
    from pydantic import ValidationError

    from brushloop.errors import PromptError

    try:
        return str(noun(prompt=prompt, task=task, seed=seed).prompt)
    except ValidationError as error:
        raise PromptError(f"{error.errors()[0]['msg']}: say in words what is made") from error


def _adapter(kind: str, path: Path | None) -> Any:
    from brushloop.painter.adapters import files

    return files.read(path) if path else files.installed(kind)


def _heard(tell: OnEvent, node: str) -> OnDenoise:
    return lambda done, total: tell({"type": "denoise", "node": node, "done": done, "total": total})


def _folder(out: Path | None) -> Path:
    """Where the frames go; made, so that a place that cannot be written is told before anything is painted."""
    from brushloop.errors import UnwritableError
    from brushloop.store import default_home

    if out is None:
        home = default_home()
        if "://" in home:
            raise InputError(f"frames are files, and {home} is no folder: name one with --out")
        out = Path(home) / "processes" / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnwritableError(f"cannot make {out} ({error.strerror}): name another with --out") from error
    return out


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
    title = made.prompt or (given.stem if given else made.domain)
    told = told[0].upper() + told[1:]
    write(process_book(title, made.frames, made.texts, told, name, domain(made.domain)), exporter, path)


def _write(made: Process, id: str, folder: Path, given: Path | None, guide: Path | None, as_json: bool) -> None:
    """Write the frames, numbered, and `process.json`; the picture given is copied, byte for byte, as the last."""
    from brushloop.files import write_atomically
    from brushloop.painter.domains import domain
    from brushloop.record import plain, png_from

    paths, needed = [], domain(made.domain)
    for number, frame in enumerate(made.frames, start=1):
        last = given if number == len(made.frames) else None
        path = folder / f"frame-{number:02}{last.suffix.lower() if last else '.png'}"
        write_atomically(str(path), last.read_bytes() if last else png_from(plain(frame)))
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
