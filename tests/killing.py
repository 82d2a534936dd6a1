"""Kills a creation at chosen writes and lets it recover: a server that forks, so that a case costs no new interpreter.

Reads cases from stdin, a JSON object a line, and answers each with a line. A case has `kills`, a list of
[n, phase]: the n-th durable write of the first process, then of the one that recovers, and so on. The phase is
`before`, `during` (half of it is written) or `after`. `lost` takes away afterwards what a power cut may cost: the
last line of the `head`, or the last `checkpoint`, so that either is ahead of the other. A case of no kills tells
every durable write of an undisturbed run. The signal is SIGKILL, and nothing in the process hears of it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fakes import ToyPainter, ToyVLM
from forking import forked
from langgraph.checkpoint.sqlite import SqliteSaver

from brushloop import Studio
from brushloop.agent import nodes
from brushloop.agent.checkpoints import forget
from brushloop.errors import UnknownCreationError
from brushloop.files import LocalFiles

PROMPT, SEED, ID = "a cat and a red ball on a beach", 5, "one"
NODES = ("plan", "draft", "reflect", "refine", "finish")
PHASES = ("before", "during", "after")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Writes:
    """Counts the durable writes of this process, and kills it at one of them."""

    def __init__(self, log: Path, at: int | None, phase: str) -> None:
        self.log, self.at, self.phase = log, at, phase
        self.seen: list[tuple[str, str]] = []
        self.node = "start"

    def install(self) -> None:
        for name in NODES:
            setattr(nodes, name, self._noting(name, getattr(nodes, name)))
        write, append, real = LocalFiles.write, LocalFiles.append, {}
        for name in ("put", "put_writes", "delete_thread"):
            real[name] = getattr(SqliteSaver, name)

        def dying_write(files: LocalFiles, name: str, data: bytes) -> None:
            kind = "head" if name.startswith("heads/") else "image" if name.endswith(".png") else "step"
            with self._around(kind) as during:
                if during:
                    folder = Path(files.where(name)).parent
                    folder.mkdir(parents=True, exist_ok=True)
                    (folder / ".0123.tmp").write_bytes(data[: len(data) // 2])
                    die()
                write(files, name, data)

        def dying_append(files: LocalFiles, name: str, line: bytes) -> None:
            with self._around("head" if name.startswith("heads/") else "note") as during:
                if during:
                    path = Path(files.where(name))
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with path.open("ab") as file:
                        file.write(line[: len(line) // 2])
                    die()
                append(files, name, line)

        def dying_save(name: str) -> Callable[..., Any]:
            def save(saver: SqliteSaver, *args: Any) -> Any:
                with self._around("checkpoint") as during:
                    if during:
                        saver.conn = Uncommitted(saver.conn)  # type: ignore[assignment]
                    return real[name](saver, *args)

            return save

        LocalFiles.write, LocalFiles.append = dying_write, dying_append  # type: ignore[method-assign]
        for name in real:
            setattr(SqliteSaver, name, dying_save(name))

    @contextlib.contextmanager
    def _around(self, kind: str) -> Iterator[bool]:
        here = len(self.seen) == self.at
        self.seen.append((self.node, kind))
        if here and self.phase == "before":
            die()
        yield here and self.phase == "during"
        if here and self.phase == "after":
            die()

    def _noting(self, name: str, node: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(node)
        def noted(*args: Any, **kwargs: Any) -> Any:
            self.node = name
            with self.log.open("a") as log:
                log.write(f"{name}\n")
            return node(*args, **kwargs)

        return noted


class Uncommitted:
    """A connection that dies when it should commit."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return die if name == "commit" else getattr(self._connection, name)


def work(home: Path, kill: tuple[int, str] | None) -> dict[str, Any]:
    """Paint, or go on painting, in this process, and say what came of it."""
    log = home.parent / "nodes.log"
    writes = Writes(log, *(kill or (None, "")))
    writes.install()
    studio = Studio(ToyPainter(fails=lambda request: request.seed % 2 == 0), ToyVLM(), home)
    try:
        made = studio.resume(ID)
    except UnknownCreationError:
        made = studio.paint(PROMPT, seed=SEED, id=ID)
    assert made.image is not None
    forget(studio.store)  # as `brushloop gc` does: one killed after its last step has nobody else to clear up
    with sqlite3.connect(home / "checkpoints.sqlite") as connection:
        (left,) = connection.execute("select count(*) from checkpoints").fetchone()
    steps = [path.stem for path in (home / "objects").glob("*/*.json")]
    return {
        "hashes": made.hashes,
        "image": hashlib.sha256(made.image.tobytes()).hexdigest(),
        "duplicates": len(steps) - len(made.hashes),
        "objects": sorted(path.name for path in (home / "objects").glob("*/[!.]*")),
        "problems": [problem.message for problem in studio.store.verify(ID)],
        "checkpoints": left,
        "nodes": log.read_text().split(),
        "writes": writes.seen,
    }


def worked(home: Path, kill: tuple[int, str] | None) -> dict[str, Any] | None:
    """`work` in a child; None if it was killed."""
    lines, killed = forked(lambda told: print(json.dumps(work(home, kill)), file=told))
    return None if killed else lines[0]


def lose(home: Path, what: str) -> None:
    """What a power cut may take: the last thing that was written, of one of the two records."""
    if what == "head":
        path = home / "heads" / f"{ID}.jsonl"
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[:-1]))
    else:
        with contextlib.closing(sqlite3.connect(home / "checkpoints.sqlite")) as connection, connection:
            connection.execute(
                "delete from checkpoints where checkpoint_id = (select max(checkpoint_id) from checkpoints)"
            )


def main() -> None:
    home = Path(sys.argv[1]) / "home"
    for line in sys.stdin:
        case = json.loads(line)
        shutil.rmtree(home.parent, ignore_errors=True)
        home.parent.mkdir(parents=True)
        killed = 0
        for kill in case["kills"]:
            killed += worked(home, kill) is None
            if what := case.get("lost"):
                lose(home, what)
        answer = worked(home, None)
        print(json.dumps({"killed": killed, **(answer or {})}), flush=True)


if __name__ == "__main__":
    main()
