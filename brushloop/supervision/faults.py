"""States of a picture as a critic meets them: unfinished, sound, or with faults, and what to say of each.

A state is what should be there after some plan step, with none or a few of its elements gone wrong. The
answer names every element's status and, for each fault, the edit that would mend it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from PIL import Image

from brushloop.canvas import Box, Correction, EditType, Element, Fault, Plan, Status, Verdict
from brushloop.critic.prompt import ELSEWHERE, NOTHING, SMEAR, Look, Seen
from brushloop.supervision.world import edits, scenes, words
from brushloop.supervision.world.art import sprite
from brushloop.supervision.world.scenes import Scene, is_held_out
from brushloop.supervision.world.worlds import current


@dataclass
class State:
    """A picture in the making, its plan, and the true critique of it."""

    prompt: str
    plan: Plan
    step: int
    picture: Image.Image
    look: Look
    drawn: tuple[Element, ...] = ()
    """What is really in the picture (spoiled places are not)."""


@dataclass
class _Drawn:
    """One element as it came out, and what one who looks at its boxes sees there."""

    seen: str
    shown: list[Element] = field(default_factory=list)
    spoiled: list[Box] = field(default_factory=list)
    fault: Fault | None = None
    missing: bool = False
    correction: Correction | None = None


def correct(thing: Element, fault: Fault | None, boxes: Sequence[Box], now: Box | None = None) -> Correction:
    """The edit that mends a fault of `thing` (None: it is missing) at `boxes`; `now` is where it stands instead."""
    count = max(1, len(boxes))
    regions = tuple(boxes)
    if fault is None or fault is Fault.COUNT:
        return Correction(edit=EditType.ADD, instruction=edits.add_text(thing, count), regions=regions)
    if fault is Fault.COLOR:
        text = edits.color_text(thing, count, thing.color or "")
        return Correction(edit=EditType.COLOR, instruction=text, regions=regions)
    if fault is Fault.POSITION and now is not None:
        return Correction(edit=EditType.MOVE, instruction=edits.move_text(thing), regions=(now, *regions))
    if fault is Fault.SIZE and now is not None:
        text = edits.resize_text(thing, "larger" if _area(regions[0]) > _area(now) else "smaller")
        return Correction(edit=EditType.RESIZE, instruction=text, regions=(now, *regions))
    if fault is Fault.BACKGROUND:
        return Correction(edit=EditType.BACKGROUND, instruction=edits.background_text(thing.name))
    return Correction(edit=EditType.REPLACE, instruction=edits.replace_text(thing, count), regions=regions)


def sample(
    rng: random.Random,
    training: bool = True,
    touch: Callable[[Image.Image, random.Random], Image.Image] | None = None,
    faulty: float = 0.5,
    each: float | None = None,
    fancied: bool = False,
    category: str | None = None,
) -> State:
    """A random state: faulty with probability `faulty`, and half of the sound ones unfinished.

    With `each`, every element goes wrong with that probability instead, so that there may be many faults.
    `touch` makes the rendering look painted (blur, noise, the autoencoder's round trip). The scene is of `category`,
    or of any in `scenes.CATEGORIES`. In a fancied state,
    whose words alone count (its picture is empty), things have colours that the art does not give them.
    """
    scene = scenes.sample_split(rng, training, category, composed=0.5)
    if fancied:
        scene = replace(scene, elements=tuple(_fancied(rng, thing) for thing in scene.elements))
    plan = words.plan(scene)
    prompt = words.prompt(scene, rng, training)[0]
    with_faults = rng.random() < faulty
    last = len(plan.steps) - 1
    step = last if last == 0 or rng.random() < 0.5 else rng.randrange(last)
    due = plan.due(step)
    bad: set[int] = set()
    if with_faults:  # the background goes wrong less often than objects do
        weights = [0.3 if plan.elements[index].role == "background" else 1.0 for index in due]
        bad = set(rng.choices(due, weights, k=1 if rng.random() < 0.7 else 2))
    if each is not None:
        bad = {index for index in due if rng.random() < each}
    taken = [box for thing in plan.elements for box in thing.boxes]
    while True:
        drawn = {index: _draw(rng, plan.elements[index], scene, taken, index in bad, fancied) for index in due}
        shown = [thing for index in due for thing in drawn[index].shown]
        if not training or not is_held_out(Scene(tuple(map(_as_drawn, shown)), scene.style)):
            break
    picture = scenes.render(() if fancied else shown, scene.style, scene.variant)
    for index in due:
        for box in drawn[index].spoiled:
            spoil(picture, box, rng)
    if touch is not None:
        picture = touch(picture, rng)
    return State(prompt, plan, step, picture, _answer(plan, step, drawn), tuple(shown))


def spoil(picture: Image.Image, box: Box, rng: random.Random, low: int | None = None) -> None:
    """Paint something spoiled into `box`, as a failed attempt would: a smear (`low` pixels of detail) of an object."""
    left, top, right, bottom = scenes.pixels(box, picture.width)
    size = right - left, bottom - top
    other = scenes.sample_element(rng)
    junk = sprite(other.name, rng.choice(current().styles), other.color, *size).copy()
    low = low or max(2, min(size) // rng.choice((6, 8, 10, 40)))
    junk = junk.resize((low, low)).resize(size, Image.Resampling.BILINEAR)
    strength = rng.choice((60, 85, 100))
    junk.putalpha(junk.getchannel("A").point(lambda a: a * strength // 100))
    picture.paste(junk, (left, top), junk)


def _answer(plan: Plan, step: int, drawn: dict[int, _Drawn]) -> Look:
    findings, corrections = [], []
    for index in range(len(plan.elements)):
        if index not in drawn:
            findings.append(Seen(element=index, status=Status.NOT_YET))
            continue
        state = drawn[index]
        status = Status.MISSING if state.missing else Status.WRONG if state.fault else Status.PRESENT
        asked = phrases(plan.elements[index])
        findings.append(Seen(element=index, asked=asked, seen=state.seen, status=status, fault=state.fault))
        if state.correction:
            corrections.append(state.correction)
    verdict = Verdict.REFINE if corrections else Verdict.ACCEPT
    if step == 0 and drawn[0].fault:
        verdict = Verdict.REDRAW
    return Look(findings=tuple(findings), corrections=tuple(corrections), verdict=verdict)


def phrase(name: str, color: str | None) -> str:
    """`a red apple`. The article lets the words be the same tokens as in the question, where a space precedes them."""
    said = f"{color} {name}" if color else name
    return f"{words.a_or_an(said)} {said}"


def place(name: str) -> str:
    """`a beach background`."""
    return phrase(f"{name} background", None)


def phrases(thing: Element) -> str:
    """What one who looks at the boxes of `thing` should see there: `a red apple, a red apple`."""
    return ", ".join([phrase(thing.name, thing.color)] * thing.count) if thing.role == "object" else place(thing.name)


def _fancied(rng: random.Random, thing: Element) -> Element:
    """Two of three things that take no colour get one: whoever compares colours meets more pairs of words."""
    if thing.role == "background" or thing.name in current().tintable or rng.random() < 1 / 3:
        return thing
    return thing.model_copy(update={"color": rng.choice(current().colors)})


def _as_drawn(thing: Element) -> Element:
    """Without a colour that the art does not give it."""
    return thing if thing.name in current().tintable else thing.model_copy(update={"color": None})


def _draw(
    rng: random.Random,
    thing: Element,
    scene: Scene,
    taken: Sequence[Box],
    bad: bool,
    fancied: bool = False,
) -> _Drawn:
    if thing.role == "background":
        if not bad:
            return _Drawn(place(thing.name), [thing])
        other = thing.model_copy(update={"name": _other(rng, current().backgrounds, thing.name)})
        return _Drawn(
            place(other.name), [other], fault=Fault.BACKGROUND, correction=correct(thing, Fault.BACKGROUND, ())
        )
    jittered = tuple(_jitter(rng, box) for box in thing.boxes)
    whole, right = thing.model_copy(update={"boxes": jittered}), phrase(thing.name, thing.color)

    def seen(instead: str, at: Sequence[int]) -> str:
        return ", ".join(instead if i in at else right for i in range(thing.count))

    if not bad:
        return _Drawn(seen("", ()), [whole])
    kinds: list[Fault | None] = [None, None, Fault.OBJECT, Fault.OBJECT]
    kinds += [Fault.COLOR, Fault.COLOR] if thing.color else []
    kinds += [Fault.COUNT, Fault.COUNT] if thing.count > 1 else [Fault.POSITION, Fault.SIZE]
    fault = rng.choice(kinds)
    if fault is None:
        everywhere = range(thing.count)
        return _Drawn(seen(NOTHING, everywhere), missing=True, correction=correct(thing, None, thing.boxes))
    if fault is Fault.COUNT:
        gone = sorted(rng.sample(range(thing.count), rng.randint(1, thing.count - 1)))
        kept = tuple(box for i, box in enumerate(jittered) if i not in gone)
        some = thing.model_copy(update={"count": len(kept), "boxes": kept})
        correction = correct(thing, fault, [thing.boxes[i] for i in gone])
        return _Drawn(seen(NOTHING, gone), [some], fault=fault, correction=correction)
    if fault in (Fault.POSITION, Fault.SIZE):
        now = _elsewhere(rng, jittered[0], taken) if fault is Fault.POSITION else _scaled(rng, thing.boxes[0])
        if now is not None:
            moved = thing.model_copy(update={"boxes": (now,)})
            scaled = f"{right} too {'large' if _area(now) > _area(thing.boxes[0]) else 'small'}"
            there = f"{right} {ELSEWHERE}" if fault is Fault.POSITION else scaled
            return _Drawn(there, [moved], fault=fault, correction=correct(thing, fault, thing.boxes, now))
        fault = Fault.OBJECT
    hit = sorted(rng.sample(range(thing.count), rng.randint(1, thing.count)))
    sound = tuple(box for i, box in enumerate(jittered) if i not in hit)
    kept_ones = [thing.model_copy(update={"count": len(sound), "boxes": sound})] if sound else []
    wrong = tuple(jittered[i] for i in hit)
    correction = correct(thing, fault, [thing.boxes[i] for i in hit])
    if fault is Fault.OBJECT and rng.random() < 0.5:
        return _Drawn(seen(SMEAR, hit), kept_ones, spoiled=list(wrong), fault=fault, correction=correction)
    if fault is Fault.COLOR:
        tone = _other(rng, current().colors, thing.color)
        other = thing.model_copy(update={"color": tone, "count": len(wrong), "boxes": wrong})
    else:
        other = scenes.sample_element(rng, [thing.name], len(wrong)).model_copy(update={"boxes": wrong})
        other = _fancied(rng, other) if fancied else other
    instead = seen(phrase(other.name, other.color), hit)
    return _Drawn(instead, [*kept_ones, other], fault=fault, correction=correction)


def _other(rng: random.Random, names: Sequence[str], name: str | None) -> str:
    return rng.choice([each for each in names if each != name])


def _jitter(rng: random.Random, box: Box) -> Box:
    left, top, right, bottom = (edge + rng.choice((-1, 0, 0, 0, 1)) for edge in box)
    return max(0, left), max(0, top), min(100, right), min(100, bottom)


def _elsewhere(rng: random.Random, box: Box, taken: Sequence[Box]) -> Box | None:
    return scenes.free_box(rng, edits.size_of(box), [*taken, box])


def _scaled(rng: random.Random, box: Box) -> Box | None:
    factor = rng.choice((rng.uniform(0.45, 0.6), rng.uniform(1.6, 2.0)))
    x, y = scenes.center(box)
    wide, high = (box[2] - box[0]) * factor, (box[3] - box[1]) * factor
    new = round(x - wide / 2), round(y - high / 2), round(x + wide / 2), round(y + high / 2)
    return new if min(new) >= 0 and max(new) <= 100 and min(wide, high) >= 8 else None


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])
