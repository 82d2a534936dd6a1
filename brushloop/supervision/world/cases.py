"""Edits of every kind that the world can show honestly: picture before, instruction, maybe a visual input, after.

The seven kinds of `edits` come from there. Here are those that change a whole picture, the view, or follow another
picture. Material, material transfer, action and written words are not among them: drawn icons have none, so they need
a big base. What a visual input shows (boxes, areas, distances) is known from the scene, not guessed from its pixels.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageEnhance

from brushloop.canvas import Box, EditType, Element
from brushloop.painter import visuals
from brushloop.supervision.world import edits, scenes
from brushloop.supervision.world.art import sprite
from brushloop.supervision.world.scenes import CANVAS, Scene
from brushloop.supervision.world.words import noun_phrase
from brushloop.supervision.world.worlds import current


@dataclass(frozen=True)
class Case:
    """One edit as pictures."""

    kind: EditType
    text: str
    before: Image.Image
    after: Image.Image
    regions: tuple[Box, ...] = ()
    """Where it applies; empty means everywhere, or wherever the visual input says."""
    visual: Image.Image | None = None


def case(rng: random.Random, kind: EditType, training: bool = True) -> Case:
    """A random case of a kind, of the training split or of what was held out from it.

    Raises:
        KeyError: the world cannot show that kind.
    """
    if kind in MAKERS:
        while True:
            made = MAKERS[kind](rng, scenes.sample_split(rng, training))
            if made is not None:
                return made
    if kind not in EDITS:
        raise KeyError(kind)
    edit = edits.sample(rng, training, kind)
    before = scenes.render(edit.before, edit.style, edit.variant)
    return Case(kind, edit.text, before, scenes.render(edit.after, edit.style, edit.variant), edit.regions)


def _picture(scene: Scene) -> Image.Image:
    return scenes.render(scene.elements, scene.style, scene.variant)


def _singles(scene: Scene) -> list[Element]:
    return [thing for thing in scene.elements if thing.role == "object" and thing.count == 1]


# Local ----------------------------------------------------------------------------------------------------------


def counting(rng: random.Random, scene: Scene) -> Case | None:
    """More or fewer of a thing."""
    groups = [(i, thing) for i, thing in enumerate(scene.elements) if thing.count > 1]
    if not groups:
        return None
    index, thing = rng.choice(groups)
    some = rng.randint(1, thing.count - 1)
    fewer = thing.model_copy(update={"count": some, "boxes": thing.boxes[:some]})
    less = scenes.render((*scene.elements[:index], fewer, *scene.elements[index + 1 :]), scene.style, scene.variant)
    wanted, before, after = (thing, less, _picture(scene)) if rng.random() < 0.5 else (fewer, _picture(scene), less)
    lead = rng.choice(("make it", "there should be", "let there be"))
    text = f"{lead} {noun_phrase(wanted.model_copy(update={'size': None}), wanted.count)}"
    return Case(EditType.COUNTING, text, before, after, thing.boxes)


def appearance(rng: random.Random, scene: Scene) -> Case | None:
    """A thing gets dots or stripes."""
    if not _singles(scene):
        return None
    thing, before = rng.choice(_singles(scene)), _picture(scene)
    kind = rng.choice(("dots", "stripes"))
    pattern = Image.new("L", before.size, 0)
    pen = ImageDraw.Draw(pattern)
    for x in range(0, CANVAS, 8):
        if kind == "stripes":
            pen.line((x, 0, x, CANVAS), 255, 3)
        else:
            for y in range(0, CANVAS, 8):
                pen.ellipse((x + 2, y + 2, x + 5, y + 5), 255)
    after = before.copy()
    after.paste("white", mask=ImageChops.multiply(pattern, _shape(scene, thing)))
    plain = noun_phrase(thing.model_copy(update={"color": None, "size": None}), 1, article=False)
    return Case(EditType.APPEARANCE, f"give the {plain} {kind}", before, after, thing.boxes)


def _shape(scene: Scene, thing: Element) -> Image.Image:
    """Where a thing is drawn, as grey."""
    shape = Image.new("L", (CANVAS, CANVAS), 0)
    for box in thing.boxes:
        left, top, right, bottom = scenes.drawn(scenes.pixels(box), thing.name, scene.style)
        drawing = sprite(thing.name, scene.style, thing.color, right - left, bottom - top)
        shape.paste(255, (left, top), drawing.getchannel("A"))
    return shape


# Global ---------------------------------------------------------------------------------------------------------

TONES = ("evening light", "darker", "brighter", "black and white", "a cold winter light")


def toned(picture: Image.Image, tone: str) -> Image.Image:
    """The picture in another light."""
    if tone == "black and white":
        return picture.convert("L").convert("RGB")
    if tone in ("darker", "brighter"):
        return ImageEnhance.Brightness(picture).enhance(0.55 if tone == "darker" else 1.4)
    tint = (255, 176, 110) if tone == "evening light" else (176, 208, 255)
    return ImageChops.multiply(picture, Image.new("RGB", picture.size, tint))


def tone(rng: random.Random, scene: Scene) -> Case:
    """Another light over everything."""
    wanted, before = rng.choice(TONES), _picture(scene)
    lead = rng.choice(("make it", "turn the picture to", "change the light:"))
    return Case(EditType.TONE, f"{lead} {wanted}", before, toned(before, wanted))


def style(rng: random.Random, scene: Scene) -> Case:
    """The same scene in another style."""
    other = _other(rng, scene.style)
    text = rng.choice(("make it {}", "paint it in the {} style", "{} style")).format(other)
    return Case(EditType.STYLE, text, _picture(scene), scenes.render(scene.elements, other, scene.variant))


def _other(rng: random.Random, style: str) -> str:
    """Another style than that; where there are but two no chance is spent."""
    others = [name for name in current().styles if name != style]
    return others[0] if len(others) == 1 else rng.choice(others)


IMPLIED = {
    "night": "the sun goes down", "snow": "winter comes", "sea": "the water rises", "desert": "the rain stays away",
}  # fmt: skip


def implicit(rng: random.Random, scene: Scene) -> Case | None:
    """What changes is not named."""
    name = rng.choice([name for name in IMPLIED if name != scene.background])
    after = (scene.elements[0].model_copy(update={"name": name}), *scene.elements[1:])
    text = rng.choice(("{}", "what if {}?", "imagine that {}")).format(IMPLIED[name])
    return Case(EditType.IMPLICIT, text, _picture(scene), scenes.render(after, scene.style, scene.variant))


# Camera ---------------------------------------------------------------------------------------------------------


def outpaint(rng: random.Random, scene: Scene) -> Case:
    """One side is missing, and is to be painted."""
    side = rng.choice(("left", "right", "top", "bottom"))
    share = rng.choice((25, 38, 50))
    region: Box = {
        "left": (0, 0, share, 100), "right": (100 - share, 0, 100, 100), "top": (0, 0, 100, share),
        "bottom": (0, 100 - share, 100, 100),
    }[side]  # fmt: skip
    after = _picture(scene)
    before = after.copy()
    before.paste((128, 128, 128), scenes.pixels(region))
    return Case(EditType.OUTPAINT, f"show more at the {side}", before, after, (region,))


def rotation(rng: random.Random, scene: Scene) -> Case | None:
    """A thing is turned upside down."""
    if not _singles(scene):
        return None
    thing, before = rng.choice(_singles(scene)), _picture(scene)
    index = scene.elements.index(thing)
    without = scenes.render((*scene.elements[:index], *scene.elements[index + 1 :]), scene.style, scene.variant)
    box = scenes.pixels(thing.boxes[0])
    turned, shape = (each.crop(box).rotate(180) for each in (before, _shape(scene, thing)))
    after = without
    after.paste(turned, box[:2], shape)
    plain = noun_phrase(thing.model_copy(update={"size": None}), 1, article=False)
    return Case(EditType.ROTATION, f"turn the {plain} upside down", before, after, thing.boxes)


def relation(rng: random.Random, scene: Scene) -> Case | None:
    """Two things change places, told by how they stand to each other."""
    if scene.relation is None or scene.relation.third is not None:
        return None
    one, two = scene.elements[scene.relation.subject], scene.elements[scene.relation.other]
    if one.count != 1 or two.count != 1 or edits.size_of(one.boxes[0]) != edits.size_of(two.boxes[0]):
        return None
    swapped = {one.name: two.boxes, two.name: one.boxes}
    things = [each.model_copy(update={"boxes": swapped.get(each.name, each.boxes)}) for each in scene.elements]
    before = scenes.render(things, scene.style, scene.variant)
    names = [noun_phrase(each.model_copy(update={"size": None}), 1, article=False) for each in (one, two)]
    where = {"left": "to the left of", "right": "to the right of", "above": "above", "below": "below"}
    text = f"put the {names[0]} {where[scene.relation.kind]} the {names[1]}"
    return Case(EditType.RELATION, text, before, _picture(scene), (*one.boxes, *two.boxes))


# Visual ---------------------------------------------------------------------------------------------------------


def _following(kind: EditType, see: Callable[[Scene, Image.Image], Image.Image]) -> Callable[..., Case | None]:
    """Something is added where a visual input of the picture afterwards shows it."""

    def make(rng: random.Random, scene: Scene) -> Case | None:
        edit = edits.add(rng, scene)
        after_scene = Scene(edit.after, edit.style, None, edit.variant)
        after = _picture(after_scene)
        before = scenes.render(edit.before, edit.style, edit.variant)
        return Case(kind, f"follow the {kind.value}: {edit.text}", before, after, (), see(after_scene, after))

    return make


def _boxes(scene: Scene, picture: Image.Image) -> Image.Image:
    drawn = Image.new("RGB", picture.size)
    pen = ImageDraw.Draw(drawn)
    colors = visuals.palette(len(scene.elements))
    for thing, color in zip(scene.elements, colors, strict=True):
        for box in thing.boxes:
            pen.rectangle(scenes.pixels(box), outline=tuple(int(each) for each in color), width=3)
    return drawn


def _areas(scene: Scene, picture: Image.Image) -> Image.Image:
    colors = visuals.palette(len(scene.elements))
    drawn = Image.new("RGB", picture.size, tuple(int(each) for each in colors[0]))
    for thing, color in zip(scene.elements[1:], colors[1:], strict=True):
        drawn.paste(tuple(int(each) for each in color), mask=_shape(scene, thing))
    return drawn


def _distances(scene: Scene, picture: Image.Image) -> Image.Image:
    """The ground comes nearer towards the bottom; what is painted later stands nearer."""
    rows = np.linspace(20, 110, picture.height).round().astype(np.uint8)
    drawn = Image.fromarray(np.broadcast_to(rows[:, None], (picture.height, picture.width)).copy(), "L")
    for number, thing in enumerate(scene.elements[1:]):
        drawn.paste(min(255, 150 + 25 * number), mask=_shape(scene, thing))
    return drawn.convert("RGB")


def reference(rng: random.Random, scene: Scene) -> Case | None:
    """A thing is replaced by the one that another picture shows."""
    edit = edits.replace(rng, scene)
    new = next(thing for thing in edit.after if thing not in edit.before)
    shown = Element(name=new.name, color=new.color, boxes=(scenes.cell(50, 50, "large"),))
    return Case(
        EditType.REFERENCE,
        "replace it with what the picture shows" if rng.random() < 0.5 else "put the thing of the picture here",
        scenes.render(edit.before, edit.style, edit.variant),
        scenes.render(edit.after, edit.style, edit.variant),
        edit.regions,
        scenes.render((Element(name="plain", role="background"), shown), rng.choice(current().styles), 0),
    )


def style_transfer(rng: random.Random, scene: Scene) -> Case:
    """The same scene in the style of another picture."""
    other = _other(rng, scene.style)
    shown = scenes.sample_split(rng, not scenes.is_held_out(scene))
    visual = scenes.render(shown.elements, other, shown.variant)
    after = scenes.render(scene.elements, other, scene.variant)
    return Case(EditType.STYLE_TRANSFER, "paint it in this style", _picture(scene), after, (), visual)


MAKERS: dict[EditType, Callable[[random.Random, Scene], Case | None]] = {
    EditType.COUNTING: counting,
    EditType.APPEARANCE: appearance,
    EditType.TONE: tone,
    EditType.STYLE: style,
    EditType.IMPLICIT: implicit,
    EditType.OUTPAINT: outpaint,
    EditType.ROTATION: rotation,
    EditType.RELATION: relation,
    EditType.BOX: _following(EditType.BOX, _boxes),
    EditType.SEGMENTATION: _following(EditType.SEGMENTATION, _areas),
    EditType.DEPTH: _following(EditType.DEPTH, _distances),
    EditType.SKETCH: _following(EditType.SKETCH, lambda scene, picture: visuals.derive("sketch", picture)),
    EditType.SCRIBBLE: _following(EditType.SCRIBBLE, lambda scene, picture: visuals.derive("scribble", picture)),
    EditType.REFERENCE: reference,
    EditType.STYLE_TRANSFER: style_transfer,
}
EDITS = frozenset(EditType(maker.__name__) for maker in edits.KINDS)
WORLD = tuple(kind for kind in EditType if kind in EDITS or kind in MAKERS)
"""Every kind that the small world can show."""
