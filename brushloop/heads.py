"""Heads: which step is the newest of each creation, and where it was before.

    heads/<id>.jsonl    a line each time the head moves; the last one counts
    heads/<id>.seal     with a signing key: how many lines there are and their hash, signed

Each line is signed by itself, with the number of steps it leads to, so nobody without the key can add or
change one; the seal keeps anybody from reordering them or cutting some off. The seal is written after the
line: a killed process leaves at most one signed line more than was sealed, and the next move seals it too.
"""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from typing import Annotated, TypeVar

from pydantic import Field, ValidationError

from brushloop.canvas import Digest, Noun
from brushloop.errors import CorruptObjectError, UnknownCreationError
from brushloop.files import Files
from brushloop.seal import SIGNATURE, key

ID = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
CreationId = Annotated[str, Field(pattern=rf"^{ID.pattern}$")]
"""Name of a creation: lower-case letters, digits and dashes, so that it is safe as a file name."""


class Signed(Noun):
    """A line that a key may sign."""

    id: CreationId
    signature: Annotated[str, Field(pattern=SIGNATURE)] | None = None

    @property
    def line(self) -> bytes:
        """As it stands in the file."""
        return self.model_dump_json(exclude_none=True).encode() + b"\n"

    @property
    def signed(self) -> bytes:
        """What is signed: the line without its signature, under the name of its kind."""
        return type(self).__name__.encode() + b" " + self.model_copy(update={"signature": None}).line


T = TypeVar("T", bound=Signed)


class Head(Signed):
    """A creation's entry in the store. `root` is where it began: its brief, or the step it was forked from."""

    root: Digest
    head: Digest
    created: datetime
    updated: datetime
    steps: Annotated[int, Field(ge=1)] | None = None
    """Length of the chain, where a key signs it."""


class Seal(Signed):
    """What a key says of all moves so far."""

    moves: Annotated[int, Field(ge=1)]
    digest: Digest
    """SHA-256 of those lines."""


class Heads:
    """The head files of a store."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def where(self, id: str) -> str:
        """Local path or URL of a creation's file."""
        return self._files.where(_jsonl(id))

    def ids(self) -> list[str]:
        """Every creation, whether its head can be read or not."""
        names = (name.removesuffix(".jsonl") for name in self._files.names("heads") if name.endswith(".jsonl"))
        return [name for name in names if ID.fullmatch(name)]

    def newest(self, id: str) -> Head:
        """The last line that can be read.

        Raises:
            UnknownCreationError: no creation of that id.
            CorruptObjectError: no line can be read.
        """
        for line in reversed(self.read(id).splitlines()):
            if known := _head(line, id):
                return known
        raise CorruptObjectError(
            f"the head of creation {id} at {self.where(id)} is damaged: brushloop repair {id} finds its steps again"
        )

    def moves(self, id: str) -> list[Head]:
        """Every place where the head was, the oldest first; damaged lines are passed over.

        Raises:
            UnknownCreationError: no creation of that id.
        """
        return [known for line in self.read(id).splitlines() if (known := _head(line, id))]

    def torn(self, id: str) -> bool:
        """Whether the last line is damaged."""
        lines = self.read(id).splitlines()
        return not lines or _head(lines[-1], id) is None

    def read(self, id: str) -> bytes:
        """The whole file.

        Raises:
            UnknownCreationError: no creation of that id.
        """
        try:
            return self._files.read(_jsonl(id))
        except FileNotFoundError:
            raise UnknownCreationError(f"no creation {id!r} in {self._files.url}") from None

    def begin(self, head: Head) -> None:
        """Write the first line: whole or not at all, for a torn only line would be no head."""
        self._files.write(_jsonl(head.id), _sign(head).line)
        self._seal(head.id)

    def move(self, head: Head) -> None:
        """Add a line.

        Raises:
            CorruptObjectError: there is a key, and the lines before are not those that it sealed.
        """
        if key() and (broken := self.broken(head.id)):
            raise CorruptObjectError(f"{broken}; brushloop does not go on from it: restore that file from a backup")
        self._files.append(_jsonl(head.id), _sign(head).line.rstrip(b"\n"))
        self._seal(head.id)

    def sync(self, id: str) -> None:
        """Return once the head would survive a power cut."""
        self._files.sync([_jsonl(id), _seal(id)])

    def unsigned(self, id: str, steps: int) -> str | None:
        """What the key says against a head whose chain has so many steps; None if nothing, or there is no key."""
        signing = key()
        if signing is None:
            return None
        if broken := self.broken(id):
            return broken
        moves = self.moves(id)
        for number, head in enumerate(moves, 1):
            if head.signature is None or not signing.signed(head.signature, head.signed):
                return f"move {number} of the head in {self.where(id)} was not signed with this key"
        if not self.read(id).endswith(moves[-1].line):
            return f"the last move of the head in {self.where(id)} is not as it was signed"
        if moves[-1].steps != steps:
            return f"creation {id} was signed with {moves[-1].steps} steps, and has {steps}"
        return None

    def broken(self, id: str) -> str | None:
        """What the seal says against the lines; None if they are as they were sealed."""
        try:
            sealed = self._files.read(_seal(id))  # before the lines: another writer may add to both meanwhile
        except FileNotFoundError:
            many = len(self.moves(id)) > 1 and any(head.signature for head in self.moves(id))
            return f"the seal beside {self.where(id)} is gone" if many else None
        signing, lines = key(), self.read(id).splitlines(keepends=True)
        try:
            seal = Seal.model_validate_json(sealed)
        except ValidationError:
            return f"the seal beside {self.where(id)} is damaged"
        signed = signing and seal.signature and signing.signed(seal.signature, seal.signed)
        if not signed or seal.id != id or seal.line != sealed:
            return f"the seal beside {self.where(id)} was not made with this key"
        if hashlib.sha256(b"".join(lines[: seal.moves])).hexdigest() != seal.digest:
            return f"the head in {self.where(id)} was changed, reordered or cut short since it was sealed"
        return None

    def _seal(self, id: str) -> None:
        if key():
            data = self.read(id)
            seal = Seal(id=id, moves=len(data.splitlines()), digest=hashlib.sha256(data).hexdigest())
            self._files.write(_seal(id), _sign(seal).line)


def _sign(line: T) -> T:
    signing = key()
    if signing is None:
        return line
    return line.model_copy(update={"signature": signing.sign(line.signed)})


def _jsonl(id: str) -> str:
    if not ID.fullmatch(id):
        raise UnknownCreationError(f"{id[:80]!r} cannot be the id of a creation")
    return f"heads/{id}.jsonl"


def _seal(id: str) -> str:
    return _jsonl(id).removesuffix(".jsonl") + ".seal"


def _head(line: bytes, id: str) -> Head | None:
    try:
        known = Head.model_validate_json(line)
    except ValidationError:
        return None
    return known if known.id == id else None
