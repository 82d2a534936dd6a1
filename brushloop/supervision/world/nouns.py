"""The nouns of a world: things, how it speaks, and the world itself."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property

from brushloop.errors import InputError
from brushloop.supervision.world import art, backdrops, svg


@dataclass(frozen=True)
class Thing:
    """One kind of object: its name, plural, the icon it is drawn from, and whether it takes a colour."""

    name: str
    plural: str
    icon: str
    tintable: bool = False


def things(table: str) -> tuple[Thing, ...]:
    """Things from a table of words `name:plural:icon`, those ending in * taking a colour.

    An empty plural adds an s, an empty icon is the name; _ stands for a space in names and plurals.
    """
    found = []
    for row in table.split():
        name, plural, icon = row.rstrip("*").split(":")
        spoken, several = name.replace("_", " "), (plural or name + "s").replace("_", " ")
        found.append(Thing(spoken, several, icon or name.replace("_", "-"), row.endswith("*")))
    return tuple(found)


@dataclass(frozen=True)
class Speech:
    """How a world is spoken of. Without `leads` a prompt is put together as the small world's always were."""

    scenery: Mapping[str, str]
    """Backgrounds as things: `a meadow`."""
    settings: Mapping[str, tuple[str, ...]]
    """Backgrounds as places: `in a meadow`."""
    between: Mapping[str, tuple[str, ...]]
    """Relations, from the subject to the other."""
    leads: tuple[str, ...] = ()
    """Whole prompts around what is said of the scene, `{}`."""
    listings: tuple[str, ...] = ()
    """Two things as one phrase, `{a}` and `{b}`."""
    styled: tuple[str, ...] = ()
    """A prompt `{}` with the name of its style, `{style}`."""
    synonyms: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    """Other names of objects, each with its plural."""
    tones: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Other names of colours."""
    manners: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Other names of styles."""
    sizes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Other names of sizes."""
    numbers: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """Other ways to say how many."""

    @property
    def phrasings(self) -> list[tuple[str, str]]:
        """Every phrasing with what it is for: `leads`, `listings`, `styled`, a background or a relation."""
        several = {"leads": self.leads, "listings": self.listings, "styled": self.styled}
        kinds = {**several, **self.settings, **self.between}
        return [(kind, each) for kind, options in kinds.items() for each in dict.fromkeys(options)]

    @cached_property
    def held_out(self) -> frozenset[tuple[str, str]]:
        """Phrasings that training never says: up to a quarter of each kind, those with the lowest hashes.

        The first of each kind is not among them, and only what is said in words that training does say elsewhere is
        (`wishes.held_out` tells why). A world that has but one way to put a prompt together holds none out.
        """
        if not self.leads:
            return frozenset()
        ranked = sorted(self.phrasings, key=lambda each: hashlib.sha256(f"say {each}".encode()).digest())
        first = set({kind: (kind, each) for kind, each in reversed(self.phrasings)}.values())
        held: set[tuple[str, str]] = set()
        for kind, each in ranked:
            rest = {other for other in ranked if other != (kind, each)} - held
            known = {word for _, other in rest for word in other.split()}
            number, gone = (sum(other == kind for other, _ in some) for some in (ranked, held))
            if gone < number // 4 and (kind, each) not in first and set(each.split()) <= known:
                held.add((kind, each))
        return frozenset(held)

    def choose(self, rng: random.Random, kind: str, options: Sequence[str], training: bool = True) -> str:
        """One of the phrasings of a kind; for training none that is held out, otherwise one of those in half."""
        usual = [each for each in options if (kind, each) not in self.held_out]
        others = [each for each in options if (kind, each) in self.held_out]
        return rng.choice(others if others and not training and rng.random() < 0.5 else usual)


@dataclass(frozen=True)
class Names:
    """What there is to be told apart, in an order that the outputs of a detector keep."""

    objects: tuple[str, ...]
    colors: tuple[str, ...]
    backgrounds: tuple[str, ...]
    styles: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{len(self.objects)} objects, {len(self.colors)} colours, {len(self.backgrounds)} backgrounds, "
            f"{len(self.styles)} styles"
        )

    def lacks(self, other: Names) -> list[str]:
        """What the other names and this does not."""
        return [name for kind, known in asdict(self).items() for name in getattr(other, kind) if name not in set(known)]


@dataclass(frozen=True, eq=False)
class World:
    """All that can be sampled: what there is, how it is drawn and spoken of, and how much training never sees."""

    name: str
    things: tuple[Thing, ...]
    styles: tuple[str, ...]
    backgrounds: tuple[str, ...]
    colors: tuple[str, ...]
    speech: Speech
    held_out: int = 4
    """Percent of the combinations (object pairs, counts, colours, relations …) that training never sees."""
    tinted: float = 0.7
    """How many of the objects that take a colour are asked for in one, where a scene leaves that open."""

    @cached_property
    def by_name(self) -> dict[str, Thing]:
        """Things by their names, in order."""
        return {thing.name: thing for thing in self.things}

    @cached_property
    def tintable(self) -> tuple[str, ...]:
        """Names of the objects that take a colour."""
        return tuple(thing.name for thing in self.things if thing.tintable)

    @cached_property
    def names(self) -> Names:
        """What there is to be told apart."""
        return Names(tuple(self.by_name), self.colors, self.backgrounds, self.styles)

    def part(self, name: str, objects: Iterable[str], styles: Iterable[str] = (), held_out: int = 20) -> World:
        """A part of this world: experiments whose models are too small for all of it sample there.

        It has so few combinations that each category needs a larger share held out.

        Raises:
            InputError: this world has no such object or style.
        """
        some, manners = tuple(objects), tuple(styles) or self.styles
        strange = [each for each in some if each not in self.by_name] + [s for s in manners if s not in self.styles]
        if strange:
            raise InputError(f"the world {self.name!r} has no {', '.join(strange)}: name what it has")
        kept = tuple(thing for thing in self.things if thing.name in some)
        shown = tuple(style for style in self.styles if style in manners)
        return replace(self, name=f"{self.name}/{name}", things=kept, styles=shown, held_out=held_out)

    @cached_property
    def digest(self) -> str:
        """Twelve hex digits that change with anything in this world: names, drawings, colours, ways to say it."""
        told = {
            "things": [asdict(thing) for thing in self.things],
            "drawings": [svg.icon(thing.name, style) for style in self.styles for thing in self.things],
            "backgrounds": {name: backdrops.code(name) for name in self.backgrounds},
            "colors": {name: art.PALETTE[name] for name in self.colors},
            "speech": asdict(self.speech),
            "held out": self.held_out,
        }
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]
