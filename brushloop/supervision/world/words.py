"""How the world speaks: prompts for scenes, instructions for plan steps and edits, in several phrasings."""

from __future__ import annotations

import random
from collections.abc import Sequence

from brushloop.canvas import Element, Plan, PlanStep
from brushloop.supervision.world.scenes import Scene
from brushloop.supervision.world.worlds import current

NUMBERS = ("no", "one", "two", "three", "four")


def scenery(name: str) -> str:
    """A background as a thing: `a meadow`; a name that the world does not know as it is."""
    return current().speech.scenery.get(name, name)


def noun_phrase(thing: Element, count: int | None = None, article: bool = True) -> str:
    """`a small red apple`, `two cats`; with `article` False `small red apple`."""
    count = thing.count if count is None else count
    words = [word for word in (thing.size, thing.color) if word]
    words.append(thing.name if count == 1 else current().by_name[thing.name].plural)
    if count > 1:
        words.insert(0, NUMBERS[count])
    elif article:
        words.insert(0, "an" if words[0][0] in "aeiou" else "a")
    return " ".join(words)


def listing(phrases: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"


def prompt(scene: Scene, rng: random.Random) -> tuple[str, bool, bool]:
    """A prompt for the scene, and whether it names the background and the style."""
    speech = current().speech
    phrases = ["", *(noun_phrase(thing) for thing in scene.elements[1:])]
    relation = scene.relation
    if relation is None:
        text = listing(phrases[1:])
    elif relation.third is not None:
        text = f"{phrases[relation.subject]} between {phrases[relation.other]} and {phrases[relation.third]}"
    else:
        text = f"{phrases[relation.subject]} {rng.choice(speech.between[relation.kind])} {phrases[relation.other]}"
    names_background = scene.background != "plain" or rng.random() < 0.3
    names_style = scene.style != "flat" or rng.random() < 0.3
    if names_background:
        setting = rng.choice(speech.settings[scene.background])
        first = rng.random() < 0.15
        text = f"{setting}, {text}" if first else f"{text} {setting}"
    if names_style:
        text += rng.choice((f", {scene.style} style", f" in {scene.style} style"))
    lead = 1.0 if names_background and first else rng.random()
    if lead < 0.1:
        text = f"a picture of {text}"
    elif lead < 0.2:
        text = f"paint {text}"
    return text, names_background, names_style


def plan(scene: Scene) -> Plan:
    """The plan of a scene: the background with the first object, then one element a step, large things first."""
    background, *objects = scene.elements
    order = sorted(range(len(objects)), key=lambda i: -_area(objects[i]))
    ordered = [background, *(objects[i] for i in order)]
    steps, seen = [], [scenery(background.name)]
    for index, thing in enumerate(ordered[1:], start=1):
        seen.append(noun_phrase(thing))
        first = index == 1
        steps.append(
            PlanStep(
                instruction=begin(ordered[0], thing, scene.style) if first else f"add {noun_phrase(thing)}",
                expected=f"{seen[0]} with {listing(seen[1:])}",
                adds=(0, 1) if first else (index,),
            )
        )
    return Plan(elements=tuple(ordered), steps=tuple(steps), style=scene.style)


def begin(background: Element, thing: Element, style: str) -> str:
    """The instruction of the first plan step: the scenery with one element on it."""
    return f"paint {scenery(background.name)} with {noun_phrase(thing)}, {style} style"


def _area(thing: Element) -> int:
    return max((box[2] - box[0]) * (box[3] - box[1]) for box in thing.boxes)
