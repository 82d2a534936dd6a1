"""The store: objects under their hashes, and heads that name the newest step of each creation.

    objects/, notes/           see `brushloop.objects`
    heads/<id>.jsonl           a creation: a line each time its head moves; the last one counts

A head is written after the step it names, and a step after its pictures, so whoever can read a head
can read all of it. Killing the process at any point keeps that true. A power cut may cost the last
seconds of an unfinished creation (what is torn is noticed by its hash); before a head moves to a finish
step, everything it leads to is on the disk.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from pydantic import Field, ValidationError

from brushloop.canvas import Digest, Noun, Step, StepKind
from brushloop.errors import CorruptObjectError, InputError, StoreError, UnknownCreationError
from brushloop.files import open_files
from brushloop.objects import Objects, check_digest
from brushloop.record import frames_of

_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
CreationId = Annotated[str, Field(pattern=rf"^{_ID.pattern}$")]
"""Name of a creation: lower-case letters, digits and dashes, so that it is safe as a file name."""


class Head(Noun):
    """A creation's entry in the store. `root` is where it began: its brief, or the step it was forked from."""

    id: CreationId
    root: Digest
    head: Digest
    created: datetime
    updated: datetime


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a creation: `kind` is an error code, `object` the hash (or id) it concerns."""

    kind: str
    object: str
    path: str
    message: str


def default_home() -> str:
    """Where creations live: `$BRUSHLOOP_HOME`, else this user's data folder."""
    from platformdirs import user_data_dir

    return os.environ.get("BRUSHLOOP_HOME") or user_data_dir("brushloop")


class Store(Objects):
    """A content-addressed store on a local folder or any fsspec URL.

    Args:
        url: folder or URL; by default `$BRUSHLOOP_HOME`, else the user's data folder.

    Raises:
        StoreError: no filesystem of that kind.
    """

    def __init__(self, url: str | os.PathLike[str] | None = None) -> None:
        super().__init__(open_files(os.fspath(url) if url is not None else default_home()))

    def create(self, root: str, id: str | None = None) -> str:
        """Begin a creation at step `root` and return its id. The same id and root again change nothing.

        Raises:
            InputError: the id is no id, or another creation has it.
            MissingObjectError: the step is not in the store.
            UnwritableError: the disk is full, read-only or forbidden.
        """
        now = datetime.now(UTC)
        if id is None:
            id = f"{now:%Y%m%d-%H%M%S}{now.microsecond // 1000:03d}-{secrets.token_hex(3)}"
        elif not _ID.fullmatch(id):
            raise InputError(f"{id[:80]!r} cannot name a creation: use up to 64 lower-case letters, digits and dashes")
        else:
            try:
                if self._head(id).root == root:
                    return id
                raise InputError(f"there is already another creation {id!r} in {self.url}: choose another id")
            except UnknownCreationError:
                pass
        self.get_step(check_digest(root))
        line = Head(id=id, root=root, head=root, created=now, updated=now).model_dump_json()
        self._files.write(_head(id), line.encode() + b"\n")  # whole or not at all: a torn only line would be no head
        return id

    def head(self, id: str) -> str:
        """Hash of the newest step of a creation.

        Raises:
            UnknownCreationError: no creation of that id.
            CorruptObjectError: its head file is damaged.
        """
        return self._head(id).head

    def set_head(self, id: str, digest: str) -> None:
        """Move a creation to another step; the last of several writers wins.

        Raises:
            UnknownCreationError: no creation of that id.
            MissingObjectError: the step is not in the store.
            UnwritableError: the disk is full, read-only or forbidden.
        """
        known = self._head(id)
        self._write_head(known.model_copy(update={"head": digest, "updated": datetime.now(UTC)}))

    def entry(self, id: str) -> Head:
        """The entry of a creation of exactly that id.

        Raises:
            UnknownCreationError: no creation of that id.
            CorruptObjectError: its head file is damaged.
        """
        return self._head(id)

    def heads(self) -> list[Head]:
        """All creations that can be read, the newest first; `damaged` tells of the others."""
        known = []
        for id in self._ids():
            with contextlib.suppress(CorruptObjectError, UnknownCreationError):  # or deleted this moment
                known.append(self._head(id))
        return sorted(known, key=lambda head: (head.created, head.id), reverse=True)

    def damaged(self) -> list[Problem]:
        """Creations whose head cannot be read."""
        problems = []
        for id in self._ids():
            try:
                self._head(id)
            except UnknownCreationError:
                continue
            except CorruptObjectError as error:
                problems.append(Problem(error.code, id, self._files.where(_head(id)), str(error)))
        return problems

    def resolve(self, name: str) -> tuple[str, str]:
        """Find a creation id, a step hash, or a unique prefix of either (6 digits or more of a hash).

        Returns:
            The creation's id and a step's hash: its head, or the step that was named. A step shared by
            several creations belongs to the one whose head it is, else to the oldest.

        Raises:
            UnknownCreationError: nothing or more than one thing has that name.
        """
        ids = self._ids()
        if name in ids:
            return name, self.head(name)
        near = [id for id in ids if name and id.startswith(name)]
        steps = self._steps_like(name)
        if len(near) == 1 and not steps:
            return near[0], self.head(near[0])
        if len(near) + len(steps) > 1:
            both = ", ".join([*near, *steps][:4])
            raise UnknownCreationError(f"{name!r} begins more than one creation or step ({both}): give more of it")
        if steps:
            return self._owner(steps[0]), steps[0]
        known = difflib.get_close_matches(name[:80], ids, n=3) or ids[::-1][:3]
        hint = f"the nearest are {', '.join(known)}" if known else "it holds no creation yet, so paint one first"
        raise UnknownCreationError(f"no creation or step {name[:80]!r} in {self.url}: {hint}")

    def verify(self, id: str) -> list[Problem]:
        """Hash every step and picture of a creation again, and say what is changed, missing or unreadable.

        A changed step that can still be read is followed to its parent, so that one fault hides no other.

        Raises:
            UnknownCreationError: no creation of that id.
        """
        try:
            known = self._head(id)
        except CorruptObjectError as error:
            return [Problem(error.code, id, self._files.where(_head(id)), str(error))]
        steps, problems = self._reachable(known.head)
        if known.root not in steps and not problems:
            message = f"creation {id} says it began at step {known.root}, which its head does not lead to"
            problems.append(Problem("root", known.root, self._files.where(_head(id)), message))
        if _read_head(self._moves(id)[-1], id) is None:
            message = f"the last line of the heads of creation {id} is damaged; the line before it counts"
            problems.append(Problem("head", id, self._files.where(_head(id)), message))
        for frame in dict.fromkeys(frame for step in steps.values() for frame in frames_of(step)):
            try:
                self.get_image(frame)
            except StoreError as error:
                problems.append(Problem(error.code, frame.hash, self.image_path(frame), str(error)))
        return problems

    def _reachable(self, digest: str | None) -> tuple[dict[str, Step], list[Problem]]:
        steps: dict[str, Step] = {}
        problems: list[Problem] = []
        while digest is not None and digest not in steps:
            step: Step | None
            try:
                step = self.get_step(digest)
            except StoreError as error:
                problems.append(Problem(error.code, digest, self.step_path(digest), str(error)))
                step = self._salvage(digest)
            if step is None:
                break
            steps[digest] = step
            digest = step.parent
        return steps, problems

    def _head(self, id: str) -> Head:
        for line in reversed(self._moves(id)):
            if known := _read_head(line, id):
                return known
        raise CorruptObjectError(
            f"the head of creation {id} at {self._files.where(_head(id))} is damaged; restore that file from a backup, "
            "or delete it: the steps are kept and can be found by their hashes"
        )

    def _moves(self, id: str) -> list[bytes]:
        try:
            return self._files.read(_head(id)).splitlines()
        except FileNotFoundError:
            raise UnknownCreationError(f"no creation {id!r} in {self.url}") from None

    def _write_head(self, head: Head) -> None:
        name = _head(head.id)
        finished = self.get_step(head.head).kind is StepKind.FINISH
        if finished:
            steps, _ = self._reachable(head.head)
            self._sync(steps)
        self._files.append(name, head.model_dump_json().encode())
        if finished:
            self._files.sync([name])

    def _ids(self) -> list[str]:
        names = (name.removesuffix(".jsonl") for name in self._files.names("heads") if name.endswith(".jsonl"))
        return [name for name in names if _ID.fullmatch(name)]

    def _owner(self, digest: str) -> str:
        heads = self.heads()
        for known in heads:
            if known.head == digest:
                return known.id
        for known in reversed(heads):
            try:
                if any(found == digest for found, _ in self.ancestry(known.head)):
                    return known.id
            except StoreError:  # damage to another creation is not this one's trouble
                continue
        raise UnknownCreationError(f"step {digest} is in the store, but no creation leads to it: name its creation")


def _head(id: str) -> str:
    if not _ID.fullmatch(id):
        raise UnknownCreationError(f"{id[:80]!r} cannot be the id of a creation")
    return f"heads/{id}.jsonl"


def _read_head(line: bytes, id: str) -> Head | None:
    try:
        known = Head.model_validate_json(line)
    except ValidationError:
        return None
    return known if known.id == id else None
