"""The store: objects under their hashes, and heads that name the newest step of each creation.

    objects/, notes/           see `brushloop.objects`
    heads/                     see `brushloop.heads`

A head is written after the step it names, and a step after its pictures, so whoever can read a head
can read all of it. Killing the process at any point keeps that true. A power cut may cost the last
seconds of an unfinished creation (what is torn is noticed by its hash); before a head moves to a finish
step, everything it leads to is on the disk.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

from brushloop.canvas import Step, StepKind
from brushloop.errors import CorruptObjectError, InputError, StoreError, UnknownCreationError
from brushloop.files import open_files
from brushloop.heads import ID, Head, Heads
from brushloop.objects import Objects, check_digest
from brushloop.record import frames_of
from brushloop.seal import key


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
        self._heads = Heads(self.files)

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
        elif not ID.fullmatch(id):
            raise InputError(f"{id[:80]!r} cannot name a creation: use up to 64 lower-case letters, digits and dashes")
        else:
            try:
                if self._heads.newest(id).root == root:
                    return id
                raise InputError(f"there is already another creation {id!r} in {self.url}: choose another id")
            except UnknownCreationError:
                pass
        self.get_step(check_digest(root))
        self._heads.begin(self._signed(Head(id=id, root=root, head=root, created=now, updated=now), None))
        return id

    def head(self, id: str) -> str:
        """Hash of the newest step of a creation.

        Raises:
            UnknownCreationError: no creation of that id.
            CorruptObjectError: its head file is damaged.
        """
        return self._heads.newest(id).head

    def record(self, id: str, step: Step, **figures: float | int | str) -> str:
        """Put a step, note what it cost, and move the creation to it; return its hash.

        In that order: whoever sees the head can read all of it.

        Raises:
            UnknownCreationError: no creation of that id.
            InputError: the step or a figure holds a number that JSON cannot.
            UnwritableError: the disk is full, read-only or forbidden.
        """
        digest = self.put_step(step)
        if figures:
            self.measure(digest, **figures)
        self.set_head(id, digest, step)
        return digest

    def set_head(self, id: str, digest: str, step: Step | None = None) -> None:
        """Move a creation to another step; the last of several writers wins. `step` is that step, if it is at hand.

        Raises:
            UnknownCreationError: no creation of that id.
            MissingObjectError: the step is not in the store.
            UnwritableError: the disk is full, read-only or forbidden.
        """
        known = self._heads.newest(id)
        moved = known.model_copy(update={"head": check_digest(digest), "updated": datetime.now(UTC)})
        finished = (step or self.get_step(digest)).kind is StepKind.FINISH
        if finished:
            steps, _ = self._reachable(digest)
            self._sync(steps)
        self._heads.move(self._signed(moved, known))
        if finished:
            self._heads.sync(id)

    def torn(self, id: str) -> bool:
        """Whether the last line of the head of a creation is damaged."""
        return self._heads.torn(id)

    def put_back(self, head: Head) -> None:
        """Add a head that was found again to a damaged file. With a key, only to one that is as it was sealed."""
        self._heads.move(self._signed(head, None))

    def moves(self, id: str) -> list[Head]:
        """Every place where the head of a creation ever was, the oldest first; damaged lines are passed over.

        Raises:
            UnknownCreationError: no creation of that id.
        """
        return self._heads.moves(id)

    def heads(self) -> list[Head]:
        """All creations that can be read, the newest first; `damaged` tells of the others."""
        known = []
        for id in self._heads.ids():
            with contextlib.suppress(CorruptObjectError, UnknownCreationError):  # or deleted this moment
                known.append(self._heads.newest(id))
        return sorted(known, key=lambda head: (head.created, head.id), reverse=True)

    def damaged(self) -> list[Problem]:
        """Creations whose head cannot be read."""
        problems = []
        for id in self._heads.ids():
            try:
                self._heads.newest(id)
            except UnknownCreationError:
                continue
            except CorruptObjectError as error:
                problems.append(Problem(error.code, id, self._heads.where(id), str(error)))
        return problems

    def resolve(self, name: str) -> tuple[str, str]:
        """Find a creation id, a step hash, or a unique prefix of either (6 digits or more of a hash).

        Returns:
            The creation's id and a step's hash: its head, or the step that was named. A step shared by
            several creations belongs to the one whose head it is, else to the oldest.

        Raises:
            UnknownCreationError: nothing or more than one thing has that name.
        """
        ids = self._heads.ids()
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
            known = self._heads.newest(id)
        except CorruptObjectError as error:
            return [Problem(error.code, id, self._heads.where(id), str(error))]
        steps, problems = self._reachable(known.head)
        if known.root not in steps and not problems:
            message = f"creation {id} says it began at step {known.root}, which its head does not lead to"
            problems.append(Problem("root", known.root, self._heads.where(id), message))
        if self._heads.torn(id):
            message = f"the last line of the heads of creation {id} is damaged; the line before it counts"
            problems.append(Problem("head", id, self._heads.where(id), message))
        if unsigned := self._heads.unsigned(id, len(steps)):
            problems.append(Problem("signature", id, self._heads.where(id), unsigned))
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
                step = self.salvage(digest)
            if step is None:
                break
            steps[digest] = step
            digest = step.parent
        return steps, problems

    def _signed(self, head: Head, before: Head | None) -> Head:
        """With the number of its steps, which a key signs."""
        if key() is None:
            return head.model_copy(update={"steps": None, "signature": None})
        if before and before.steps and self.get_step(head.head).parent == before.head:
            return head.model_copy(update={"steps": before.steps + 1})
        return head.model_copy(update={"steps": sum(1 for _ in self.ancestry(head.head))})

    def _owner(self, digest: str) -> str:
        heads = self.heads()
        for known in heads:
            if known.head == digest:
                return known.id
        for known in reversed(heads):
            with contextlib.suppress(StoreError):  # damage to another creation is not this one's trouble
                if any(found == digest for found, _ in self.ancestry(known.head)):
                    return known.id
        for known in reversed(heads):  # where one of them was once, before it was taken back
            if any(move.head == digest for move in self._heads.moves(known.id)):
                return known.id
        raise UnknownCreationError(f"step {digest} is in the store, but no creation leads to it: name its creation")
