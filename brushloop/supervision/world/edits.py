"""Edits of scenes: what stands before, what stands after, the instruction, and where it applies.

The same functions make the painter's training pairs and, through `supervision.faults`, the corrections
that the critic learns to ask for.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from brushloop.canvas import Box, EditType, Element
from brushloop.supervision.world import scenes
from brushloop.supervision.world.art import SIZES
from brushloop.supervision.world.scenes import Scene
from brushloop.supervision.world.words import noun_phrase, scenery, spoken, tone_of
from brushloop.supervision.world.worlds import current


@dataclass(frozen=True)
class Edit:
    """One edit of a scene. `regions` are in the order the text names things; empty means everywhere."""

    kind: EditType
    text: str
    before: tuple[Element, ...]
    after: tuple[Element, ...]
    style: str
    variant: int
    regions: tuple[Box, ...] = ()


# Instructions ---------------------------------------------------------------------------------------------------


def _count(thing: Element, count: int, rng: random.Random | None) -> str:
    return noun_phrase(thing, count) if rng is None else spoken(rng, thing, count)


def _the(thing: Element, count: int, rng: random.Random | None) -> str:
    plain = thing.model_copy(update={"size": None})
    said = noun_phrase(plain, count, article=False) if rng is None else spoken(rng, plain, count, article=False)
    return f"the {said}"


def add_text(thing: Element, count: int, rng: random.Random | None = None) -> str:
    """`add two red apples`, in one of several phrasings (the first without `rng`)."""
    verb = "add" if rng is None else rng.choice(("add", "add", "add", "put", "paint", "draw"))
    return f"{verb} {_count(thing, count, rng)}"


def remove_text(thing: Element, count: int, rng: random.Random | None = None) -> str:
    """`remove the red apple`."""
    verb = "remove" if rng is None else rng.choice(("remove", "remove", "erase", "take away"))
    return f"{verb} {_the(thing, count, rng)}"


def replace_text(thing: Element, count: int, rng: random.Random | None = None) -> str:
    """`replace with a red apple`: what stands there now need not be known."""
    lead = "replace with" if rng is None else rng.choice(("replace with", "replace with", "change it to", "make it"))
    return f"{lead} {_count(thing, count, rng)}"


def color_text(thing: Element, count: int, color: str, rng: random.Random | None = None) -> str:
    """`make the apple blue`."""
    plain = thing.model_copy(update={"color": None})
    verb = "make" if rng is None else rng.choice(("make", "make", "color", "paint"))
    said = color if rng is None else tone_of(rng, color)
    return f"{verb} {_the(plain, count, rng)} {said}"


def move_text(thing: Element, rng: random.Random | None = None) -> str:
    """`move the red apple`; the regions say from where to where."""
    verb = "move" if rng is None else rng.choice(("move", "move", "shift"))
    return f"{verb} {_the(thing, 1, rng)}"


def resize_text(thing: Element, size: str, rng: random.Random | None = None) -> str:
    """`make the red apple smaller`; the regions say the old box and the new."""
    return f"make {_the(thing, 1, rng)} {size}"


def background_text(name: str, rng: random.Random | None = None) -> str:
    """`change the background to a beach`."""
    lead = "change the background to" if rng is None else rng.choice(
        ("change the background to", "change the background to", "make the background", "set the background to")
    )  # fmt: skip
    return f"{lead} {scenery(name)}"


# Sampling -------------------------------------------------------------------------------------------------------


def _swap(elements: Sequence[Element], index: int, thing: Element | None) -> tuple[Element, ...]:
    changed = list(elements)
    if thing is None:
        del changed[index]
    else:
        changed[index] = thing
    return tuple(changed)


def add(rng: random.Random, scene: Scene) -> Edit:
    """A scene without one of its elements (and maybe without later ones), then with it."""
    index = rng.randrange(1, len(scene.elements))
    others = [i for i in range(1, len(scene.elements)) if i != index and rng.random() < 0.7]
    before = (scene.elements[0], *(scene.elements[i] for i in others))
    thing = scene.elements[index]
    if thing.count > 1 and rng.random() < 0.3:  # some of them are there already
        already = rng.randint(1, thing.count - 1)
        before += (thing.model_copy(update={"count": already, "boxes": thing.boxes[:already]}),)
        thing = thing.model_copy(update={"count": thing.count - already, "boxes": thing.boxes[already:]})
    text = add_text(thing, thing.count, rng)
    return Edit(EditType.ADD, text, before, (*before, thing), scene.style, scene.variant, thing.boxes)


def remove(rng: random.Random, scene: Scene) -> Edit:
    """Take an element away, or one of its objects."""
    index = rng.randrange(1, len(scene.elements))
    thing = scene.elements[index]
    gone = rng.randint(1, thing.count)
    left = (
        thing.model_copy(update={"count": thing.count - gone, "boxes": thing.boxes[gone:]})
        if gone < thing.count
        else None
    )
    after = _swap(scene.elements, index, left)
    text = remove_text(thing, gone, rng)
    return Edit(EditType.REMOVE, text, scene.elements, after, scene.style, scene.variant, thing.boxes[:gone])


def replace(rng: random.Random, scene: Scene) -> Edit:
    """Another object in the same place."""
    index = rng.randrange(1, len(scene.elements))
    thing = scene.elements[index]
    new = scenes.sample_element(rng, [element.name for element in scene.elements], thing.count)
    new = new.model_copy(update={"boxes": thing.boxes, "size": thing.size})
    text = replace_text(new, new.count, rng)
    after = _swap(scene.elements, index, new)
    return Edit(EditType.REPLACE, text, scene.elements, after, scene.style, scene.variant, thing.boxes)


def color(rng: random.Random, scene: Scene) -> Edit | None:
    """Another colour for something that takes colours."""
    able = [i for i, thing in enumerate(scene.elements) if thing.name in current().tintable]
    if not able:
        return None
    index = rng.choice(able)
    thing = scene.elements[index]
    tone = rng.choice([tone for tone in current().colors if tone != thing.color])
    after = _swap(scene.elements, index, thing.model_copy(update={"color": tone}))
    text = color_text(thing, thing.count, tone, rng)
    return Edit(EditType.COLOR, text, scene.elements, after, scene.style, scene.variant, thing.boxes)


def _one(
    rng: random.Random, scene: Scene, change: Callable[[Box, list[Box]], Box | None]
) -> tuple[int, Element, Box, Box] | None:
    index = rng.randrange(1, len(scene.elements))
    thing = scene.elements[index]
    which = rng.randrange(thing.count)
    taken = [box for i, e in enumerate(scene.elements) for j, box in enumerate(e.boxes) if (i, j) != (index, which)]
    old = thing.boxes[which]
    new = change(old, taken)
    if new is None:
        return None
    boxes = (*thing.boxes[:which], new, *thing.boxes[which + 1 :])
    return index, thing.model_copy(update={"boxes": boxes}), old, new


def size_of(box: Box) -> str:
    """The size class nearest to a box."""
    longer = max(box[2] - box[0], box[3] - box[1]) * scenes.CANVAS / 100
    return min(SIZES, key=lambda size: abs(SIZES[size] - longer))


def move(rng: random.Random, scene: Scene) -> Edit | None:
    """The same object somewhere else."""

    def elsewhere(old: Box, taken: list[Box]) -> Box | None:
        return scenes.free_box(rng, size_of(old), [*taken, old])

    moved = _one(rng, scene, elsewhere)
    if moved is None:
        return None
    index, thing, old, new = moved
    after = _swap(scene.elements, index, thing)
    return Edit(EditType.MOVE, move_text(thing, rng), scene.elements, after, scene.style, scene.variant, (old, new))


def resize(rng: random.Random, scene: Scene) -> Edit | None:
    """The same object, larger or smaller, on the same centre."""
    size = rng.choice(tuple(SIZES))

    def scaled(old: Box, taken: list[Box]) -> Box | None:
        new = scenes.cell(*scenes.center(old), size)
        fits = min(new) >= 0 and max(new) <= 100 and scenes.apart(new, taken)
        return new if fits and size != size_of(old) else None

    scaled_one = _one(rng, scene, scaled)
    if scaled_one is None:
        return None
    index, thing, old, new = scaled_one
    after = _swap(scene.elements, index, thing)
    return Edit(
        EditType.RESIZE,
        resize_text(thing, rng.choice((size, "larger" if _area(new) > _area(old) else "smaller")), rng),
        scene.elements,
        after,
        scene.style,
        scene.variant,
        (old, new),
    )


def background(rng: random.Random, scene: Scene) -> Edit:
    """The same things in another place."""
    name = rng.choice([name for name in current().backgrounds if name != scene.background])
    after = (scene.elements[0].model_copy(update={"name": name}), *scene.elements[1:])
    return Edit(EditType.BACKGROUND, background_text(name, rng), scene.elements, after, scene.style, scene.variant)


KINDS: dict[Callable[[random.Random, Scene], Edit | None], int] = {
    add: 46, replace: 14, color: 12, remove: 9, move: 6, resize: 6, background: 7,
}  # fmt: skip
"""Makers of edits, and how often each is drawn (percent)."""


def sample(rng: random.Random, training: bool, kind: EditType | None = None) -> Edit:
    """A random edit of a random scene of the split."""
    while True:
        scene = scenes.sample_split(rng, training)
        maker = (
            rng.choices(list(KINDS), list(KINDS.values()))[0]
            if kind is None
            else next(maker for maker in KINDS if maker.__name__ == kind.value)
        )
        edit, known = maker(rng, scene), current().by_name
        if edit is not None and all(thing.name in known or thing.role == "background" for thing in edit.after):
            return edit


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])
