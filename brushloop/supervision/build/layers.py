"""Paint-order sequences from vector art: the layers of a drawing, in document order, become its frames.

Frame i of n shows the
first ceil(i L / n) of the L layers that can be seen; the last is the finished drawing.

`painter.grids` lays 4 or 9 of them out as a serpentine grid, so that frames that follow in time touch in space.
"""

from __future__ import annotations

import math
import random
from functools import lru_cache

import numpy as np
from PIL import Image

from brushloop.canvas import Element, Task
from brushloop.supervision.build import filters, phrases
from brushloop.supervision.build.desk import Desk, source
from brushloop.supervision.build.filters import Rejected
from brushloop.supervision.build.split import object_held_out
from brushloop.supervision.records import Loss, Record, Truth, Turn, TurnKind
from brushloop.supervision.world import scenes, svg
from brushloop.supervision.world.worlds import current

SHOWN = 0.2
"""Mean change of the channels (of 255) from which a layer counts as seen."""


def sequence(desk: Desk) -> Record:
    """One drawing being made on a background; half of the time with the finished picture given first."""
    rng = random.Random(desk.chance)
    names = [name for name in current().by_name if object_held_out(name) is not desk.training]
    style, number = rng.choice(current().styles), rng.choice(desk.recipe.frames)
    thing = Element(name=rng.choice(names))
    ground, variant = Element(name=rng.choice(current().backgrounds), role="background"), rng.randrange(16)
    box = scenes.cell(50 + 12.5 * rng.randint(-1, 1), 50 + 12.5 * rng.randint(-1, 1), rng.choice(("medium", "large")))
    recraft = rng.random() < desk.recipe.recraft
    prompt, template = phrases.sequence(rng, thing, style, number, desk.training)
    layers = frames(svg.icon(thing.name, style), number)
    if layers is None:
        raise Rejected(f"sequence: fewer than {number} layers")
    pictures = [_on_ground(layer, ground.name, variant, box) for layer in layers]
    filters.check_frames(pictures)

    stored = [desk.put(picture) for picture in pictures]
    truth = Truth(by="artist", elements=(ground, thing.model_copy(update={"boxes": (box,)})))
    turns = [Turn(kind=TurnKind.GIVEN, by="artist", picture=stored[-1], truth=truth)] if recraft else []
    for index, frame in enumerate(stored):
        last = index == number - 1
        turns.append(
            Turn(
                kind=TurnKind.STATE, by="artist", text=f"frame {index + 1} of {number}", picture=frame,
                of=len(turns) - 1 if index else None, loss=Loss(picture=not (recraft and last)),
                truth=truth if last else None,
            )
        )  # fmt: skip
    held = ((f"object {thing.name}",) if object_held_out(thing.name) else ()) + phrases.held_out_of([template])
    return Record(
        id=desk.id, task=Task.RECRAFT if recraft else Task.PROCESS, split=desk.recipe.split, held_out=held,
        prompt=prompt, layout=number, turns=tuple(turns), source=source("sequence", style),
    )  # fmt: skip


# Layers ---------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def frames(drawing: str, number: int, width: int = 192) -> tuple[Image.Image, ...] | None:
    """`number` RGBA pictures of a drawing in the making, `width` pixels wide; None if it has too few visible layers.

    Raises:
        InputError: it is not SVG.
    """
    seen = visible_layers(drawing)
    if len(seen) < number:
        return None
    ends = [seen[math.ceil(index * len(seen) / number) - 1] for index in range(1, number)]
    return (*(first_layers(drawing, end, width) for end in ends), svg.raster(drawing, width))


@lru_cache(maxsize=256)
def visible_layers(drawing: str) -> tuple[int, ...]:
    """How many layers, from the first, are drawn when a further one can be seen."""
    seen: list[int] = []
    before = np.zeros((1, 1, 4), np.float32)
    for end in range(1, layer_count(drawing) + 1):
        now = np.asarray(first_layers(drawing, end, 64), np.float32)
        if float(np.abs(now - before).mean()) > SHOWN:
            seen.append(end)
        before = now
    return tuple(seen)


def layer_count(drawing: str) -> int:
    """How many shapes a drawing is painted with."""
    return len(svg.shapes(svg.parse(drawing)))


def first_layers(drawing: str, number: int, width: int) -> Image.Image:
    """A drawing with its first `number` shapes only, RGBA."""
    root = svg.parse(drawing)
    svg.keep(root, number)
    return svg.raster(root, width)


def _on_ground(layer: Image.Image, ground: str, variant: int, box: tuple[int, int, int, int]) -> Image.Image:
    picture = scenes.backdrop(ground, variant, scenes.CANVAS).copy()
    left, top, right, bottom = scenes.pixels(box)
    drawing = layer.resize((right - left, bottom - top), Image.Resampling.LANCZOS)
    picture.paste(drawing, (left, top), drawing)
    return picture
