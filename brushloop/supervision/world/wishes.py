"""What people say when they want an edit: every kind in many phrasings, some of them kept from training.

A wish is a frame (`please …`) around a phrasing (`make the {thing} {color}`) whose places are filled from the world.
Phrasings, not sentences, are held out: whatever fills their places, training never says them.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Mapping
from functools import cache

from brushloop.canvas import EditType
from brushloop.supervision.world import scenes
from brushloop.supervision.world.words import NUMBERS, noun_phrase, spoken
from brushloop.supervision.world.worlds import current

FRAMES = (
    "{}", "{}", "{}", "{}", "please {}", "{}, please", "can you {}?", "could you {}?", "now {}", "I want you to {}",
    "and {}", "then {}", "{} now", "{} for me", "would you {}?", "next, {}", "could you please {}?", "try to {}",
)  # fmt: skip
"""How a request is put around a phrasing that is an order."""

FILL: Mapping[str, tuple[str, ...]] = {
    "material": ("glass", "wood", "gold", "stone", "wool", "paper", "metal", "marble", "clay", "silver", "leather"),
    "pattern": ("dots", "stripes", "a floral pattern", "little stars", "a checked pattern", "spots", "a ribbon"),
    "action": ("sit down", "jump", "sleep", "run", "wave", "smile", "lie down", "fly", "dance", "look up"),
    "doing": ("sitting", "jumping", "sleeping", "running", "waving", "smiling", "flying", "dancing", "looking up"),
    "word": ("OPEN", "HELLO", "SALE", "STOP", "WELCOME", "EXIT", "CAFE", "MENU", "PARTY", "THE END"),
    "light": (
        "evening light", "morning light", "winter light", "moonlight", "warm light", "soft light", "foggy weather",
        "rainy weather", "stormy weather", "autumn", "spring",
    ),
    "lit": ("darker", "brighter", "warmer", "colder", "sunny", "foggy", "rainy", "gloomy", "black and white"),
    "style": (
        "watercolour", "oil painting", "flat", "noto", "cartoon", "pixel art", "comic", "pastel", "woodcut",
        "impressionist", "ink drawing",
    ),
    "side": ("left", "right", "top", "bottom"),
    "where": ("to the left", "to the right", "up", "down", "into the corner", "to the middle", "a little higher"),
    "turn": ("upside down", "by 90 degrees", "on its side", "around", "a quarter to the left", "to face left"),
    "larger": ("larger", "smaller", "bigger", "twice as large", "half as large", "tiny", "huge"),
    "between": ("left of", "right of", "above", "below", "on top of", "behind", "in front of", "next to", "under"),
    "event": (
        "the sun goes down", "winter comes", "the water rises", "the rain stays away", "a storm comes",
        "the ice melts", "nobody waters the flowers", "a hundred years pass", "it is midnight", "the wind blows",
        "the candle burns down", "somebody takes a bite", "the balloon bursts", "the tide goes out",
    ),
}  # fmt: skip
"""What may stand in each place of a phrasing, whatever the world."""


def fill() -> dict[str, tuple[str, ...]]:
    """What may stand in each place of a phrasing; `thing`, `new` and `some` come from the world's objects."""
    world = current()
    tones = dict.fromkeys((*world.colors, "pink", "black", "white", "golden"))
    return {"color": tuple(tones), "place": tuple(world.speech.scenery.values()), **FILL}


PHRASINGS: Mapping[EditType | None, tuple[str, ...]] = {
    EditType.ADD: (
        "add {new}", "put {new} there", "paint {new}", "draw {new}", "place {new} in the picture", "add {new} to it",
        "add {new} to {place}", "there should be {new} too", "I would like {new} as well", "let there be {new}",
        "draw {new} beside it", "include {new}", "put {new} in the picture", "{new} is to be added",
    ),
    EditType.REMOVE: (
        "remove the {thing}", "erase the {thing}", "take the {thing} away", "take the {thing} out",
        "get rid of the {thing}", "no {thing} any more", "delete the {thing}", "let the {thing} go away",
        "the {thing} should go", "I want no {thing}", "there should be no {thing}", "take out the {thing}",
        "erase the {thing} from the picture",
    ),
    EditType.REPLACE: (
        "replace the {thing} with {new}", "replace it with {new}", "change the {thing} to {new}", "change it to {new}",
        "turn the {thing} into {new}", "swap the {thing} for {new}", "instead of the {thing}, {new}",
        "make the {thing} into {new}", "exchange the {thing} for {new}", "let the {thing} become {new}",
        "the {thing} should become {new}", "{new} instead of the {thing}", "put {new} in place of the {thing}",
    ),
    EditType.COLOR: (
        "make the {thing} {color}", "color the {thing} {color}", "paint the {thing} {color}",
        "turn the {thing} {color}",
        "I want the {thing} {color}", "the {thing} should be {color}", "give the {thing} a {color} color",
        "change the color of the {thing} to {color}", "let the {thing} be {color}", "make its color {color}",
        "the color of the {thing} should be {color}", "recolor the {thing} {color}",
    ),
    EditType.APPEARANCE: (
        "give the {thing} {pattern}", "put {pattern} on the {thing}", "decorate the {thing} with {pattern}",
        "the {thing} should have {pattern}", "paint {pattern} on the {thing}", "I want {pattern} on the {thing}",
        "cover the {thing} with {pattern}", "let the {thing} have {pattern}", "draw {pattern} on the {thing}",
        "give it {pattern}", "add {pattern} to the {thing}",
    ),
    EditType.MATERIAL: (
        "make the {thing} of {material}", "let the {thing} be made of {material}", "turn the {thing} into {material}",
        "the {thing} should be of {material}", "change the material of the {thing} to {material}",
        "I want the {thing} made of {material}", "build the {thing} out of {material}", "make it of {material}",
        "give the {thing} the look of {material}", "the {thing} should be made out of {material}",
        "make the {thing} look like {material}",
    ),
    EditType.ACTION: (
        "let the {thing} {action}", "make the {thing} {action}", "the {thing} should {action}",
        "show the {thing} {doing}", "I want the {thing} to {action}", "have the {thing} {action}", "let it {action}",
        "make it {action}", "the {thing} should be {doing}", "show it {doing}", "draw the {thing} {doing}",
    ),
    EditType.TEXTUAL: (
        "let the sign say {word}", "write {word} on the {thing}", "change the text to {word}", "add the word {word}",
        "replace the words with {word}", "the sign should say {word}", "write {word} above it",
        "put the text {word} on it",
        "remove the text from the {thing}", "erase the words", "let the text say {word}", "the text should be {word}",
        "write the word {word} at the {side}", "change the word on the sign to {word}",
    ),
    EditType.COUNTING: (
        "make it {some}", "there should be {some}", "let there be {some}", "I want {some}", "make them {some}",
        "show {some} instead of one", "change the number to {some}", "it should be {some}", "one {thing} more",
        "one {thing} less", "add one more {thing}", "take one {thing} away", "I would like {some} instead",
        "have {some} there",
    ),
    EditType.BACKGROUND: (
        "change the background to {place}", "make the background {place}", "set the background to {place}",
        "put it all before {place}", "replace the background with {place}", "put them before {place}",
        "I want {place} as the background", "the background should be {place}", "let the background be {place}",
        "use {place} as background", "turn the background into {place}", "move it all to {place}",
    ),
    EditType.TONE: (
        "make it {light}", "turn the picture to {light}", "change the light to {light}", "make the picture {lit}",
        "make everything {lit}", "give the picture {light}", "it should be {lit}", "I want {light}",
        "the whole picture should be {lit}", "let it be {light}", "make the scene {lit}", "show it in {light}",
        "change the weather: {light}", "make the light {lit}",
    ),
    EditType.STYLE: (
        "make it {style}", "paint it in the {style} style", "{style} style", "turn the picture into {style}",
        "change the style to {style}", "I want it in {style} style", "redraw it as {style}", "make the picture {style}",
        "the style should be {style}", "let it look like {style}", "use the {style} style", "paint it as {style}",
        "convert it to {style} style",
    ),
    EditType.MOVE: (
        "move the {thing} {where}", "shift the {thing} {where}", "move the {thing}", "bring the {thing} {where}",
        "the {thing} should stand further {where}", "push the {thing} {where}", "put the {thing} further {where}",
        "let the {thing} go {where}", "shift it {where}", "move it {where}", "I want the {thing} moved {where}",
        "place the {thing} further {where}",
    ),
    EditType.OUTPAINT: (
        "show more at the {side}", "go on beyond the {side} edge", "extend the picture to the {side}",
        "make the canvas wider at the {side}", "show more of {place} at the {side}", "paint on beyond the {side}",
        "widen the picture at the {side}", "extend the canvas at the {side}", "continue the picture at the {side}",
        "expand the picture beyond its {side} edge", "show what is beyond the {side} edge",
    ),
    EditType.ROTATION: (
        "turn the {thing} {turn}", "rotate the {thing} {turn}", "flip the {thing} {turn}", "rotate the {thing}",
        "the {thing} should be turned {turn}", "turn it {turn}", "spin the {thing} {turn}",
        "let the {thing} turn {turn}",
        "rotate it {turn}", "I want the {thing} turned {turn}", "the {thing} should be rotated {turn}",
    ),
    EditType.RESIZE: (
        "make the {thing} {larger}", "draw the {thing} {larger}", "the {thing} should be {larger}",
        "I want the {thing} {larger}", "let the {thing} be {larger}", "resize the {thing} to be {larger}",
        "make it {larger}", "scale the {thing} to be {larger}", "let the {thing} grow", "shrink the {thing}",
        "zoom in on the {thing}", "enlarge the {thing}", "the size of the {thing} should be {larger}",
    ),
    EditType.IMPLICIT: (
        "{event}", "what if {event}?", "imagine that {event}", "what happens if {event}?",
        "show what happens if {event}",
        "how does it look if {event}?", "suppose that {event}", "show it after {event}", "what happens when {event}?",
        "how would it look if {event}?", "show how it looks when {event}",
    ),
    EditType.RELATION: (
        "put the {thing} {between} the {other}", "the {thing} should be {between} the {other}",
        "place the {thing} {between} the {other}", "let the {thing} stand {between} the {other}",
        "I want the {thing} {between} the {other}", "the {thing} should stand {between} the {other}",
        "let the {thing} and the {other} change places", "have the {thing} {between} the {other}",
        "move the {thing} so that it is {between} the {other}", "swap the places of the {thing} and the {other}",
    ),
    EditType.DEPTH: (
        "follow the depth map", "follow the depth map: add {new}", "use the depth map", "use the distances of the map",
        "follow the depth: add {new}", "paint {new} as the depth map says", "keep to the depth map: {new}",
        "let the depth map guide you", "use this depth map for {new}", "follow the distances of the depth map",
    ),
    EditType.SKETCH: (
        "follow the sketch", "follow the sketch: add {new}", "use the sketch", "use the lines of the sketch",
        "paint {new} as the sketch shows", "keep to the lines of the sketch: {new}", "let the sketch guide you",
        "use this sketch for {new}", "turn this sketch into a picture", "follow the lines: add {new}",
    ),
    EditType.SCRIBBLE: (
        "follow the scribble", "follow the scribble: add {new}", "use the scribble",
        "turn this scribble into a picture",
        "turn this scribble into {new}", "paint {new} where I scribbled", "let the scribble guide you",
        "use this scribble for {new}", "keep to the scribble: {new}", "make a picture of my scribble",
    ),
    EditType.SEGMENTATION: (
        "follow the segmentation: add {new}", "follow the segmentation map", "follow the color map",
        "use the segmentation map", "use the areas of the map", "paint {new} where the areas are",
        "let the color map guide you", "use this color map for {new}", "keep to the areas of the color map: {new}",
        "follow the areas of the map: add {new}", "paint {new} as the segmentation map says",
    ),
    EditType.BOX: (
        "follow the box: add {new}", "put {new} into the box", "put {new} where the box is", "use the boxes",
        "add {new} in the box", "paint {new} into the boxes", "follow the boxes: {new}", "let the boxes guide you",
        "draw {new} inside the box", "place {new} where the boxes are",
    ),
    EditType.MATERIAL_TRANSFER: (
        "make the {thing} of this", "make the {thing} of this material", "give the {thing} this material",
        "use this material for the {thing}", "make it of the material of the picture",
        "let the {thing} be made of what the picture shows", "change the material of the {thing} to this one",
        "the {thing} should be of this material", "take the material of the picture for the {thing}",
    ),
    EditType.REFERENCE: (
        "replace the {thing} with this", "replace it with what the picture shows", "put the thing of the picture here",
        "replace the {thing} with this one", "put this one there instead of the {thing}",
        "swap the {thing} for this one",
        "use this one in place of the {thing}", "exchange the {thing} for what the picture shows",
        "put what the picture shows in place of the {thing}", "change the {thing} to this one",
    ),
    EditType.STYLE_TRANSFER: (
        "paint it in this style", "use this style", "make it look like this picture", "take the style of this picture",
        "use the style of the other picture", "redraw it in this style", "paint it in the style of this picture",
        "give it the style of the picture", "turn the picture into this style", "change the style to this one",
    ),
    None: (
        "hello there", "what a nice picture", "thank you", "who are you?", "tell me a story", "how old is the {thing}?",
        "that looks good", "where is the {thing}?", "I like the {thing}", "what color is the {thing}?", "good morning",
        "never mind", "leave it as it is", "how does this work?", "is that {new}?", "do nothing", "that is {color}",
        "what is the {thing} called?", "I like it", "the {thing} looks nice", "how many {things} are there?",
        "do you like the {thing}?", "keep it as it is", "what is {new}?", "thank you, that is good",
    ),
}  # fmt: skip
"""Every kind's phrasings; None: what asks for no edit."""

KINDS = tuple(PHRASINGS)


@cache
def held_out(kind: EditType | None) -> frozenset[str]:
    """The phrasings of a kind that training never says: up to a fifth of them, those with the lowest hashes.

    Only what is said in words that training does say of that kind: a model that learned its English here cannot know
    that to delete is to remove.
    """
    ranked = sorted(PHRASINGS[kind], key=lambda each: hashlib.sha256(f"wish {each}".encode()).digest())
    held: list[str] = []
    for each in ranked:
        others = {word for other in ranked if other != each and other not in held for word in _words(other)}
        if len(held) < max(2, len(ranked) // 5) and _words(each) <= others:
            held.append(each)
    return frozenset(held)


def _words(phrasing: str) -> set[str]:
    return set(re.findall(r"{?\w+", phrasing))


def wish(rng: random.Random, kind: EditType | None, training: bool = True) -> str:
    """Something a person might say who wants that kind of edit: of the training split, or in a phrasing held out."""
    text = _filled(rng, rng.choice([each for each in PHRASINGS[kind] if (each in held_out(kind)) is not training]))
    order = kind is not None and re.match(r"[a-z]+ (the|it|a|an|this|out|on|what|one|more) ", text)
    return rng.choice(FRAMES).format(text) if order else text


def _filled(rng: random.Random, template: str) -> str:
    thing, other, new = (scenes.sample_element(rng).model_copy(update={"count": 1}) for _ in range(3))
    several = other.model_copy(update={"count": rng.choice((2, 3, 4))})
    filled = {name: rng.choice(words) for name, words in fill().items()}
    for name, one in (("thing", thing), ("other", other)):
        filled[name] = spoken(rng, one.model_copy(update={"color": None, "size": None}), 1, article=False)
    filled["things"] = noun_phrase(thing, 2).removeprefix(f"{NUMBERS[2]} ")
    filled["new"] = spoken(rng, new, rng.choice((1, 1, 1, 2)))
    filled["some"] = spoken(rng, several.model_copy(update={"size": None}), several.count)
    return template.format(**filled)
