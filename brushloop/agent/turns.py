"""What somebody says in one turn of a conversation, read: which picture is meant, and what is to change in it.

Pictures are numbered by turn, from 1: `the second one`, `picture 2`, `the last one`, `the original` and `{image2}` all
name one. What is to change is read from plain orders (add, remove, replace, make it blue, move, another background,
with a thing from another picture). Anything else describes the picture anew, and is for the planner to understand.
Pure: no model is asked.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from brushloop.canvas import Box, Element, Plan, PlanStep
from brushloop.errors import InputError

Verb = Literal["add", "remove", "replace", "color", "move", "background", "describe"]


@dataclass(frozen=True)
class Wish:
    """One change. `thing` is what it happens to, in words; `to` what becomes of it: a thing, colour, place or scene."""

    verb: Verb
    thing: str = ""
    to: str = ""
    source: int | None = None
    """The number of the picture that the new thing is taken from."""
    said: str = ""


@dataclass(frozen=True)
class Turn:
    """A turn: wishes upon a picture; or, without any, back to that picture."""

    base: int
    wishes: tuple[Wish, ...]


_TENS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_TEENS = ("eleventh", "twelfth", *(f"{stem}teenth" for stem in ("thir", "four", "fif", "six", "seven", "eigh", "nine")))
_ORDINALS = (*_TENS, *_TEENS, "twentieth")
_KIND = r"(?:one|picture|image|version|turn)"
_NUMBERED = re.compile(
    rf"\{{image(\d+)\}}|\b(?:the\s+)?(?:{_KIND}|number)\s+(\d+)\b"
    rf"|\bthe\s+(\d+)(?:st|nd|rd|th)\b(?:\s+{_KIND})?"
    rf"|\bthe\s+({'|'.join(_ORDINALS)})\b(?:\s+{_KIND})?"
    rf"|\b(?:the\s+)(last|latest|current|newest|previous|original)\s+{_KIND}\b|\b(?:the\s+)(original)\b",
    re.IGNORECASE,
)
_REF = r"\{image(\d+)\}"
_BASED = re.compile(
    rf"^(?:(?:in|on|take|use|from|to|start (?:from|with)|like)\s+)?{_REF}\s*[,:]?\s*(?:but|and|then)?\b\s*"
)
_BACK = re.compile(rf"^(?:go\s+|take me\s+|please\s+)*(?:back|return|revert)\s+to\s+{_REF}$|^{_REF}(?: again)?$")
_UNDO = re.compile(
    r"^undo(?:\s+(?:that|it|this|the last (?:one|turn|change)))?(?:\s+(\w+)\s+(?:turns?|times|changes?))?$"
)
_VERBS = (
    "add|put|draw|remove|erase|delete|take away|without|with|replace|make|color|colour|turn|paint|change|set|move|shift"
)
_SPLIT = re.compile(rf"\s*(?:;|,|\band\b|\bthen\b)+\s*(?=(?:{_VERBS})\b)")
_AND = re.compile(r"\s*(?:,|\band\b)+\s*(?=(?:a|an|one|two|three|four|five|some)\b)")
_THE = re.compile(r"^(?:the|a|an|its|some)\s+")
_RULES: tuple[tuple[Verb, re.Pattern[str]], ...] = (
    ("remove", re.compile(r"^(?:remove|erase|delete|take away|without)\s+(?P<thing>.+)$")),
    ("replace", re.compile(r"^replace\s+(?P<thing>.+?)\s+(?:with|by)\s+(?P<to>.+)$")),
    ("background", re.compile(r"^(?:change|set|make|turn)\s+the\s+background\s+(?:(?:in)?to\s+)?(?P<to>.+)$")),
    (
        "background",
        re.compile(r"^(?:put|set|move)\s+(?:it|everything|it all|them)\s+(?:on|in|at|into|to)\s+(?P<to>.+)$"),
    ),
    (
        "move",
        re.compile(r"^(?:move|shift|put)\s+(?P<thing>the .+?)\s+(?:to the\s+)?(?P<to>left|right|up|down|top|bottom)$"),
    ),
    (
        "replace",
        re.compile(r"^(?:change|turn)\s+(?P<thing>the .+?)\s+(?:in)?to\s+(?P<to>(?:a|an|the|two|three|four)\s.+)$"),
    ),
    ("color", re.compile(r"^(?:make|color|colour|paint|turn|change)\s+(?P<thing>.+?)\s+(?:(?:in)?to\s+)?(?P<to>\w+)$")),
    ("add", re.compile(r"^(?:add|put in|put|draw|paint|with)\s+(?P<to>.+)$")),
)


def read(said: str, pictures: int) -> Turn:
    """A turn after so many pictures.

    Raises:
        InputError: it names a picture that is not there, or says nothing.
    """
    text = " ".join(said.split()).rstrip(".! ")
    if not text:
        raise InputError("nothing was said: say what to change, or which picture to go back to")
    text = _NUMBERED.sub(lambda found: f"{{image{_number(found, pictures)}}}", text)
    low = text[:1].lower() + text[1:]
    if undone := _UNDO.match(low):
        return Turn(_there(pictures - _times(undone[1]), pictures), ())
    if back := _BACK.match(low):
        return Turn(_there(int(back[1] or back[2]), pictures), ())
    base = pictures
    if based := _BASED.match(low):
        base, low = _there(int(based[1]), pictures), low[based.end() :]
    for number in re.findall(_REF, low):
        _there(int(number), pictures)
    return Turn(base, tuple(wish for part in _SPLIT.split(low) if part.strip() for wish in _each(order(part))))


def _each(wish: Wish) -> Iterator[Wish]:
    """`add a cat and a dog` as two wishes."""
    parts = _AND.split(wish.to) if wish.verb == "add" else []
    if len(parts) < 2:
        yield wish
    else:
        yield from (replace(wish, to=part, said=f"add {part}") for part in parts)


def order(part: str) -> Wish:
    """One order, such as `make the cat blue`; what is none of those known describes a picture."""
    part = part.strip(" ,;")
    sources = re.findall(rf"\s+(?:from|of|in)\s+{_REF}", part)
    bare = re.sub(rf"\s+(?:from|of|in)\s+{_REF}", "", part).strip()
    source = int(sources[0]) if sources else None
    for verb, pattern in _RULES:
        found = pattern.match(bare.lower())
        if found:
            parts = {name: found[name] for name in pattern.groupindex}
            return Wish(verb, _THE.sub("", parts.get("thing", "")), parts.get("to", ""), source, bare)
    return Wish("describe", to=part, source=source, said=part)


def _number(found: re.Match[str], pictures: int) -> int:
    braces, number, digits, ordinal, word, original = found.groups()
    if plain := braces or number or digits:
        return int(plain)
    if ordinal:
        return _ORDINALS.index(ordinal.lower()) + 1
    return {"previous": pictures - 1, "original": 1}.get((word or original).lower(), pictures)


def _there(number: int, pictures: int) -> int:
    if not 1 <= number <= pictures:
        known = "there is one picture" if pictures == 1 else f"there are pictures 1 to {pictures}"
        raise InputError(f"there is no picture {number} in this conversation: {known}")
    return number


def _times(word: str | None) -> int:
    numbers = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5}
    return int(word) if word and word.isdigit() else numbers.get(word or "one", 1)


# Things in a plan


def find(plan: Plan, words: str) -> int:
    """Index of the element that is meant: its name is among the words, and as many of its attributes as possible.

    Raises:
        InputError: there is none.
    """
    said = {form for word in re.findall(r"\w+", words.lower()) for form in _forms(word)}
    marks: list[tuple[int, int, int]] = []
    for index, element in enumerate(plan.elements):
        name = re.findall(r"\w+", element.name.lower())
        if element.role == "object" and name and set(name) <= said:
            told = sum(value in said for value in (element.color, element.size) if value)
            marks.append((len(name), told, -index))
    if not marks:
        shown = (
            ", ".join(element.name for element in plan.elements if element.role == "object") or "nothing but a scene"
        )
        raise InputError(f"there is no {words[:40]!r} in that picture: it shows {shown}")
    return -max(marks)[2]


def _forms(word: str) -> set[str]:
    forms = {word, word.removesuffix("s"), word.removesuffix("es")}
    return forms | ({word.removesuffix("ies") + "y"} if word.endswith("ies") else set())


def names(words: str, name: str) -> bool:
    """Whether a thing's name, or a colour, is among words."""
    said = {form for word in re.findall(r"\w+", words.lower()) for form in _forms(word)}
    return set(re.findall(r"\w+", name.lower())) <= said


def bare(phrase: str) -> str:
    """A thing without its article."""
    return _THE.sub("", phrase.strip())


def without(plan: Plan, index: int, kept: int = -1) -> Plan:
    """The plan without an element; steps after number `kept` that would then add nothing go with it.

    Raises:
        InputError: nothing would be left.
    """
    elements = tuple(element for number, element in enumerate(plan.elements) if number != index)
    if not elements:
        raise InputError("nothing would be left in the picture: replace it, or begin another")
    steps = []
    for number, step in enumerate(plan.steps):
        adds = tuple(each - (each > index) for each in step.adds if each != index)
        if adds or not step.adds or number <= kept:
            steps.append(step.model_copy(update={"adds": adds}))
    last = PlanStep(instruction="paint the scene", adds=tuple(range(len(elements))))
    return plan.model_copy(update={"elements": elements, "steps": tuple(steps) or (last,)})


def changed(plan: Plan, index: int, element: Element) -> Plan:
    """The plan with another element in the place of one."""
    elements = tuple(element if number == index else old for number, old in enumerate(plan.elements))
    return plan.model_copy(update={"elements": elements})


def joined(plan: Plan, element: Element, instruction: str) -> Plan:
    """The plan with one more element, added by a step of its own.

    Raises:
        InputError: it has as many as a plan can have.
    """
    if len(plan.elements) >= 64 or len(plan.steps) >= 64:
        raise InputError("the picture holds 64 things, as many as a plan can have: remove one first")
    step = PlanStep(instruction=instruction, adds=(len(plan.elements),))
    return plan.model_copy(update={"elements": (*plan.elements, element), "steps": (*plan.steps, step)})


SMALLER = (1.0, 0.7, 0.45)
"""What a thing may shrink to where it would cover another: about a size of the world less, and two."""
APART = 4
"""Percent that a new thing keeps from others: what is painted fades out over about that much."""


def place(boxes: Sequence[Box], taken: Sequence[Box], scales: Sequence[float] = SMALLER) -> tuple[Box, ...]:
    """Boxes where nothing else is, each as large as fits and as near to where it was wished as possible.

    They are shifted by eighths of the canvas, and keep a little apart. Where even the smallest would cover
    something, the box that covers least is chosen, in the size it was wished.
    """
    found: list[Box] = []
    for box in boxes:
        others = [
            (left - APART, top - APART, right + APART, bottom + APART) for left, top, right, bottom in (*taken, *found)
        ]
        for size in (_scaled(box, scale) for scale in scales):
            if free := [spot for spot in _spots(size) if not _shared(spot, others)]:
                found.append(min(free, key=lambda spot: (math.dist(spot, size), spot)))
                break
        else:
            found.append(min(_spots(box), key=lambda spot: (_shared(spot, others), math.dist(spot, box), spot)))
    return tuple(found)


def _spots(box: Box) -> list[Box]:
    """Every place on the canvas that a box can be shifted to."""
    spots = (shifted(box, across, down) for across in range(-7, 8) for down in range(-7, 8))
    return [spot for spot in spots if spot is not None]


def _scaled(box: Box, scale: float) -> Box:
    """A box of another size around the same middle."""
    x, y = (1 - scale) / 2 * (box[2] - box[0]), (1 - scale) / 2 * (box[3] - box[1])
    return round(box[0] + x), round(box[1] + y), round(box[2] - x), round(box[3] - y)


def shifted(box: Box, across: int, down: int) -> Box | None:
    """A box moved by eighths of the canvas; None if it would leave it."""
    x, y = math.floor(across * 12.5), math.floor(down * 12.5)
    left, top, right, bottom = box[0] + x, box[1] + y, box[2] + x, box[3] + y
    return (left, top, right, bottom) if min(left, top) >= 0 and max(right, bottom) <= 100 else None


def _shared(box: Box, taken: Iterable[tuple[int, int, int, int]]) -> int:
    """Area (percent squared) that a box has in common with others."""
    return sum(
        max(0, min(box[2], other[2]) - max(box[0], other[0])) * max(0, min(box[3], other[3]) - max(box[1], other[1]))
        for other in taken
    )


# The conversation in words


@dataclass(frozen=True)
class Told:
    """A turn as it is told: what was said, from which picture it went on, and what is to be seen since."""

    said: str
    base: int
    shows: str = ""


def tokens(text: str) -> int:
    """About how many tokens a text takes, rather too many: three characters each."""
    return len(text) // 3 + 1


def transcript(told: Sequence[Told], room: int) -> str:
    """The conversation in at most `room` tokens: a line a picture, the older ones in fewer words.

    Words are left out, pictures never: each is named, those of which nothing more can be said as a range.
    """
    detail = [2] * len(told)
    lines = [_told(number, turn, 2) for number, turn in enumerate(told, 1)]
    for level in (1, 0):
        for at in range(len(told)):
            if tokens("\n".join(lines)) <= room:
                return "\n".join(lines)
            detail[at] = level
            lines[at] = _told(at + 1, told[at], level)
    for silent in range(2, len(told) + 1):
        text = "\n".join([f"{{image1}} to {{image{silent}}}: earlier pictures", *lines[silent:]])
        if tokens(text) <= room:
            return text
    return f"{{image1}} to {{image{len(told)}}}: earlier pictures" if told else ""


def _told(number: int, turn: Told, detail: int) -> str:
    said = turn.said if detail else turn.said[:24].rstrip()
    after = f" after {{image{turn.base}}}" if detail and turn.base not in (0, number - 1) else ""
    shows = f"; shows {turn.shows}" if detail == 2 and turn.shows else ""
    return f"{{image{number}}}{after}: {said}{shows}"
