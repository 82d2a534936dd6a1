"""LangGraph's own memory of a run, in SQLite. It may be lost: the step chain is enough to go on.

Where several machines share it, it is in Postgres: see `brushloop.agent.postgres`.

Only the nouns named here are ever built from a checkpoint, each by its own validation. A payload that asks for
anything else, in whatever way LangGraph knows, is refused as a whole, and the run goes on from its steps.
"""

from __future__ import annotations

import hashlib
import sqlite3
import weakref
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ormsgpack
import platformdirs
from langgraph.checkpoint.base import WRITES_IDX_MAP
from langgraph.checkpoint.serde.jsonplus import EXT_CONSTRUCTOR_SINGLE_ARG, EXT_PYDANTIC_V2, JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver

from brushloop import canvas
from brushloop.agent import state
from brushloop.errors import StoreError, UnwritableError

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import BaseCheckpointSaver, ChannelVersions, Checkpoint, CheckpointMetadata

    from brushloop.store import Store

_NOUNS = (
    canvas.Brief, canvas.Budget, canvas.ConditionUnit, canvas.UnitImage, canvas.Frame, canvas.Task,
    canvas.Plan, canvas.Element, canvas.PlanStep, canvas.Critique, canvas.Finding, canvas.Correction,
    canvas.Status, canvas.Fault, canvas.EditType, canvas.Verdict, canvas.StopReason, state.Best, state.Spent,
)  # fmt: skip
_BY_NAME: dict[tuple[str, str], type] = {(noun.__module__, noun.__name__): noun for noun in _NOUNS}
LONGEST_LOG = 2 * 2**20
WAIT = 60.0
"""Seconds that a writer waits for others: dozens of processes may share the file."""


def checkpoint_path(home: str) -> Path:
    """Where the checkpoints of a store lie: in its folder, or in the user's state folder if that is not local."""
    if "://" not in home:
        return Path(home) / "checkpoints.sqlite"
    name = hashlib.sha256(home.encode()).hexdigest()[:16]
    return platformdirs.user_state_path("brushloop") / name / "checkpoints.sqlite"


class Serializer(JsonPlusSerializer):
    """LangGraph's serializer, held to msgpack and to the nouns of the state."""

    def __init__(self) -> None:
        super().__init__(allowed_json_modules=None, allowed_msgpack_modules=None, __unpack_ext_hook__=_noun)

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """The value of a payload.

        Raises:
            ValueError: it is none that this serializer wrote.
        """
        if data[0] not in ("null", "bytes", "msgpack"):  # "json" and "pickle" can name what is to be called
            raise ValueError(f"a checkpoint holds {data[0]!r}, which brushloop does not write")
        try:
            return super().loads_typed(data)
        except Exception as error:
            raise ValueError(f"a checkpoint holds what brushloop did not write: {error}") from error


def _noun(code: int, payload: bytes) -> Any:
    """Build a noun from LangGraph's extension: (module, name, fields, ...), or (module, name, value) of an enum."""
    module, name, value, *_ = ormsgpack.unpackb(payload, ext_hook=_noun, option=ormsgpack.OPT_NON_STR_KEYS)
    kind = _BY_NAME.get((module, name))
    if kind is not None and code == EXT_PYDANTIC_V2 and issubclass(kind, canvas.Noun):
        return kind.model_validate(value)
    if kind is not None and code == EXT_CONSTRUCTOR_SINGLE_ARG and issubclass(kind, Enum):
        return kind(value)
    raise ValueError(f"it asks for {module}.{name}")


def serializer() -> Serializer:
    """The serializer of every checkpoint."""
    return Serializer()


class Saver(SqliteSaver):
    """Keeps the newest checkpoint of each creation only: its history is the step chain."""

    log: Path | None = None
    """SQLite's write-ahead log."""

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Save a checkpoint, and then drop those before it with their writes."""
        saved = super().put(config, checkpoint, metadata, new_versions)
        with self.cursor() as cursor:
            for table in ("checkpoints", "writes"):
                cursor.execute(
                    f"delete from {table} where thread_id = ? and checkpoint_ns = ? and checkpoint_id < ?",
                    (config["configurable"]["thread_id"], config["configurable"]["checkpoint_ns"], checkpoint["id"]),
                )
        self._shorten_log()
        return saved

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Save what a node leaves besides the state (errors, questions to a person).

        Its part of the state is in the checkpoint that follows at once: one node works at a time.
        """
        if any(channel in WRITES_IDX_MAP for channel, _ in writes):
            super().put_writes(config, writes, task_id, task_path)

    def _shorten_log(self) -> None:
        """SQLite shortens its log only while nobody reads, which is never where dozens work: wait for that moment."""
        with suppress(OSError, sqlite3.OperationalError):
            if self.log is not None and self.log.stat().st_size > LONGEST_LOG:
                with self.lock:
                    self.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def open_checkpoints(home: str) -> BaseCheckpointSaver[str]:
    """The checkpoints of a store: in the Postgres that `BRUSHLOOP_CHECKPOINTS` names, else in a SQLite file.

    Raises:
        BackendError: the variable is no Postgres URL, or the package for it is not installed.
        StoreError: the file or the database cannot be used.
    """
    from brushloop.agent import postgres

    if url := postgres.url_of_environment():
        return postgres.open_saver(url)
    return open_saver(checkpoint_path(home))


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
        connection = sqlite3.connect(path, timeout=WAIT, check_same_thread=False)
        saver = Saver(connection, serde=serializer())
        saver.log = path.with_name(f"{path.name}-wal")
        weakref.finalize(saver, connection.close)
        saver.setup()
        connection.execute("PRAGMA wal_autocheckpoint=200")  # pages: all that is kept fits into a few
        connection.execute("PRAGMA synchronous=NORMAL")  # a kill loses nothing; a power cut maybe the last node
    return saver


def forget(store: Store) -> int:
    """Drop LangGraph's memory of creations that are finished or gone; return how many there were."""
    from brushloop.agent import postgres

    if url := postgres.url_of_environment():  # other stores may share it: theirs are left alone
        return postgres.forget(url, [head.id for head in store.heads() if store.get_step(head.head).kind == "finish"])
    path = checkpoint_path(store.url)
    if not path.is_file():
        return 0
    going = {head.id for head in store.heads() if store.get_step(head.head).kind != "finish"}
    saver = open_saver(path)
    with errors_told(path), closing(saver.conn):
        known = {row[0] for row in saver.conn.execute("select distinct thread_id from checkpoints")}
        known |= {row[0] for row in saver.conn.execute("select distinct thread_id from writes")}
        for thread in known - going:
            saver.delete_thread(thread)
        with suppress(sqlite3.OperationalError):  # somebody is painting: the pages are used again anyway
            saver.conn.execute("vacuum")
    return len(known - going)


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
