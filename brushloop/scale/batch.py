"""Many prompts: a file of lines in, a file of results out, one for each line and in the same order.

    {"prompt": "a red cat", "seed": 3, "size": [128, 128], "budget": {"rounds": 4}}        or just "a red cat"
    {"line": 1, "id": "prompts-1-5f0c21ab", "ok": true, "image": "...", "stop_reason": "accepted", ...}

Each line is a creation whose id follows from the line, so the store itself remembers what is done: a batch that was
killed goes on by giving the same command again, and a line that two machines work on ends as one creation. Results
are written as soon as all before them are.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from brushloop.agent.run import Cancel
from brushloop.agent.studio import Studio
from brushloop.canvas import Noun
from brushloop.errors import BrushloopError, ConflictError, InputError, Interrupted, UnwritableError

Result = dict[str, Any]
"""What came of a line: `line`, `id`, `ok`, and the picture or the `error`."""

Work = Callable[[Iterator["Item"]], Generator[Result]]
"""Makes what is asked for and gives results in any order, each item once."""

PATIENCE = 60.0
"""Seconds that a line is waited for which somebody else still holds: a machine that is cut off lets go late."""


@dataclass(frozen=True)
class Item:
    """A line of the file: its number from 1, the id of its creation, and what stands in it."""

    line: int
    id: str
    text: bytes


class Wanted(Noun):
    """What a line asks for."""

    prompt: str
    seed: int = 0
    size: tuple[int, int] | None = None
    budget: dict[str, float] | None = Field(default=None, description="Limits, as for `brushloop paint --budget`.")


@dataclass(frozen=True)
class Tally:
    """How far a batch is."""

    lines: int
    done: int
    failed: int
    before: int
    """Of `done`: those whose results stood there already."""
    seconds: float


def items(path: Path, makers: str = "") -> Iterator[Item]:
    """The lines of a file. `makers` says with what they are painted: other makers make other creations.

    Raises:
        InputError: the file cannot be read.
    """
    name = re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-")[:30] or "batch"
    try:
        with path.open("rb") as lines:
            for number, text in enumerate(lines, 1):
                digest = hashlib.sha256(f"{number}\n{makers}\n".encode() + text.strip()).hexdigest()[:16]
                yield Item(number, f"{name}-{number}-{digest}", text.strip())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; name a file with a prompt on each line") from error


def carry_out(
    source: Path, out: Path, work: Work, makers: str = "", tell: Callable[[Tally], None] | None = None
) -> Tally:
    """Let every line be made that has no result yet.

    Raises:
        InputError: the source cannot be read, or `out` holds the results of something else.
        ConflictError: another process writes `out`.
        UnwritableError: `out` cannot be written.
        Interrupted: Ctrl-C; the same again goes on.
    """
    began, lines = time.monotonic(), sum(1 for _ in items(source))
    with _only_one(out), closing(Results(out)) as results:
        before = len(results.ids)
        _belongs(results, source, makers)
        left = (item for item in items(source, makers) if item.line > before)

        def tally() -> Tally:
            return Tally(lines, len(results.ids) + results.early, results.failed, before, time.monotonic() - began)

        try:
            with closing(work(left)) as made:
                for result in made:
                    results.add(result)
                    if tell:
                        tell(tally())
        except KeyboardInterrupt:
            raise Interrupted(f"stopped after {len(results.ids)} of {lines} lines: the same again goes on") from None
        return tally()


class Results:
    """The file of results. A result waits in memory until all before it are written; a torn last line is dropped."""

    def __init__(self, path: Path) -> None:
        self.path, self.ids, self.failed = path, list[str](), 0
        self._waiting: dict[int, Result] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b")
            self._file.seek(0)
            whole = 0
            for line in self._file:
                known = _result(line)
                if known is None or known["line"] != len(self.ids) + 1:
                    break
                whole += len(line)
                self.ids.append(str(known["id"]))
                self.failed += not known["ok"]
            self._drop_torn(whole)
        except OSError as error:
            raise UnwritableError(f"cannot write {path} ({error.strerror}): choose another --out") from error

    def _drop_torn(self, whole: int) -> None:
        """Drop a last line that was cut short; anything more was not written by a batch."""
        self._file.seek(whole)
        rest = self._file.read()
        if b"\n" in rest:
            self._file.close()
            raise InputError(f"{self.path} holds something else than results of a batch: choose another --out")
        self._file.truncate(whole)

    @property
    def early(self) -> int:
        """Results that wait for one before them."""
        return len(self._waiting)

    def add(self, result: Result) -> None:
        """Keep a result, and write all that now stand in order.

        Raises:
            UnwritableError: the disk is full or read-only.
        """
        self._waiting[result["line"]] = result
        self.failed += not result["ok"]
        try:
            while now := self._waiting.pop(len(self.ids) + 1, None):
                self._file.write(json.dumps(now).encode() + b"\n")
                self.ids.append(now["id"])
            self._file.flush()
        except OSError as error:
            raise UnwritableError(
                f"cannot write {self.path} ({error.strerror}): free some space there; the same again goes on"
            ) from error

    def close(self) -> None:
        """Return once all of it is on the disk."""
        with self._file as file:
            file.flush()
            os.fsync(file.fileno())


def make(studio: Studio, item: Item, cancelled: Cancel | None = None) -> Result:
    """Make one line, or go on with it, or find that it is made. Whatever goes wrong is its result."""
    began = time.monotonic()
    try:
        wanted = _wanted(item.text)
        studio.begin(wanted.prompt, wanted.seed, wanted.size, wanted.budget, id=item.id)
        while True:
            try:
                creation = studio.resume(item.id, cancel=cancelled)
                break
            except ConflictError:
                if time.monotonic() - began > PATIENCE:
                    raise
                time.sleep(0.5)
        summary = creation.summary()
        told = {key: summary[key] for key in ("head", "image", "stop_reason")}
        told |= {"steps": len(creation.hashes), "seconds": round(time.monotonic() - began, 3)}
        return {"line": item.line, "id": item.id, "ok": True, "prompt": wanted.prompt, "seed": wanted.seed} | told
    except BrushloopError as error:
        return failed(item, error.code, str(error))
    except Exception as error:
        return failed(item, "unexpected", f"{type(error).__name__}: {error}")


def failed(item: Item, code: str, message: str) -> Result:
    """The result of a line that came to nothing."""
    error = {"code": code, "message": " ".join(message.split())}
    return {"line": item.line, "id": item.id, "ok": False, "error": error}


def here(studio: Studio, at_once: int = 1) -> Work:
    """Work in this process, on so many lines at once: one is planned and judged while another is painted.

    The models are loaded first, so that what is wrong with them is told once and not in every line.
    """

    def work(left: Iterator[Item]) -> Generator[Result]:
        _ = studio.painter, studio.vlm
        stop = threading.Event()
        pool = ThreadPoolExecutor(at_once, "brushloop-batch")
        running: set[Future[Result]] = set()
        try:
            while True:
                for item in _next(left, at_once - len(running)):
                    running.add(pool.submit(make, studio, item, stop.is_set))
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)

    return work


def _next(left: Iterator[Item], most: int) -> Iterable[Item]:
    for _ in range(most):
        item = next(left, None)
        if item is None:
            return
        yield item


def _wanted(text: bytes) -> Wanted:
    try:
        value = json.loads(text)
        return Wanted.model_validate({"prompt": value} if isinstance(value, str) else value)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"])) or "the line"
        raise InputError(f"{where}: {fault['msg']}") from None
    except (ValueError, RecursionError):
        raise InputError('the line is no JSON: write {"prompt": "..."}, or the prompt in double quotes') from None


def _result(line: bytes) -> Result | None:
    try:
        value = json.loads(line)
        good = line.endswith(b"\n") and {"line", "id", "ok"} <= value.keys()
    except (ValueError, AttributeError):
        return None
    return value if good else None


def _belongs(results: Results, source: Path, makers: str) -> None:
    expected = items(source, makers)
    for number, id in enumerate(results.ids, 1):
        item = next(expected, None)
        if item is None or item.id != id:
            raise InputError(
                f"line {number} of {results.path} is the result of another line, painter or model than line {number} "
                f"of {source} asks for: choose another --out, or delete it (what is made is not made again)"
            )


@contextmanager
def _only_one(out: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout

    lock = FileLock(f"{out}.lock")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise ConflictError(f"another batch writes {out} now: wait for it, or choose another --out") from None
    except OSError as error:
        raise UnwritableError(f"cannot write {out} ({error.strerror}): choose another --out") from error
    try:
        yield
    finally:
        lock.release()
