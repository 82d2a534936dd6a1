"""LangGraph's own memory of a run, in SQLite. It may be lost: the step chain is enough to go on.

Only the types named here are ever built from a checkpoint; anything else in the file stays plain data.
"""

from __future__ import annotations

import hashlib
import sqlite3
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver

from brushloop import canvas
from brushloop.agent import state
from brushloop.errors import StoreError, UnwritableError

_NOUNS = (
    canvas.Brief, canvas.Budget, canvas.ConditionUnit, canvas.UnitImage, canvas.Frame, canvas.Task,
    canvas.Plan, canvas.Element, canvas.PlanStep, canvas.Critique, canvas.Finding, canvas.Correction,
    canvas.Status, canvas.Fault, canvas.EditType, canvas.Verdict, canvas.StopReason, state.Best, state.Spent,
)  # fmt: skip


def checkpoint_path(home: str) -> Path:
    """Where the checkpoints of a store lie: in its folder, or in the user's state folder if that is not local."""
    if "://" not in home:
        return Path(home) / "checkpoints.sqlite"
    name = hashlib.sha256(home.encode()).hexdigest()[:16]
    return platformdirs.user_state_path("brushloop") / name / "checkpoints.sqlite"


def serializer() -> JsonPlusSerializer:
    """LangGraph's serializer, held to the nouns of the state."""
    return JsonPlusSerializer(allowed_msgpack_modules=[(noun.__module__, noun.__name__) for noun in _NOUNS])


def open_saver(path: Path) -> SqliteSaver:
    """Open or create the checkpoint file.

    Raises:
        StoreError: it is damaged, or no SQLite file at all.
        UnwritableError: it cannot be created or written.
    """
    with errors_told(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise UnwritableError(
                f"cannot make {path.parent} ({error.strerror}): free it or choose another home"
            ) from error
        connection = sqlite3.connect(path, check_same_thread=False)
        saver = SqliteSaver(connection, serde=serializer())
        weakref.finalize(saver, connection.close)
        saver.setup()
        connection.execute("PRAGMA synchronous=NORMAL")  # a kill loses nothing; a power cut maybe the last node
    return saver


@contextmanager
def errors_told(path: Path | str) -> Iterator[None]:
    """Turn SQLite's errors into one line that says what to do."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise UnwritableError(f"cannot use {path} ({error}): check the disk and its permissions") from error
    except sqlite3.DatabaseError as error:
        raise StoreError(
            f"the checkpoint file {path} is damaged ({error}): delete it, creations are resumed from their steps"
        ) from error
