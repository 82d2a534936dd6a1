"""The event log of a creation: what happened to it, in order, in one file that outlives the server.

    events/<id>.jsonl      a line an event; its number, from 1, is the event's id

The step chain stays the truth about what was made: a step's line holds only its hash, and readers look the rest
up in the store. Besides steps the log keeps what no step tells: that work was asked for, begins, waits, failed or
is done, and the denoising steps of a picture in work. The state of a job is nothing but these lines, read in order.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from brushloop.agent.checkpoints import checkpoint_path
from brushloop.errors import UnknownCreationError
from brushloop.files import open_files
from brushloop.store import Store

Line = dict[str, Any]
"""One event: `type`, `at` (when, in ISO 8601), and what belongs to that type."""

JobState = Literal["queued", "running", "waiting", "finished", "failed", "unfinished"]
"""`waiting` is for a person; `unfinished` is one that no server was asked to go on with."""

ALIVE: tuple[JobState, ...] = ("queued", "running")


@dataclass(frozen=True)
class Job:
    """What the log says of a creation."""

    state: JobState = "unfinished"
    owner: str = ""
    request: str = ""
    """Digest of what was asked for, so that an Idempotency-Key is not used for two things."""
    pause: tuple[str, ...] = ()
    afresh: bool = True
    """Whether it may wait before the node that comes next: not where a person has just answered."""
    cancelled: bool = False
    said: str = ""
    """A turn of a conversation that is to be taken: it is not, as long as the newest step is still `at`."""
    at: str = ""
    next: str | None = None
    """The node before which it waits."""
    error: dict[str, str] | None = None
    denoising: Line | None = None
    """The newest denoising step of the picture in work."""
    events: int = 0
    """How many events the log had when it was read."""

    def after(self, line: Line) -> Job:
        """The job after one more line."""
        match line["type"]:
            case "queued":
                return Job(
                    state="queued",
                    owner=str(line.get("owner", self.owner)),
                    request=str(line.get("request", self.request)),
                    pause=tuple(line.get("pause", ())),
                    afresh=bool(line.get("afresh", True)),
                    said=str(line.get("said", "")),
                    at=str(line.get("head", "")),
                )
            case "running":
                return replace(self, state="running")
            case "step":
                return replace(self, afresh=self.afresh or self.state == "running", denoising=None)
            case "denoise":
                return replace(self, denoising=line)
            case "cancel":
                return replace(self, cancelled=True)
            case "paused":
                return replace(self, state="waiting", next=line.get("next"), denoising=None)
            case "failed":
                return replace(self, state="failed", error=line.get("error"), denoising=None)
            case "refused":
                return replace(self, state="finished", error=line.get("error"), denoising=None)
            case "done":
                return replace(self, state="finished", denoising=None)
        return self


def job_of(lines: Sequence[Line | None]) -> Job:
    """The job that a log tells of; a line that cannot be read counts for nothing."""
    job = Job()
    for line in lines:
        job = job.after(line) if line else job
    return job


class Log:
    """The event logs of a store. Several processes may write; an append is one line, whole or passed over."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._files = open_files(store.url)
        self._locks = checkpoint_path(store.url).parent / "locks"

    def append(self, id: str, type: str, **told: Any) -> None:
        """Add an event.

        Raises:
            UnwritableError: the disk is full, read-only or forbidden.
        """
        line = {"type": type, "at": datetime.now(UTC).isoformat(timespec="milliseconds"), **told}
        self._files.append(_name(id), json.dumps(line).encode())

    def lines(self, id: str) -> list[Line | None]:
        """All events, the oldest first; None stands for one that was cut short. None at all where there is no log."""
        try:
            data = self._files.read(_name(id))
        except FileNotFoundError:
            return []
        *whole, _ = data.split(b"\n")  # what follows the last newline is being written, or was cut short
        return [_line(text) for text in whole]

    def job(self, id: str) -> Job:
        """What the log says of a creation; of one that no server works on, the chain has the last word.

        Raises:
            UnknownCreationError: no creation of that id.
        """
        lines = self.lines(id)
        job = replace(job_of(lines), events=len(lines))
        if job.state in ALIVE:
            return job
        if "stop_reason" in self.store.get_step(self.store.head(id)).settings:
            return replace(job, state="finished")
        return replace(job, state="unfinished") if job.state == "finished" else job

    def catch_up(self, id: str) -> None:
        """Add the steps of the chain that the log lacks: those of before it, and those a killed process left out."""
        known = {line["hash"] for line in self.lines(id) if line and line["type"] == "step"}
        for digest, _ in self.store.chain(self.store.head(id)):
            if digest not in known:
                self.append(id, "step", hash=digest)

    def sync(self, id: str) -> None:
        """Return once the log, the head and its newest step would survive a power cut."""
        digest = self.store.head(id)
        self._files.sync([_name(id), f"heads/{id}.jsonl", f"objects/{digest[:2]}/{digest}.json"])

    def ids(self) -> list[str]:
        """Creations that have a log and a head: one without a head was never accepted."""
        logged = {name.removesuffix(".jsonl") for name in self._files.names("events") if name.endswith(".jsonl")}
        return [head.id for head in reversed(self.store.heads()) if head.id in logged]

    @contextmanager
    def held(self, id: str, seconds: float = 0.0) -> Iterator[bool]:
        """Hold a creation against every other process; yields whether it could be had within `seconds`."""
        from filelock import FileLock, Timeout

        self._locks.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._locks / f"{id}.lock", thread_local=False)
        try:
            lock.acquire(timeout=seconds)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()


def _name(id: str) -> str:
    if not id.replace("-", "a").isalnum():
        raise UnknownCreationError(f"{id[:80]!r} cannot be the id of a creation")
    return f"events/{id}.jsonl"


def _line(text: bytes) -> Line | None:
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) and isinstance(line.get("type"), str) else None
