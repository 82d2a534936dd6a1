"""Makings of the embedded world: vector art drawn layer by layer, in the domains that it can teach honestly.

The artist's own document order is the order of painting. Each domain is a list of phases, and a phase turns a share
of its work done (0-1) into a picture, so that a making can be cut into any number of frames. Frames are RGB squares;
the last one is the finished work.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from brushloop.supervision.world import art, scenes, svg, words
from brushloop.supervision.world.worlds import current

Look = Literal["paint", "line"]
Phase = tuple[int, Callable[[float], Image.Image]]
"""How many of the domain's usual frames it takes, and the picture when a share of it is done."""

INK, PENCIL, GUIDE = (34, 34, 40), (150, 150, 156), (150, 190, 235)


@dataclass(frozen=True)
class Making:
    """One making: what is made, and its frames in the order of time."""

    domain: str
    prompt: str
    frames: tuple[Image.Image, ...]


def make(domain: str, rng: random.Random, frames: int, size: int, *, training: bool = True) -> Making:
    """A random making with `frames` frames of `size` x `size` pixels.

    Args:
        domain: one of `DOMAINS`.
        rng: decides what is made, and how it stands.
        frames: how many; the usual number is the domain's.
        size: of a frame, in pixels.
        training: whether to make what training may see, or what is held out from it.

    Raises:
        ValueError: a domain that vector art does not teach.
    """
    if domain not in DOMAINS:
        raise ValueError(f"no makings of {domain!r}; there are {', '.join(DOMAINS)}")
    if domain == "landscape illustration":
        return landscape(rng, frames, size, training)
    names = [thing.name for thing in current().things if held_out(thing.name) != training]
    subject = Subject(
        rng.choice(names), "soft" if domain == "emoji" else rng.choice(current().styles), size,
        round(size * rng.choice((0.7, 0.8, 0.9))), (rng.uniform(0.3, 0.7), rng.uniform(0.3, 0.7)),
        rng.random() < 0.5, rng.choice(PAPERS),
    )  # fmt: skip
    return Making(domain, f"{words.a_or_an(subject.name)} {subject.name}", cut(DOMAINS[domain](subject), frames))


def cut(phases: Sequence[Phase], frames: int) -> tuple[Image.Image, ...]:
    """Frames at even distances; the last one is when all is done."""
    total, made = sum(weight for weight, _ in phases), []
    for number in range(1, frames + 1):
        at = number * total / frames
        for weight, draw in phases:
            if at <= weight + 1e-9:
                made.append(draw(min(1.0, at / weight)))
                break
            at -= weight
    return tuple(made)


def held_out(name: str) -> bool:
    """Whether an object's makings are kept from training: one object in eight, by the hash of its name."""
    return hashlib.sha256(f"process|{name}".encode()).digest()[0] % 8 == 0


PAPERS = ((255, 255, 255), (250, 246, 238), (226, 240, 250), (252, 238, 214), (232, 246, 230))


# Layers ---------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=16384)
def drawing(name: str, style: str, look: Look, layers: int, size: int) -> Image.Image:
    """The first `layers` layers of an object, RGBA, `size` x `size` pixels."""
    root = svg.parse(svg.icon(name, style))
    shapes = svg.keep(root, layers)
    width = float(root.attrib["viewBox"].split()[2])
    if look == "line":
        for shape in shapes:
            closed = shape.get("fill") != "none"
            shape.attrib.pop("opacity", None)
            shape.attrib.update(
                {"fill": "#ffffff" if closed else "none", "stroke": "#{:02x}{:02x}{:02x}".format(*INK)}
                | {"stroke-width": f"{width * 0.025:g}", "stroke-linejoin": "round"}
            )
    return svg.raster(root, size)


@lru_cache(maxsize=256)
def layers_of(name: str, style: str) -> int:
    """How many layers an object is drawn with."""
    return len(svg.shapes(svg.parse(svg.icon(name, style))))


def sweep(before: Image.Image, after: Image.Image, share: float) -> Image.Image:
    """`after` where a hand that works from the top left has come by, `before` elsewhere; both RGBA or both RGB."""
    if share >= 1:
        return after
    changed = np.flatnonzero((np.asarray(before) != np.asarray(after)).any(-1))
    if not len(changed) or share <= 0:
        return before
    width = before.width
    order = changed[np.argsort(changed // width + changed % width * 0.5, kind="stable")]
    mask = np.zeros(before.width * before.height, np.uint8)
    mask[order[: round(len(order) * share)]] = 255
    made = before.copy()
    made.paste(after, (0, 0), Image.fromarray(mask.reshape(before.height, before.width)))
    return made


@dataclass(frozen=True)
class Subject:
    """An object of the world and where it stands on the paper."""

    name: str
    style: str
    canvas: int
    """Side of the paper in pixels."""
    size: int
    """Side of the object's square."""
    place: tuple[float, float]
    """Of the free room: how much of it is at the left, and above (0-1)."""
    mirrored: bool
    paper: tuple[int, int, int]

    @property
    def corner(self) -> tuple[int, int]:
        """Left and top of the object's square."""
        room = self.canvas - self.size
        return round(room * self.place[0]), round(room * self.place[1])

    def sheet(self) -> Image.Image:
        """The empty paper."""
        return Image.new("RGB", (self.canvas, self.canvas), self.paper)

    def drawn(self, look: Look, share: float) -> Image.Image:
        """The object with a share of its layers drawn, RGBA, as large as the paper."""
        at = share * layers_of(self.name, self.style)
        done = min(int(at + 1e-9), layers_of(self.name, self.style))
        picture = drawing(self.name, self.style, look, done, self.size)
        if at - done > 1e-6:
            after = drawing(self.name, self.style, look, done + 1, self.size)
            picture = sweep(picture, after, at - done)
        if self.mirrored:
            picture = ImageOps.mirror(picture)
        whole = Image.new("RGBA", (self.canvas, self.canvas))
        whole.paste(picture, self.corner)
        return whole

    def lines(self, share: float, color: tuple[int, int, int]) -> Image.Image:
        """The outlines only, RGBA."""
        drawn = np.asarray(self.drawn("line", share)).astype(np.float32)
        ink = drawn[..., 3] * (1 - drawn[..., :3].mean(-1) / 255) / (1 - sum(INK) / 765)
        solid = Image.new("RGBA", (self.canvas, self.canvas), (*color, 0))
        solid.putalpha(Image.fromarray(ink.clip(0, 255).astype(np.uint8)))
        return solid

    def over(self, below: Image.Image, *pictures: Image.Image) -> Image.Image:
        """Pictures laid one over the other on `below`, RGB."""
        made = below.convert("RGBA")
        for picture in pictures:
            made.alpha_composite(picture)
        return made.convert("RGB")


# The domains ----------------------------------------------------------------------------------------------------


def icon(subject: Subject) -> list[Phase]:
    """Guides, then outlines, then fills layer by layer; at last the guides are removed."""
    paper, outlines = subject.sheet(), subject.lines(1, PENCIL)
    guides = _guides(subject, paper)
    final = subject.over(paper, subject.drawn("paint", 1))
    return [
        (1, lambda share: sweep(paper, guides, share)),
        (2, lambda share: subject.over(guides, subject.lines(share, PENCIL))),
        (5, lambda share: subject.over(guides, outlines, subject.drawn("paint", share))),
        (1, lambda share: sweep(subject.over(guides, outlines, subject.drawn("paint", 1)), final, share)),
    ]


def emoji(subject: Subject) -> list[Phase]:
    """Layer by layer, as the artist drew it."""
    return [(4, lambda share: subject.over(subject.sheet(), subject.drawn("paint", share)))]


def line_draw(subject: Subject) -> list[Phase]:
    """Outlines only, from the first layer to the last."""
    return [(4, lambda share: subject.over(subject.sheet(), subject.lines(share, INK)))]


def illustration(subject: Subject) -> list[Phase]:
    """Line art, then colour under the lines layer by layer; at last the lines are inked."""
    paper, draft = subject.sheet(), subject.lines(1, PENCIL)
    colored = subject.over(paper, subject.drawn("paint", 1))
    pencilled, inked = subject.over(colored, draft), subject.over(colored, subject.lines(1, INK))
    return [
        (3, lambda share: subject.over(paper, subject.lines(share, PENCIL))),
        (5, lambda share: subject.over(paper, subject.drawn("paint", share), draft)),
        (1, lambda share: sweep(pencilled, inked, share)),
    ]


def sketch(subject: Subject) -> list[Phase]:
    """Construction lines, a pale outline, a dark one, then hatching from the darkest tones to the light ones."""
    paper = subject.sheet()
    built = _guides(subject, paper, PENCIL)
    outlined = subject.over(built, subject.lines(1, PENCIL))
    dark = subject.over(outlined, subject.lines(1, INK))
    tones = [_hatched(subject, dark, depth) for depth in range(5)]
    return [
        (1, lambda share: sweep(paper, built, share)),
        (2, lambda share: subject.over(built, subject.lines(share, PENCIL))),
        (2, lambda share: subject.over(outlined, subject.lines(share, INK))),
        (4, lambda share: sweep(tones[min(3, int(share * 4))], tones[min(3, int(share * 4)) + 1], _part(share * 4, 3))),
    ]


def lego(subject: Subject) -> list[Phase]:
    """A base plate, then bricks from the lowest row to the highest, each row from left to right."""
    count = 12
    brick = subject.canvas // count
    whole = subject.drawn("paint", 1).resize((count, count), Image.Resampling.BOX)
    colors, solid = np.asarray(whole.convert("RGB")), np.asarray(whole.getchannel("A")) > 110
    places = [(row, column) for row in reversed(range(count)) for column in range(count) if solid[row, column]]
    top = subject.canvas - brick * count

    def built(share: float) -> Image.Image:
        picture = plated.copy()
        pen = ImageDraw.Draw(picture)
        for row, column in places[: round(len(places) * share)]:
            color = tuple(int(part) for part in colors[row, column])
            left, up = column * brick, top + row * brick
            shade, light = (tuple(int(part * 0.72) for part in color), tuple(int(255 - (255 - c) * 0.7) for c in color))
            pen.rectangle([left, up, left + brick - 1, up + brick - 1], fill=color, outline=shade)
            pen.rectangle([left + brick // 3, up + 1, left + brick - brick // 3 - 1, up + brick // 3], fill=light)
        return picture

    paper = subject.sheet()
    plated = paper.copy()
    pen = ImageDraw.Draw(plated)
    pen.rectangle([0, subject.canvas - max(2, brick // 2), subject.canvas, subject.canvas], fill=(120, 150, 110))
    return [(1, lambda share: sweep(paper, plated, share)), (8, built)]


def landscape(rng: random.Random, frames: int, size: int, training: bool) -> Making:
    """Sky, then ground, then the things that stand in it, from far to near."""
    while True:
        scene = scenes.sample_split(rng, training)
        if scene.background != "plain" and (not training or not any(held_out(t.name) for t in scene.elements[1:])):
            break
    ground = scenes.backdrop(scene.background, scene.variant % 16, size).convert("RGB")
    paper = Image.new("RGB", (size, size), rng.choice(PAPERS))
    half = paper.copy()
    half.paste(ground.crop((0, 0, size, round(size * 0.55))), (0, 0))
    things = [(thing, box) for thing in scene.elements[1:] for box in thing.boxes]
    things.sort(key=lambda pair: pair[1][3])
    states = [ground]
    for thing, box in things:
        left, top, right, bottom = scenes.pixels(scenes.drawn(box, thing.name, scene.style), size)
        picture = art.sprite(thing.name, scene.style, thing.color, right - left, bottom - top)
        below = states[-1].copy()
        below.paste(picture, (left, top), picture)
        states.append(below)

    def placed(share: float) -> Image.Image:
        at = share * len(things)
        done = min(int(at), len(things) - 1)
        return sweep(states[done], states[done + 1], _part(at, len(things) - 1))

    phases: list[Phase] = [
        (3, lambda share: _rows(paper, half, share)),
        (2, lambda share: _rows(half, ground, share)),
        (4, placed),
    ]
    return Making("landscape illustration", words.prompt(scene, rng)[0], cut(phases, frames))


DOMAINS: dict[str, Callable[[Subject], list[Phase]]] = {
    "lego": lego,
    "icon": icon,
    "landscape illustration": lambda subject: [],  # made of scenes, not of one subject
    "illustration": illustration,
    "sketch": sketch,
    "line draw": line_draw,
    "emoji": emoji,
}
"""The domains that vector art teaches, and how a subject is made in each."""


def _part(at: float, last: int) -> float:
    """How much of the piece that is being worked on is done, when `at` pieces are; `last` is the last piece."""
    return at - min(int(at), last)


def _rows(before: Image.Image, after: Image.Image, share: float) -> Image.Image:
    """`after` down to a share of the rows in which the two differ."""
    rows = np.flatnonzero((np.asarray(before) != np.asarray(after)).any((1, 2)))
    made = before.copy()
    if len(rows) and share > 0:
        end = int(rows[max(0, round(len(rows) * share) - 1)]) + 1
        made.paste(after.crop((0, 0, after.width, end)), (0, 0))
    return after if share >= 1 else made


def _guides(subject: Subject, paper: Image.Image, color: tuple[int, int, int] = GUIDE) -> Image.Image:
    """The square in which the object stands, its middle lines, and the circle in it."""
    picture, (left, top) = paper.copy(), subject.corner
    right, bottom = left + subject.size - 1, top + subject.size - 1
    pen = ImageDraw.Draw(picture)
    pen.rectangle([left, top, right, bottom], outline=color)
    pen.ellipse([left, top, right, bottom], outline=color)
    pen.line([(left + right) // 2, top, (left + right) // 2, bottom], fill=color)
    pen.line([left, (top + bottom) // 2, right, (top + bottom) // 2], fill=color)
    return picture


def _hatched(subject: Subject, below: Image.Image, depth: int) -> Image.Image:
    """The sketch with the `depth` darkest fifths of the object hatched; the lightest stays paper."""
    final = subject.drawn("paint", 1)
    tone = np.asarray(final.convert("L")).astype(int)
    inside = np.asarray(final.getchannel("A")) > 128
    rank = np.zeros(tone.shape)
    rank[inside] = np.argsort(np.argsort(tone[inside], kind="stable")) / max(1, inside.sum())
    rows, columns = np.indices(tone.shape)
    made = np.asarray(below).copy()
    for level in range(depth):
        stripe = (rows + columns if level % 2 == 0 else rows - columns) % (2 + level) == 0
        made[inside & (rank >= level / 5) & (rank < (level + 1) / 5) & stripe] = (70 + 18 * level,) * 3
    return Image.fromarray(made)
