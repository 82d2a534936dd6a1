"""Scenes: sampled layouts of the world that is current, and their rendering.

A scene is a tuple of `Element`s (the first is the background) with boxes in percent, plus a style.
The same nouns describe the plan of a picture and its ground truth, so that nothing is translated.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache

from PIL import Image

from brushloop.canvas import Box, Element, pixels_of
from brushloop.supervision.world.art import SIZES, aspect, sprite
from brushloop.supervision.world.backdrops import CANVAS as CANVAS
from brushloop.supervision.world.backdrops import backdrop as backdrop
from brushloop.supervision.world.worlds import current

RELATIONS = ("left", "right", "above", "below", "between")
GRID = 8
"""Objects stand on the crossings of a grid of this many squares a side, 16 pixels apart."""


@dataclass(frozen=True)
class Relation:
    """`subject` is left of, right of, above or below `other`, or between `other` and `third` (element indices)."""

    kind: str
    subject: int
    other: int
    third: int | None = None


@dataclass(frozen=True)
class Scene:
    """Elements in the order they are spoken of (the first is the background), and what holds between them."""

    elements: tuple[Element, ...]
    style: str
    relation: Relation | None = None
    variant: int = 0
    """Which of the background's small variations is drawn."""

    @property
    def background(self) -> str:
        return self.elements[0].name


def pixels(box: Box, size: int = CANVAS) -> tuple[int, int, int, int]:
    """A percent box in pixels: left, top, right, bottom."""
    return pixels_of(box, (size, size))


def center(box: Box) -> tuple[float, float]:
    """The middle of a box, in percent."""
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def cell(x: float, y: float, size: str) -> Box:
    """The square box (percent) of an object of a size class, centred on the crossing nearest to `x`, `y`."""
    half = SIZES[size] * 50 / CANVAS
    x, y = (round(at * GRID / 100) * 100 / GRID for at in (x, y))
    return round(x - half), round(y - half), round(x + half), round(y + half)


def drawn(box: Box, name: str, style: str) -> Box:
    """What an object covers of its box: the largest rectangle of its own proportions, centred (percent)."""
    return _within(box, aspect(name, style))


def _within(box: tuple[int, int, int, int], ratio: float) -> tuple[int, int, int, int]:
    width, height = box[2] - box[0], box[3] - box[1]
    wide = max(1, round(min(width, height * ratio)))
    high = max(1, round(min(height, width / ratio)))
    left, top = box[0] + (width - wide) // 2, box[1] + (height - high) // 2
    return left, top, left + wide, top + high


# Rendering ------------------------------------------------------------------------------------------------------


def render(elements: Iterable[Element], style: str, variant: int = 0, size: int = CANVAS) -> Image.Image:
    """Draw `elements` in order, RGB, `size` x `size` pixels. Without a background element the paper is plain."""
    things = list(elements)
    name = next((thing.name for thing in things if thing.role == "background"), "plain")
    picture = backdrop(name, variant % 16, size).copy()
    for thing in things:
        if thing.role == "object":
            for box in thing.boxes:
                left, top, right, bottom = _within(pixels(box, size), aspect(thing.name, style))
                drawing = sprite(thing.name, style, thing.color, right - left, bottom - top)
                picture.paste(drawing, (left, top), drawing)
    return picture


# Sampling -------------------------------------------------------------------------------------------------------


def held_out(key: str, split: str = "") -> bool:
    """Whether a combination is kept from training: decided by the hash of its name alone.

    `split` names another, independent division (the judge has its own).
    """
    percent = current().held_out
    return int.from_bytes(hashlib.sha256(f"{split}{key}".encode()).digest()[:4], "big") % 100 < percent


def combinations(scene: Scene) -> set[str]:
    """Names of every combination that a scene shows."""
    objects = scene.elements[1:]
    keys = {f"{scene.background}|{thing.name}" for thing in objects}
    keys |= {f"{thing.name}x{thing.count}" for thing in objects if thing.count > 1}
    keys |= {f"{thing.color} {thing.name}" for thing in objects if thing.color}
    for i, one in enumerate(objects):
        for two in objects[i + 1 :]:
            keys.add("+".join(sorted((one.name, two.name))))
            if one.color and two.color:
                keys.add("+".join(sorted((f"{one.color} {one.name}", f"{two.color} {two.name}"))))
    if scene.relation and scene.relation.third is None:
        subject, other = scene.elements[scene.relation.subject], scene.elements[scene.relation.other]
        keys.add(f"{subject.name} {scene.relation.kind} {other.name}")
    return keys


def is_held_out(scene: Scene) -> bool:
    """Whether any combination of the scene is kept from training."""
    return any(held_out(key) for key in combinations(scene))


def holds(relation: Relation, elements: Sequence[Element], gap: float = 8.0) -> bool:
    """Whether the boxes satisfy the relation, centre to centre with at least `gap` percent between."""
    axis, sign = {"left": (0, -1), "right": (0, 1), "above": (1, -1), "below": (1, 1), "between": (0, 0)}[relation.kind]
    mine = [center(box)[axis] for box in elements[relation.subject].boxes]
    theirs = [center(box)[axis] for box in elements[relation.other].boxes]
    if relation.kind == "between":
        assert relation.third is not None
        third = [center(box)[0] for box in elements[relation.third].boxes]
        low, high = sorted((theirs, third))
        return max(low) + gap <= min(mine) and max(mine) + gap <= min(high)
    if sign < 0:
        return max(mine) + gap <= min(theirs)
    return min(mine) - gap >= max(theirs)


def apart(box: Box, others: Iterable[Box], gap: int = 1) -> bool:
    """Whether a box keeps `gap` percent from all others."""
    return all(
        box[2] + gap <= other[0] or other[2] + gap <= box[0] or box[3] + gap <= other[1] or other[3] + gap <= box[1]
        for other in others
    )


def free_box(rng: random.Random, size: str, taken: Sequence[Box]) -> Box | None:
    """A random cell of a size class clear of the boxes in `taken`, or None if there is none."""
    free = [box for box in cells(size) if apart(box, taken)]
    return rng.choice(free) if free else None


@cache
def cells(size: str) -> tuple[Box, ...]:
    """All boxes of a size class that lie on the canvas, column by column."""
    crossings = [100 * i / GRID for i in range(1, GRID)]
    boxes = (cell(x, y, size) for x in crossings for y in crossings)
    return tuple(box for box in boxes if min(box) >= 0 and max(box) <= 100)


def sample_element(
    rng: random.Random, exclude: Iterable[str] = (), count: int = 1, colored: bool | None = None
) -> Element:
    """One object without boxes. `colored` True forces a colour, False forbids one, None leaves it to chance."""
    world, gone = current(), set(exclude)
    names = [name for name in (world.tintable if colored else world.by_name) if name not in gone]
    name = rng.choice(names)
    tint = world.by_name[name].tintable and (colored or (colored is None and rng.random() < world.tinted))
    size = rng.choice((None, None, "small", "medium", "large")) if count < 3 else None
    return Element(name=name, count=count, color=rng.choice(world.colors) if tint else None, size=size)


def place(
    rng: random.Random, elements: Sequence[Element], relation: Relation | None = None
) -> tuple[Element, ...] | None:
    """Give every object boxes that do not touch and that satisfy the relation; None if it does not fit."""
    total = sum(thing.count for thing in elements if thing.role == "object")
    usual = "large" if total == 1 else "medium" if total <= 3 else "small"
    for _ in range(60):
        taken: list[Box] = []
        placed = []
        for thing in elements:
            if thing.role == "background":
                placed.append(thing)
                continue
            boxes = []
            for _ in range(thing.count):
                box = free_box(rng, thing.size or usual, taken)
                if box is None:
                    break
                boxes.append(box)
                taken.append(box)
            if len(boxes) < thing.count:
                break
            placed.append(thing.model_copy(update={"boxes": tuple(sorted(boxes))}))
        if len(placed) == len(elements) and (relation is None or holds(relation, placed)):
            return tuple(placed)
    return None


ROW = {1: (50.0,), 2: (25.0, 75.0), 3: (12.5, 50.0, 87.5), 4: (12.5, 37.5, 62.5, 87.5)}
SLOTS: dict[int, tuple[str, tuple[tuple[float, float], ...]]] = {  # by number of objects: largest size, centres
    1: ("large", ((50, 50),)),
    2: ("large", ((25, 50), (75, 50))),
    3: ("medium", ((25, 75), (50, 25), (75, 75))),
    4: ("medium", ((25, 25), (75, 25), (25, 75), (75, 75))),
    5: ("small", ((12.5, 25), (50, 25), (87.5, 25), (25, 75), (75, 75))),
    6: ("small", ((12.5, 25), (50, 25), (87.5, 25), (12.5, 75), (50, 75), (87.5, 75))),
    7: ("small", ((12.5, 12.5), (50, 12.5), (87.5, 12.5), (25, 50), (75, 50), (25, 87.5), (75, 87.5))),
}


def tidy(
    rng: random.Random, elements: Sequence[Element], relation: Relation | None = None
) -> tuple[Element, ...] | None:
    """Lay objects out as a composer would: in order, evenly, the relation along its own axis. None if too many.

    Sizes are as asked for, as far as they fit.
    """
    total = sum(thing.count for thing in elements if thing.role == "object")
    if total not in SLOTS:
        return None
    largest, slots = SLOTS[total]
    places: dict[int, list[tuple[float, float]]] = {}
    if relation is not None and relation.third is None:
        low, high = relation.subject, relation.other
        if relation.kind in ("right", "below"):
            low, high = high, low
        flat = relation.kind in ("left", "right")
        for index, along in ((low, 25.0), (high, 75.0)):
            places[index] = [(along, at) if flat else (at, along) for at in ROW[elements[index].count]]
        largest = "large" if max(elements[low].count, elements[high].count) <= 2 else "small"
    elif relation is not None and relation.third is not None:
        order = (relation.other, relation.subject, relation.third)
        places = {index: [(x, 50.0)] for index, x in zip(order, ROW[3], strict=True)}
        largest = "small"
    else:
        rest = list(slots)
        for index in range(1, len(elements)):
            places[index] = [rest.pop(0) for _ in range(elements[index].count)]
    placed = []
    for index, thing in enumerate(elements):
        if thing.role == "object":
            size = min(thing.size or largest, largest, key=SIZES.__getitem__)
            boxes = tuple(cell(x, y, size) for x, y in places[index])
            thing = thing.model_copy(update={"boxes": boxes})
        placed.append(thing)
    return tuple(placed)


CATEGORIES = ("single", "two", "counting", "color", "position", "binding", "many")
GROUPS = "groups"
"""Two or three things of which some come several times, seven in all at most: `four crabs and a red cactus`.

Sampled only where it is asked for by name, so that what a seed samples stays as it was.
"""


def sample(rng: random.Random, category: str | None = None, composed: float = 0.6) -> Scene:
    """A random scene. Categories follow the usual text-to-image benchmarks (GenEval), plus `many` and `GROUPS`.

    `composed` is the share of tidy layouts; the others are scattered.
    """
    category = category or rng.choice(CATEGORIES)
    while True:
        style = rng.choice(current().styles)
        background = Element(name=rng.choice(current().backgrounds), role="background")
        relation = None
        if category == "single":
            objects = [sample_element(rng, colored=False)]
        elif category == "color":
            objects = [sample_element(rng, colored=True)]
        elif category == "counting":
            objects = [sample_element(rng, count=rng.randint(2, 4))]
        elif category == GROUPS:
            objects, relation = groups(rng)
        else:
            number = {"two": 2, "position": 2 + (rng.random() < 0.2), "binding": 2}.get(category) or rng.choice(
                (2, 3, 3)
            )
            objects = []
            for _ in range(number):
                count = rng.choice((1, 1, 1, 2)) if category == "many" else 1
                colored = True if category == "binding" else None
                objects.append(sample_element(rng, [thing.name for thing in objects], count, colored))
            if category == "position":
                relation = Relation("between", 1, 2, 3) if number == 3 else Relation(rng.choice(RELATIONS[:4]), 1, 2)
            elif category == "many" and number == 2 and rng.random() < 0.4:
                relation = Relation(rng.choice(RELATIONS[:4]), 1, 2)
        lay = tidy if rng.random() < composed else place
        placed = lay(rng, [background, *objects], relation)
        if placed is not None and (relation is None or holds(relation, placed)):
            return Scene(placed, style, relation, rng.randrange(16))


def groups(rng: random.Random) -> tuple[list[Element], Relation | None]:
    """Things of the category `GROUPS`, without boxes, and for some of them a relation."""
    counts = [rng.randint(2, 4), *rng.choice(((1,), (1,), (2,), (3,), (1, 1), (1, 2)))]
    rng.shuffle(counts)
    objects = list[Element]()
    for count in counts:
        objects.append(sample_element(rng, [thing.name for thing in objects], count))
    related = len(objects) == 2 and rng.random() < 0.3
    return objects, Relation(rng.choice(RELATIONS[:4]), 1, 2) if related else None


def crowd(rng: random.Random, most: int = 8) -> Scene:
    """As many scattered objects as fit, without any held-out combination: for learning to see, not to compose."""
    ground, style = rng.choice(current().backgrounds), rng.choice(current().styles)
    return crowded(rng, Scene((Element(name=ground, role="background"),), style, None, rng.randrange(16)), most)


def crowded(rng: random.Random, scene: Scene, most: int, kept_out: Callable[[Scene], bool] = is_held_out) -> Scene:
    """A scene and as many more objects as fit, `most` in all, where none makes it one that is `kept_out`."""
    taken = [box for thing in scene.elements for box in thing.boxes]
    for _ in range(3 * most):
        if len(taken) >= most:
            break
        thing = sample_element(rng)
        box = free_box(rng, rng.choice(tuple(SIZES)), taken)
        if box is None or any(thing.name == other.name for other in scene.elements):
            continue
        fuller = replace(scene, elements=(*scene.elements, thing.model_copy(update={"boxes": (box,)})))
        if not kept_out(fuller):
            scene = fuller
            taken.append(box)
    return scene


def sample_split(rng: random.Random, training: bool, category: str | None = None, composed: float = 0.6) -> Scene:
    """A scene of the training split, or one that shows at least one held-out combination."""
    while True:
        scene = sample(rng, category, composed)
        if is_held_out(scene) is not training:
            return scene
