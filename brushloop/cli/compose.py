"""The commands `compose`, `outpaint` and `derive`: pictures from pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from brushloop.cli.console import progress, result
from brushloop.cli.made import made_known, made_once, written
from brushloop.cli.options import VLM, Json, Out, Painter, Picture, Seed, Size, Steps, studio_for

if TYPE_CHECKING:
    from PIL.Image import Image

    from brushloop.creation import Creation

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
    size: Size = None,
    seed: Seed = 0,
    steps: Steps = None,
    painter: Painter = "embedded",
    vlm: VLM = "embedded",
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
    painter: Painter = "embedded",
    vlm: VLM = "embedded",
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Let a picture go on beyond its edges, on a larger canvas; what was there stays as it is."""
    from brushloop.agent.names import png_to
    from brushloop.agent.once import Wish, outpainted
    from brushloop.canvas import EditType
    from brushloop.pictures import open_picture

    png_to(out)
    canvas, mask = outpainted(open_picture(picture), left, top, right, bottom)
    studio = studio_for(painter, vlm)
    wish = Wish(canvas, mask, kind=EditType.OUTPAINT, steps=steps)
    made_known(made_once(studio, instruction, wish, seed), out, as_json)


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
    seen = made_of(kind, open_picture(picture), model)
    file = written(seen, out)
    result({"file": file, "width": seen.width, "height": seen.height, "kind": kind}, [file], as_json)


def _pictures(creation: Creation) -> list[Image]:
    """The pictures of a creation's turns: what it came to, then what it was made from."""
    found = [creation.image] if creation.image else []
    for step in reversed(creation.steps):
        for unit in step.brief.units if step.brief else ():
            found += [creation.store.get_image(pair.image) for pair in unit.images]
    return found
