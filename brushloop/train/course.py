"""Folders of process records as training data: every target in reach by its number, drawn by chance.

A folder is read through once, so that a broken record is told before training begins; afterwards records and pictures
are read when they are drawn, each picture held against its hash.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Generic, TypeVar

from brushloop.errors import InputError
from brushloop.painter.tokens import SIDE, Window
from brushloop.supervision.process import See
from brushloop.supervision.records import LINES, Record, RecordFolder, read_record
from brushloop.supervision.targets import Saying, Stroke, sayings, strokes

T = TypeVar("T", Stroke, Saying)


@dataclass(frozen=True)
class Place:
    """Where a target lies: folder, byte of its record's line, and its number among that record's targets."""

    folder: int
    byte: int
    number: int


@dataclass
class Shelf(Generic[T]):
    """Targets of one folder in groups that may share a batch."""

    groups: dict[Hashable, list[Place]] = field(default_factory=lambda: defaultdict(list))

    def __len__(self) -> int:
        return sum(map(len, self.groups.values()))


class Course:
    """Record folders and how much of each is met.

    Args:
        folders: of records, and the share of targets that each gives.

    Raises:
        InputError: a folder holds no records, or a share is not positive.
        CorruptObjectError, VersionError: a record is broken; the message names the line and the field.
    """

    def __init__(self, folders: Sequence[tuple[Path, float]]) -> None:
        self.folders = [RecordFolder.open(path) for path, _ in folders]
        self.shares = [share for _, share in folders]
        if not folders or min(self.shares) <= 0:
            raise InputError("name at least one folder of records, as FOLDER or FOLDER=SHARE with a share above 0")
        self.strokes: list[Shelf[Stroke]] = [Shelf() for _ in folders]
        self.plans: list[Shelf[Saying]] = [Shelf() for _ in folders]
        self.looks: list[Shelf[Saying]] = [Shelf() for _ in folders]
        self.first: list[tuple[Stroke, See]] = []
        """A few strokes to look at, from as many records."""
        for number in range(len(folders)):
            self._read(number)

    def _read(self, number: int) -> None:
        path, byte = self.folders[number].path / LINES, 0
        with path.open("rb") as file:
            for row, line in enumerate(file):
                record = read_record(line.rstrip(b"\n"), f"record {row} (line {row + 1} of {path})")
                for index, stroke in enumerate(strokes(record)):
                    self.strokes[number].groups[form(stroke)].append(Place(number, byte, index))
                    if index == min(1, row % 2) and len(self.first) < 4:
                        self.first.append((stroke, partial(self.folders[number].image, record=record)))
                for index, saying in enumerate(sayings(record)):
                    shelf = self.plans if saying.kind == "plan" else self.looks
                    shelf[number].groups[saying.kind].append(Place(number, byte, index))
                byte += len(line)

    def draw_strokes(self, rng: random.Random, number: int) -> list[tuple[Stroke, See]]:
        """A batch of strokes of one form (see `form`), with replacement; and how the pictures of each are read."""
        places = _drawn(rng, self.strokes, self.shares, number)
        return [(list(strokes(self._record(place)))[place.number], self._see(place)) for place in places]

    def draw_sayings(self, rng: random.Random, kind: str, number: int) -> list[tuple[Saying, See]]:
        """A batch of plans or looks, with replacement; and how the pictures of each are read."""
        places = _drawn(rng, self.plans if kind == "plan" else self.looks, self.shares, number)
        return [(list(sayings(self._record(place)))[place.number], self._see(place)) for place in places]

    def _record(self, place: Place) -> Record:
        return _line(self.folders[place.folder].path / LINES, place.byte)

    def _see(self, place: Place) -> See:
        return partial(self.folders[place.folder].image, record=self._record(place))


def form(stroke: Stroke) -> Hashable:
    """What strokes of one batch have in common: the size, whether there is a canvas, and the window around it."""
    window = Window.around(stroke.regions) if stroke.canvas else Window()
    small = (stroke.picture.width, stroke.picture.height) == (16 * SIDE, 16 * SIDE)
    return stroke.picture.width, stroke.picture.height, stroke.canvas is not None, window if small else Window()


def folders(texts: Sequence[str]) -> list[tuple[Path, float]]:
    """`data/mixed`, or `data/sampled=0.5`: folders with their shares, 1 if none is named.

    Raises:
        InputError: a share is no number.
    """
    found = []
    for text in texts:
        path, _, share = text.partition("=")
        try:
            found.append((Path(path), float(share or 1)))
        except ValueError:
            raise InputError(f"the share of records in {path} is {share!r}: give a number") from None
    return found


def _drawn(rng: random.Random, shelves: Sequence[Shelf[T]], shares: Sequence[float], number: int) -> list[Place]:
    weights = [share if len(shelf) else 0.0 for shelf, share in zip(shelves, shares, strict=True)]
    if not any(weights):
        return []
    shelf = rng.choices(shelves, weights)[0]
    groups = list(shelf.groups.values())
    group = rng.choices(groups, list(map(len, groups)))[0]
    return rng.choices(group, k=number)


@lru_cache(maxsize=4096)
def _line(path: Path, byte: int) -> Record:
    with path.open("rb") as file:
        file.seek(byte)
        return read_record(file.readline().rstrip(b"\n"), f"the record at byte {byte} of {path}")
