"""One process record: everything said and shown while one picture was made, and which parts of it teach.

The same schema describes text to process, picture to process, edits, and creations made by the loop. A record is a
list of turns in the order in which they happened; each turn may say something (text, and the same as a noun), show a
picture, and look back at an earlier turn's picture. A folder of records is

    records.jsonl              one record a line, all fields written
    objects/<aa>/<hash>.png    the pictures they name, under the SHA-256 of their bytes

docs/data.md tells every field. `supervision.formats` turns such a folder into tar shards or a dataset and back.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from brushloop.canvas import (
    MAX_PROMPT,
    Box,
    Correction,
    Critique,
    Digest,
    Element,
    Frame,
    ModelRef,
    Noun,
    Plan,
    Task,
)  # fmt: skip
from brushloop.errors import BrushloopError, CorruptObjectError, InputError, MissingObjectError, VersionError
from brushloop.files import LocalFiles
from brushloop.objects import Objects
from brushloop.record import version_of

if TYPE_CHECKING:
    from PIL.Image import Image

RECORD_VERSION = 1
"""Version of this schema. A reader refuses records of a later version."""

LINES = "records.jsonl"
"""Name of the file of records in their folder."""


class TurnKind(StrEnum):
    """What a turn is: given from outside, or one of the loop's four acts, or its end."""

    GIVEN = "given"
    PLAN = "plan"
    STATE = "state"
    REFLECTION = "reflection"
    REFINEMENT = "refinement"
    FINISH = "finish"


Maker = Literal["model", "person", "renderer", "artist", "detector"]
"""Who said or showed something: a model of the loop, a person, the small world, vector art, or a detector."""


class Loss(Noun):
    """Which parts of a turn are targets of a training loss; the other parts are context only."""

    text: bool = False
    """Cross-entropy on the text, or on the noun written as JSON."""
    picture: bool = False
    """Flow-matching error on the picture."""


class Truth(Noun):
    """What is known to be so of a turn's picture, whoever said what of it."""

    by: Maker
    elements: tuple[Element, ...] = ()
    """What is in the picture, the background first; empty when only the critique is known."""
    critique: Critique | None = None
    """What a critic should say of it, held against the plan so far."""


class Turn(Noun):
    """One thing said or shown."""

    kind: TurnKind
    by: Maker
    text: str = ""
    picture: Frame | None = None
    mask: Frame | None = None
    """White where the picture may change; only with pictures that a person gave."""
    of: Annotated[int, Field(ge=0)] | None = None
    """The earlier turn whose picture this one judges, or goes on from."""
    regions: tuple[Box, ...] = ()
    """Where a state or refinement may differ from the picture it goes on from; empty means everywhere."""
    plan: Plan | None = None
    critique: Critique | None = None
    correction: Correction | None = None
    plan_step: Annotated[int, Field(ge=0)] | None = None
    """How far the plan in force has come."""
    loss: Loss = Loss()
    truth: Truth | None = None
    model: ModelRef | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    denoising_steps: int | None = None
    drift: float | None = None
    """Mean absolute difference (0-1) that a painter made outside the regions, before it was pasted back."""
    step: Digest | None = None
    """The step of a creation that this turn tells of."""


class Source(Noun):
    """Where a record comes from, and what one may do with it."""

    name: str
    """The builder, or `loop` for creations."""
    licence: str
    """An SPDX expression; `LicenseRef-user` for what people gave to the loop."""
    attribution: tuple[str, ...] = ()
    """Who made what the pictures are drawn from."""
    creation: str | None = None
    """Id of the creation that a record tells of."""
    labelled_by: ModelRef | None = None
    """The detector behind a truth."""


class Record(Noun):
    """How one picture was made."""

    version: int = RECORD_VERSION
    id: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[\w-]+$")]
    task: Task
    split: Literal["train", "test"] = "train"
    held_out: tuple[str, ...] = ()
    """What this record shows or says that no record of the training split does."""
    prompt: Annotated[str, Field(max_length=MAX_PROMPT)]
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    layout: Literal[4, 9] | None = None
    """The states are the frames of a serpentine grid of so many cells."""
    turns: Annotated[tuple[Turn, ...], Field(min_length=1)]
    source: Source

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        plan: Plan | None = None
        for number, turn in enumerate(self.turns):
            plan = turn.plan or plan
            if turn.of is not None and (turn.of >= number or self.turns[turn.of].picture is None):
                raise ValueError(f"turns.{number}.of is {turn.of}, which is no earlier turn with a picture")
            if turn.loss.picture and turn.picture is None:
                raise ValueError(f"turns.{number}.loss.picture is true, but the turn has no picture")
            if turn.loss.text and not (turn.text or turn.plan or turn.critique or turn.correction):
                raise ValueError(f"turns.{number}.loss.text is true, but the turn says nothing")
            if plan and turn.plan_step is not None and turn.plan_step >= len(plan.steps):
                raise ValueError(f"turns.{number}.plan_step is {turn.plan_step}, the plan has {len(plan.steps)} steps")
        frames = sum(turn.kind is TurnKind.STATE for turn in self.turns)
        if self.layout is not None and frames != self.layout:
            raise ValueError(f"layout is {self.layout}, but {frames} turns are states")
        return self

    @property
    def pictures(self) -> tuple[Frame, ...]:
        """Every picture and mask it names, each once, in order."""
        named = (frame for turn in self.turns for frame in (turn.picture, turn.mask) if frame)
        return tuple(dict.fromkeys(named))

    def line(self) -> bytes:
        """The record as one line of JSON, every field written (so that columns have types), without the newline."""
        return self.model_dump_json().encode()


def read_record(data: str | bytes, what: str) -> Record:
    """Read a record from its JSON; `what` names it in errors.

    Raises:
        VersionError: a later version of brushloop wrote it.
        CorruptObjectError: it is no record; the message names the field.
    """
    version = version_of(data)
    if version is not None and version > RECORD_VERSION:
        raise VersionError(
            f"{what} has format {version}, and this brushloop reads up to {RECORD_VERSION}: upgrade brushloop"
        )
    try:
        return Record.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(map(str, first["loc"])) or "the record"
        raise CorruptObjectError(f"{what}: {field}: {first['msg']}; mend that line or build it again") from None


class RecordFolder:
    """Records and their pictures in a local folder. Nothing is created before the first write."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._files = LocalFiles(str(path))
        self.objects = Objects(self._files)

    @classmethod
    def open(cls, path: str | Path) -> RecordFolder:
        """A folder that must be there.

        Raises:
            InputError: it holds no records.
        """
        folder = cls(path)
        if not (folder.path / LINES).is_file():
            raise InputError(f"{path} is no folder of records: it has no {LINES}; brushloop data build makes one")
        return folder

    def put(self, image: Image) -> Frame:
        """Keep a picture. Put all pictures of a record before the record."""
        return self.objects.put_image(image)

    def image(self, frame: Frame, record: Record | None = None) -> Image:
        """Read a picture, hashed again; an error names the record.

        Raises:
            MissingObjectError: it is not there.
            CorruptObjectError: its bytes do not have its hash.
        """
        try:
            return self.objects.get_image(frame)
        except (MissingObjectError, CorruptObjectError) as error:
            raise type(error)(f"record {record.id}: {error}" if record else str(error)) from error

    def append(self, record: Record) -> None:
        """Add a record as the last line."""
        self._files.append(LINES, record.line())

    def __iter__(self) -> Iterator[Record]:
        """Every record, in order.

        Raises:
            CorruptObjectError, VersionError: names the line and the field.
        """
        for number, line in enumerate(self._lines()):
            yield read_record(line, f"record {number} (line {number + 1} of {self.path / LINES})")

    def __len__(self) -> int:
        return sum(1 for _ in self._lines())

    def problems(self) -> Iterator[str]:
        """What is wrong with the records and their pictures, a line for each thing, all of them read and hashed."""
        known: set[str] = set()
        seen: set[Digest] = set()
        for number, line in enumerate(self._lines()):
            try:
                record = read_record(line, f"record {number} (line {number + 1} of {self.path / LINES})")
            except BrushloopError as error:
                yield str(error)
                continue
            if record.id in known:
                yield f"record {number} (line {number + 1} of {self.path / LINES}): id: {record.id} was there before"
            known.add(record.id)
            for frame in record.pictures:
                if frame.hash not in seen:
                    seen.add(frame.hash)
                    try:
                        self.image(frame, record)
                    except BrushloopError as error:
                        yield str(error)

    def mend(self) -> int:
        """Cut off a last line that a killed process left torn, and return how many records there are."""
        path = self.path / LINES
        if not path.exists():
            return 0
        data = path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if whole != data:
            self._files.write(LINES, whole)
        return whole.count(b"\n")

    def _lines(self) -> Iterator[bytes]:
        try:
            with open(self.path / LINES, "rb") as file:
                for line in file:
                    yield line.rstrip(b"\n")
        except FileNotFoundError:
            return
