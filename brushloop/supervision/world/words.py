"""How the world speaks: prompts for scenes, instructions for plan steps and edits, in several phrasings."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from functools import partial
from typing import TypeVar

from brushloop.canvas import Element, Plan, PlanStep
from brushloop.supervision.world.scenes import Scene, held_out
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
        words.insert(0, a_or_an(words[0]))
    return " ".join(words)


def a_or_an(words: str) -> str:
    """The article that goes before words."""
    vowel = words[0] in "aeiou" and not words.startswith("uni")
    return "an" if vowel or words.startswith("hour") else "a"


def spoken(
    rng: random.Random, thing: Element, count: int | None = None, article: bool = True, training: bool = True
) -> str:
    """`noun_phrase` in any words that the world has for it; a world without other words spends no chance.

    Pairs of another name of a colour and one of an object (`crimson automobile`) are held out like combinations.
    """
    speech = current().speech
    if not speech.synonyms:
        return noun_phrase(thing, count, article)
    count = thing.count if count is None else count
    size = _other(rng, thing.size, speech.sizes.get(thing.size or "", ()))
    tone = tone_of(rng, thing.color) if thing.color else None
    own = thing.name, current().by_name[thing.name].plural
    forms = _other(rng, own, speech.synonyms.get(thing.name, ()))
    if training and tone and tone != thing.color and forms != own and held_out(f"{tone} {forms[0]}", "say/"):
        forms = own
    words = [word for word in (size, tone) if word] + [forms[count > 1]]
    if count > 1:
        several = [each for each in speech.numbers[count] if article and not forms[1].startswith("pairs")]
        words.insert(0, _other(rng, NUMBERS[count], several))
    elif article:
        words.insert(0, a_or_an(words[0]))
    return " ".join(words)


def tone_of(rng: random.Random, color: str) -> str:
    """A colour in any word that the world has for it."""
    return _other(rng, color, current().speech.tones.get(color, ()))


Said = TypeVar("Said")


def _other(rng: random.Random, usual: Said, others: Sequence[Said]) -> Said:
    """The usual word in half of the cases, otherwise one of the others."""
    return rng.choice(others) if others and rng.random() < 0.5 else usual


def lexicon() -> set[str]:
    """The words of all that a world with several phrasings can say; empty for one that says all in a few thousand."""
    world = current()
    speech = world.speech
    if not speech.leads:
        return set()
    said = [form for forms in speech.synonyms.values() for each in forms for form in each]
    said += [form for thing in world.things for form in (thing.name, thing.plural)]
    said += [
        name for table in (speech.tones, speech.manners, speech.sizes) for names in table.values() for name in names
    ]
    said += [re.sub("{.*?}", " ", phrasing) for _, phrasing in speech.phrasings]
    return {word for each in said for word in re.findall(r"[a-z]+", each.lower())}


def listing(phrases: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"


def prompt(scene: Scene, rng: random.Random, training: bool = True, *, amid: bool = False) -> tuple[str, bool, bool]:
    """A prompt for the scene, and whether it names the background and the style.

    `training` False lets it be said in phrasings that are held out. With `amid` the background comes after the first
    of several things, where they are only listed: `a cat on a beach with a red ball`.
    """
    speech, amid = current().speech, amid and scene.relation is None and len(scene.elements) > 2
    if speech.leads:
        return _freely(scene, rng, training, amid)
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
        if amid:
            first, text = False, _around(rng, phrases, setting)
        else:
            text = f"{setting}, {text}" if first else f"{text} {setting}"
    if names_style:
        text += rng.choice((f", {scene.style} style", f" in {scene.style} style"))
    lead = 1.0 if names_background and first else rng.random()
    if lead < 0.1:
        text = f"a picture of {text}"
    elif lead < 0.2:
        text = f"paint {text}"
    return text, names_background, names_style


def _around(rng: random.Random, phrases: Sequence[str], setting: str) -> str:
    return f"{phrases[1]} {setting} {rng.choice(('and', 'with'))} {listing(phrases[2:])}"


def _freely(scene: Scene, rng: random.Random, training: bool, amid: bool) -> tuple[str, bool, bool]:
    """A prompt in any of the words and phrasings of a world that has several."""
    speech, relation = current().speech, scene.relation
    say = partial(speech.choose, rng, training=training)
    phrases = ["", *(spoken(rng, thing, training=training) for thing in scene.elements[1:])]
    if relation is None:
        *first, last = phrases[1:]
        text = say("listings", speech.listings).format(a=", ".join(first), b=last) if first else last
    else:
        kind = "between" if relation.third is not None else relation.kind
        text = f"{phrases[relation.subject]} {say(kind, speech.between[kind])} {phrases[relation.other]}"
        text += f" and {phrases[relation.third]}" if relation.third is not None else ""
    names_background = scene.background != "plain" or rng.random() < 0.3
    names_style = scene.style != "flat" or rng.random() < 0.3
    first_place = names_background and rng.random() < 0.15
    if names_background:
        setting = say(scene.background, speech.settings[scene.background])
        if amid:
            first_place, text = False, _around(rng, phrases, setting)
        else:
            text = f"{setting}, {text}" if first_place else f"{text} {setting}"
    if names_style:
        manner = _other(rng, scene.style, speech.manners[scene.style])
        text = say("styled", speech.styled).format(text, style=manner)
    return text if first_place else say("leads", speech.leads).format(text), names_background, names_style


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
