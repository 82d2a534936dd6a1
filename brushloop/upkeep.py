"""Looking after a store: collecting what nothing leads to, and saving what is whole of a damaged one.

Neither ever touches an object that still hashes and that a creation leads to, now or at any time before.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from brushloop.canvas import Step, StepKind
from brushloop.errors import CorruptObjectError, StoreError
from brushloop.heads import Head
from brushloop.objects import FRESH
from brushloop.record import frames_of
from brushloop.store import Store

DAMAGED = "damaged"
"""Folder of a store where repair puts what no longer hashes."""


@dataclass
class Collected:
    """What `collect` found: names of objects, notes and leftovers that nothing leads to, and their size."""

    kept: int = 0
    taken: list[str] = field(default_factory=list)
    bytes: int = 0
    """0 where nothing was taken."""


@dataclass
class Repaired:
    """What `repair` did with one creation."""

    id: str
    before: str | None
    """Where its head was; None if that could not be read."""
    head: str | None
    """The newest step of which everything is whole; None if there is none."""
    damaged: list[str] = field(default_factory=list)
    """Objects that were put aside or are missing."""


def collect(store: Store, older: float = FRESH, dry: bool = False) -> Collected:
    """Take away what no creation leads to, from any place where its head ever was.

    What is younger than `older` seconds stays: it may belong to a creation that is being made just now.

    Raises:
        CorruptObjectError: a head cannot be read, so nobody knows what it leads to.
        UnwritableError: something cannot be removed.
    """
    if damaged := store.damaged():
        raise CorruptObjectError(f"{damaged[0].message}; nothing is collected before")
    reached: set[str] = set()
    for head in store.heads():
        for move in store.moves(head.id):
            _reach(store, move.head, reached)
            _reach(store, move.root, reached)
    found, files = Collected(), store.files
    for folder in ("objects", "notes"):
        for part in files.names(folder):
            for name in files.names(f"{folder}/{part}"):
                full = f"{folder}/{part}/{name}"
                if name.partition(".")[0] in reached:
                    found.kept += 1
                elif files.age(full) >= older:
                    found.taken.append(full)
    for full in [] if dry else found.taken:
        found.bytes += len(files.read(full))
        files.remove(full)
    return found


def _reach(store: Store, digest: str | None, reached: set[str]) -> None:
    """Add a step, its ancestors and their pictures. Damage ends the walk along that chain."""
    while digest is not None and digest not in reached:
        reached.add(digest)
        step: Step | None
        try:
            step = store.get_step(digest)
        except StoreError:
            step = store.salvage(digest)
        if step is None:
            return
        reached.update(frame.hash for frame in frames_of(step))
        digest = step.parent


def repair(store: Store, id: str) -> Repaired:
    """Put the head of a creation back to the newest step of which everything is whole.

    Objects that no longer hash are put aside, into `damaged/`; every other object stays where it is, and
    what comes after the damage can still be opened by its hash. Painting on from there writes the same bytes.

    Raises:
        UnknownCreationError: no creation of that id.
        UnwritableError: the disk is full, read-only or forbidden.
    """
    moves = store.moves(id)
    done = Repaired(id, moves[-1].head if moves else None, None)
    for problem in store.verify(id):
        if problem.kind in ("corrupt_object", "missing_object") and problem.object != id:
            done.damaged.append(problem.object)
    for name, digest in list(store.stored()):
        if digest in done.damaged and not store.sound(name, digest):
            store.files.write(f"{DAMAGED}/{name.rpartition('/')[2]}", store.files.read(name))
            store.files.remove(name)
    done.head = _newest_whole(store, [move.head for move in reversed(moves)] if moves else _tips(store))
    if done.head is not None and (done.head != done.before or store.torn(id)):
        root = moves[-1].root if moves else store.chain(done.head)[0][0]
        now = datetime.now(UTC)
        store.put_back(Head(id=id, root=root, head=done.head, created=moves[-1].created if moves else now, updated=now))
    return done


def _newest_whole(store: Store, tips: list[str]) -> str | None:
    """The first of these steps, or of their ancestors, from which every step and picture can be read."""
    for tip in tips:
        digest: str | None = tip
        best: str | None = None
        while digest is not None:
            try:
                step: Step | None = store.get_step(digest)
                for frame in frames_of(step) if step else ():
                    store.get_image(frame)
                best = best or digest
            except StoreError:
                step, best = store.salvage(digest), None
            if step is None:
                best = None
                break
            digest = step.parent
        if best is not None:
            return best
    return None


def _tips(store: Store) -> list[str]:
    """Steps that no creation leads to and no other step follows, those of the longest chains first."""
    reached: set[str] = set()
    for head in store.heads():
        for move in store.moves(head.id):
            _reach(store, move.head, reached)
    free = {digest for name, digest in store.stored() if name.endswith(".json") and digest not in reached}
    chains: dict[str, int] = {}
    for digest in free:
        try:
            chain = store.chain(digest)
        except StoreError:
            continue
        if chain[0][1].kind is StepKind.BRIEF:
            chains[digest] = len(chain)
    followed = {store.get_step(digest).parent for digest in chains}
    return sorted(set(chains) - followed, key=lambda digest: (-chains[digest], digest))
