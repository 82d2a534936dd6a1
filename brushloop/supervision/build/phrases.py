"""How records speak: instructions and reflections in several phrasings, some of them kept from training."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import cache

from brushloop.canvas import Box, Critique, EditType, Element, Plan, Status
from brushloop.supervision.build.split import phrasing_held_out
from brushloop.supervision.world.edits import Edit
from brushloop.supervision.world.scenes import center
from brushloop.supervision.world.words import NUMBERS, listing, noun_phrase, scenery

BEGIN = (
    "paint {place} with {a}, {style} style", "begin with {place} and {a}, in {style} style",
    "start on {place}: draw {a} in {style} style", "{place}, and on it {a}; {style} style",
    "lay down {place}, then {a}, all in {style} style",
)  # fmt: skip
ADD = (
    "add {a}", "put {a} there", "paint {a}", "draw {a}", "now {a}", "next comes {a}", "place {a} here",
    "there should be {a}",
)  # fmt: skip
EDITS: Mapping[EditType, tuple[str, ...]] = {
    EditType.ADD: (
        "add {new}", "put {new} there", "paint {new} here", "draw {new}", "there should be {new}",
        "I would like {new} too",
    ),
    EditType.REMOVE: (
        "remove {the}", "erase {the}", "take away {the}", "take {the} out", "get rid of {the}", "no {old}, please",
    ),
    EditType.REPLACE: (
        "replace with {new}", "change it to {new}", "make it {new}", "swap {the} for {new}", "turn {the} into {new}",
        "instead of {the}, {new}",
    ),
    EditType.COLOR: (
        "make {thing} {color}", "color {thing} {color}", "paint {thing} {color}", "turn {thing} {color}",
        "I want {thing} {color}",
    ),
    EditType.MOVE: (
        "move {the}", "shift {the}", "move {the} {where}", "bring {the} {where}", "{the} should stand further {where}",
    ),
    EditType.RESIZE: (
        "make {the} {larger}", "draw {the} {larger}", "{the} should be {larger}", "I want {the} {larger}",
    ),
    EditType.BACKGROUND: (
        "change the background to {place}", "make the background {place}", "set the background to {place}",
        "put it all before {place}", "replace the background with {place}",
    ),
}  # fmt: skip
SEQUENCE = (
    "draw {a} step by step, {style} style, {number} frames", "how to draw {a} in {number} steps, {style} style",
    "{number} frames that show {a} being drawn in {style} style", "a tutorial in {number} pictures: {a}, {style} style",
)  # fmt: skip
SOUND = ("as planned", "all that is due is there", "nothing to mend", "this state is right")
FAULTY = ("to mend", "not yet right", "these are wrong", "this needs work")


def chosen(rng: random.Random, templates: Sequence[str], training: bool) -> str:
    """One of the templates; for training only of those that are not held out (the first never is)."""
    return rng.choice([templates[0], *(t for t in templates[1:] if not (training and phrasing_held_out(t)))])


def begin(
    rng: random.Random, ground: Element, things: Sequence[Element], style: str, training: bool
) -> tuple[str, str]:
    """The instruction of a first plan step, and the template it was said in."""
    template = chosen(rng, BEGIN, training)
    return template.format(place=scenery(ground.name), a=_all(things), style=style), template


def add(rng: random.Random, things: Sequence[Element], training: bool, instead: str = "") -> tuple[str, str]:
    """The instruction of a later plan step; `instead` takes the place of the list of things (`a cat left of a dog`)."""
    template = chosen(rng, ADD, training)
    return template.format(a=instead or _all(things)), template


def edit(rng: random.Random, made: Edit, training: bool) -> tuple[str, str]:
    """An instruction for an edit, and its template; the edit's own words for a kind that has no phrasings here."""
    templates = EDITS.get(made.kind)
    if templates is None:
        return made.text, made.kind.value
    template = chosen(rng, templates, training)
    return template.format(**_slots(made)), template


def sequence(rng: random.Random, thing: Element, style: str, number: int, training: bool) -> tuple[str, str]:
    """A prompt for a sequence of frames, and its template."""
    template = chosen(rng, SEQUENCE, training)
    return template.format(a=noun_phrase(thing), style=style, number=number), template


def reflection(rng: random.Random, plan: Plan, critique: Critique) -> str:
    """A critique in words: what is wrong and what to do about it."""
    said = []
    for finding in critique.findings:
        thing = plan.elements[finding.element]
        name = scenery(thing.name) if thing.role == "background" else noun_phrase(thing)
        if finding.status is Status.MISSING:
            said.append(f"{name} is missing" if thing.count == 1 else f"{name} are missing")
        elif finding.status is Status.WRONG:
            instead = f", there is {finding.seen}" if finding.seen else ""
            said.append(f"{name}: wrong {finding.fault or 'thing'}{instead}")
    if not said:
        return rng.choice(SOUND)
    todo = "; ".join(correction.instruction for correction in critique.corrections)
    return f"{rng.choice(FAULTY)}: {'; '.join(said)}" + (f". so: {todo}" if todo else "")


def held_out_of(templates: Sequence[str]) -> tuple[str, ...]:
    """Names of those templates that training never hears."""
    return tuple(f"phrasing {template}" for template in dict.fromkeys(templates) if phrasing_held_out(template))


@cache
def held_out_phrasings() -> tuple[str, ...]:
    """Every template that training never hears, sorted."""
    tables = (BEGIN, ADD, SEQUENCE, *EDITS.values())
    return tuple(sorted({t for table in tables for t in table[1:] if phrasing_held_out(t)}))


def changed(made: Edit) -> tuple[Element | None, Element | None]:
    """The element that an edit takes or changes, as it was and as it is afterwards; None where there is none."""
    if made.kind is EditType.ADD:
        return None, made.after[-1]
    for index, old in enumerate(made.before):
        new = made.after[index] if index < len(made.after) else None
        if old != new:
            return old, None if made.kind is EditType.REMOVE else new
    return None, None


def _slots(made: Edit) -> dict[str, str]:
    old, new = changed(made)
    count = len(made.regions) if made.kind in (EditType.ADD, EditType.REMOVE) else 0
    slots = {"place": scenery(made.after[0].name)}
    if new is not None and new.role == "object":
        slots |= {"new": noun_phrase(new, count or new.count), "color": new.color or ""}
    if old is not None and old.role == "object":
        number = 1 if made.kind in (EditType.MOVE, EditType.RESIZE) else count or old.count
        slots |= {"old": _bare(old, number), "the": f"the {_bare(old, number)}"}
        slots["thing"] = f"the {_bare(old.model_copy(update={'color': None}), number)}"
    if made.kind in (EditType.MOVE, EditType.RESIZE):
        slots |= {"where": _direction(*made.regions), "larger": _larger(*made.regions)}
    return slots


def _bare(thing: Element, count: int) -> str:
    """`two red apples`, `red apple`: without article and without size, which an edit may change."""
    plain = noun_phrase(thing.model_copy(update={"size": None}), count, article=False)
    number = f"{NUMBERS[count]} " if count > 1 else ""
    return number + plain.removeprefix(number)


def _all(things: Sequence[Element]) -> str:
    return listing([noun_phrase(thing) for thing in things])


def _direction(old: Box, new: Box) -> str:
    right, down = (there - here for here, there in zip(center(old), center(new), strict=True))
    if abs(right) >= abs(down):
        return "to the right" if right > 0 else "to the left"
    return "down" if down > 0 else "up"


def _larger(old: Box, new: Box) -> str:
    return "larger" if new[2] - new[0] > old[2] - old[0] else "smaller"
