"""The commands `compose`, `outpaint`, `derive` and `layers ...`: pictures from pictures, and what they are made of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from brushloop.agent.console import progress, result
from brushloop.agent.looking import Json
from brushloop.agent.making import VLM, Out, Painter, made_known, studio_for

if TYPE_CHECKING:
    from PIL.Image import Image

layers = typer.Typer(help="Subject and background apart, and together again.", no_args_is_help=True)

Picture = Annotated[Path, typer.Argument(help="A PNG, JPEG or WebP.", metavar="PICTURE")]
Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="The same seed gives the same picture.")]
Steps = Annotated[int | None, typer.Option(min=1, max=200, help="Denoising steps.")]
Side = Annotated[int, typer.Option(min=0, max=100, help="Percent of the picture's own side.")]
File = Annotated[Path, typer.Option("--out", help="Write the picture to this PNG.")]


def compose(
    prompt: Annotated[str, typer.Argument(help="What is wanted; {image}, {image1}, … name the pictures.")],
    image: Annotated[list[Path] | None, typer.Option("--image", help="A picture to go by. May be repeated.")] = None,
    after: Annotated[
        str | None, typer.Option(help="A creation whose pictures, the newest first, come after those given.")
    ] = None,
    frames: Annotated[
        int, typer.Option(min=1, max=8, help="A series: each frame goes by the pictures and the frames before it.")
    ] = 1,
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT in pixels; by default the painter's own.")] = None,
    seed: Seed = 0,
    steps: Steps = None,
    painter: Painter = None,
    vlm: VLM = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Paint a picture, or a series, by other pictures: references, faces, styles, earlier turns."""
    from brushloop.agent.names import creation_of, png_to, size_from
    from brushloop.agent.once import Wish, once
    from brushloop.pictures import open_picture

    png_to(out)
    pictures = [open_picture(path) for path in image or ()]
    studio = studio_for(painter, vlm)
    if after is not None:
        pictures += _pictures(creation_of(studio.store, after))
    made = []
    with progress() as tell:
        for number in range(frames):
            made.append(
                once(studio, prompt, Wish(images=pictures, size=size_from(size), steps=steps), seed + number,
                     on_event=tell)
            )  # fmt: skip
            if made[-1].image is None:
                break
            pictures = [*pictures, made[-1].image]
    if frames == 1:
        made_known(made[0], out, as_json)
        return
    value = {"frames": [each.summary() for each in made]}
    result(value, [f"{each.id}  {each.summary()['image']}" for each in made], as_json)


def outpaint(
    picture: Picture,
    instruction: Annotated[str, typer.Argument(help="What is to be seen around it.")] = "show more around the picture",
    left: Side = 0,
    top: Side = 0,
    right: Side = 0,
    bottom: Side = 0,
    seed: Seed = 0,
    steps: Steps = None,
    painter: Painter = None,
    vlm: VLM = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Let a picture go on beyond its edges, on a larger canvas; what was there stays as it is."""
    from brushloop.agent.names import png_to
    from brushloop.agent.once import Wish, once, outpainted
    from brushloop.canvas import EditType
    from brushloop.pictures import open_picture

    png_to(out)
    canvas, mask = outpainted(open_picture(picture), left, top, right, bottom)
    studio = studio_for(painter, vlm)
    with progress() as tell:
        wish = Wish(canvas, mask, kind=EditType.OUTPAINT, steps=steps)
        made = once(studio, instruction, wish, seed, on_event=tell)
    made_known(made, out, as_json)


def derive(
    kind: Annotated[str, typer.Argument(help="edge, sketch, scribble, contour, doodle, grey, blur, mosaic; depth, "
                                             "pose or segmentation with --model.")],
    picture: Picture,
    out: File,
    model: Annotated[str | None, typer.Option(help="Folder of a transformers model that sees it.")] = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Derive a visual input from a picture: lines, outlines, distances, a skeleton."""
    from brushloop.agent.names import png_to
    from brushloop.painter.visuals import derive as made_of
    from brushloop.pictures import open_picture

    png_to(out)
    _write(made_of(kind, open_picture(picture), model), out, as_json, kind=kind)


@layers.command("split")
def split(
    picture: Picture,
    mask: Annotated[Path, typer.Option(help="Of the picture's size: the subject is white, or clear.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for subject.png and background.png.")],
    subject: Annotated[str, typer.Option(help="What the subject is, in words.")] = "object",
    seed: Seed = 0,
    steps: Steps = None,
    painter: Painter = None,
    vlm: VLM = None,
    as_json: Json = False,
) -> None:
    """Decouple: the subject on a clear ground, and the background painted where it stood."""
    from brushloop.agent.given import fitted_mask
    from brushloop.agent.once import Wish, fitted_any, once, sort_of
    from brushloop.canvas import EditType
    from brushloop.pictures import open_picture

    given, area = open_picture(picture), open_picture(mask)
    whole = fitted_any(given)
    cut = whole.convert("RGB")
    cut.putalpha(fitted_mask(area, given, whole.size))
    studio = studio_for(painter, vlm)
    with progress() as tell:
        wish = Wish(given, area, kind=sort_of(studio.painter, EditType.REMOVE), steps=steps)
        made = once(studio, f"remove the {subject}", wish, seed, on_event=tell)
    files = [_png(cut, out / "subject.png")]
    if made.image is not None:
        files.append(_png(made.image, out / "background.png"))
    result({"files": files, "creation": made.summary()}, files, as_json)


@layers.command("fuse")
def fuse(
    background: Annotated[Path, typer.Argument(help="The picture behind.", metavar="BACKGROUND")],
    subject: Annotated[Path, typer.Argument(help="A picture with clear parts, laid over it.", metavar="SUBJECT")],
    at: Annotated[str, typer.Option(help="Where: left,top,right,bottom in percent.")] = "25,25,75,75",
    prompt: Annotated[str, typer.Option(help="What is to be seen.")] = "make the parts one picture",
    strength: Annotated[float, typer.Option(min=0.0, max=1.0, help="How much is painted over; 0 only lays it.")] = 0.3,
    seed: Seed = 0,
    steps: Steps = None,
    painter: Painter = None,
    vlm: VLM = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Fuse: a subject over a background, then painted over lightly around it so that both fit."""
    from brushloop.agent.names import png_to
    from brushloop.agent.once import Wish, laid, once, sort_of
    from brushloop.canvas import EditType
    from brushloop.pictures import open_picture

    png_to(out)
    canvas, mask = laid(open_picture(background), open_picture(subject), at)
    if strength == 0:
        if out is None:
            from brushloop.errors import InputError

            raise InputError("nothing is painted with --strength 0: say where the picture goes (--out FILE.png)")
        _write(canvas, out, as_json)
        return
    studio = studio_for(painter, vlm)
    with progress() as tell:
        wish = Wish(canvas, mask, kind=sort_of(studio.painter, EditType.ADD), strength=strength, steps=steps)
        made = once(studio, prompt, wish, seed, on_event=tell)
    made_known(made, out, as_json)


def _pictures(creation: object) -> list[Image]:
    """The pictures of a creation's turns: what it came to, then what it was made from."""
    from brushloop.creation import Creation

    assert isinstance(creation, Creation)
    found = [creation.image] if creation.image else []
    for step in reversed(creation.steps):
        for unit in step.brief.units if step.brief else ():
            found += [creation.store.get_image(pair.image) for pair in unit.images]
    return found


def _png(picture: Image, path: Path) -> str:
    from brushloop.errors import UnwritableError
    from brushloop.files import write_atomically
    from brushloop.record import plain, png_from

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnwritableError(f"cannot make {path.parent} ({error.strerror}): name another with --out") from error
    write_atomically(str(path), png_from(plain(picture)))
    return str(path)


def _write(picture: Image, path: Path, as_json: bool, **more: str) -> None:
    file = _png(picture, path)
    result({"file": file, "width": picture.width, "height": picture.height, **more}, [file], as_json)
