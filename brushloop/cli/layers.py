"""The commands `layers ...`: subject and background apart, and together again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from brushloop.cli.console import result
from brushloop.cli.made import made_known, made_once, written
from brushloop.cli.options import VLM, Json, Out, Painter, Picture, Seed, Steps, studio_for
from brushloop.errors import InputError

app = typer.Typer(help="Subject and background apart, and together again.", no_args_is_help=True)


@app.command()
def split(
    picture: Picture,
    mask: Annotated[Path, typer.Option(help="Of the picture's size: the subject is white, or clear.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for subject.png and background.png.")],
    subject: Annotated[str, typer.Option(help="What the subject is, in words.")] = "object",
    seed: Seed = 0,
    steps: Steps = None,
    painter: Painter = "embedded",
    vlm: VLM = "embedded",
    as_json: Json = False,
) -> None:
    """Decouple: the subject on a clear ground, and the background painted where it stood."""
    from brushloop.agent.given import fitted_mask
    from brushloop.agent.once import Wish, fitted_any, sort_of
    from brushloop.canvas import EditType
    from brushloop.pictures import open_picture

    given, area = open_picture(picture), open_picture(mask)
    whole = fitted_any(given)
    cut = whole.convert("RGB")
    cut.putalpha(fitted_mask(area, given, whole.size))
    studio = studio_for(painter, vlm)
    wish = Wish(given, area, kind=sort_of(studio.painter, EditType.REMOVE), steps=steps)
    made = made_once(studio, f"remove the {subject}", wish, seed)
    files = [written(cut, out / "subject.png")]
    if made.image is not None:
        files.append(written(made.image, out / "background.png"))
    result({"files": files, "creation": made.summary()}, files, as_json)


@app.command()
def fuse(
    background: Annotated[Path, typer.Argument(help="The picture behind.", metavar="BACKGROUND")],
    subject: Annotated[Path, typer.Argument(help="A picture with clear parts, laid over it.", metavar="SUBJECT")],
    at: Annotated[str, typer.Option(help="Where: left,top,right,bottom in percent.")] = "25,25,75,75",
    prompt: Annotated[str, typer.Option(help="What is to be seen.")] = "make the parts one picture",
    strength: Annotated[float, typer.Option(min=0.0, max=1.0, help="How much is painted over; 0 only lays it.")] = 0.3,
    seed: Seed = 0,
    steps: Steps = None,
    painter: Painter = "embedded",
    vlm: VLM = "embedded",
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Fuse: a subject over a background, then painted over lightly around it so that both fit."""
    from brushloop.agent.names import png_to
    from brushloop.agent.once import Wish, laid, sort_of
    from brushloop.canvas import EditType
    from brushloop.pictures import open_picture

    png_to(out)
    canvas, mask = laid(open_picture(background), open_picture(subject), at)
    if strength == 0:
        if out is None:
            raise InputError("nothing is painted with --strength 0: say where the picture goes (--out FILE.png)")
        file = written(canvas, out)
        result({"file": file, "width": canvas.width, "height": canvas.height}, [file], as_json)
        return
    studio = studio_for(painter, vlm)
    wish = Wish(canvas, mask, kind=sort_of(studio.painter, EditType.ADD), strength=strength, steps=steps)
    made_known(made_once(studio, prompt, wish, seed), out, as_json)
