"""LangGraph's memory of runs, and the locks of creations, in a Postgres that several machines share.

    BRUSHLOOP_CHECKPOINTS=postgresql://user@host/name

As in SQLite, only the newest checkpoint of each creation is kept, and all of it may be lost: the steps are enough.
A lock is a session's advisory lock: who is killed, or cut off, lets go.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from langgraph.checkpoint.base import WRITES_IDX_MAP

from brushloop.agent.checkpoints import serializer
from brushloop.errors import BackendError, StoreError, UnwritableError

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import BaseCheckpointSaver

VARIABLE = "BRUSHLOOP_CHECKPOINTS"
CONNECT = 10.0
"""Seconds that a connection is waited for."""
_SETUP = 0x6272757368  # any number of our own: two that make the tables at once would get in each other's way

_NOTICED = {"tcp_keepalives_idle": 10, "tcp_keepalives_interval": 5, "tcp_keepalives_count": 3}
"""So that the server lets go of a lock within half a minute when the machine that held it is gone."""


def url_of_environment() -> str | None:
    """The Postgres that `BRUSHLOOP_CHECKPOINTS` names.

    Raises:
        BackendError: it names something else.
    """
    url = os.environ.get(VARIABLE)
    if url and not url.startswith(("postgresql://", "postgres://")):
        raise BackendError(f"{VARIABLE} is no Postgres URL: write postgresql://user@host/name, or leave it out")
    return url or None


def open_saver(url: str) -> BaseCheckpointSaver[str]:
    """Connect, and make the tables if they are not there. Connections that broke are replaced.

    Raises:
        BackendError: the package for it is not installed.
        UnwritableError: no such server, user or database, or it may not be written.
    """
    with errors_told(url):
        try:
            from langgraph.checkpoint.postgres import PostgresSaver
            from psycopg.rows import dict_row
            from psycopg_pool import ConnectionPool
        except ImportError as error:
            raise BackendError(
                f"Postgres needs a package that is missing ({error}): pip install 'brushloop[postgres]'"
            ) from error

        class Saver(PostgresSaver):
            """Keeps the newest checkpoint of each creation only: its history is the step chain."""

            def put(self, config: RunnableConfig, *rest: Any) -> RunnableConfig:
                saved = super().put(config, *rest)
                self.prune([config["configurable"]["thread_id"]])
                return saved

            def put_writes(
                self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
            ) -> None:
                if any(channel in WRITES_IDX_MAP for channel, _ in writes):  # the rest is in the next checkpoint
                    super().put_writes(config, writes, task_id, task_path)

        with _session(url):  # an answer at once, where the pool would try again and again
            pass
        options = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
        pool: Any = ConnectionPool(
            url,
            kwargs=options,
            min_size=1,
            max_size=4,
            timeout=CONNECT,
            check=ConnectionPool.check_connection,
            open=True,
        )
        saver = Saver(pool, serde=serializer())
        weakref.finalize(saver, pool.close)
        with pool.connection() as connection:
            connection.execute("select pg_advisory_lock(%s)", (_SETUP,))
            try:
                saver.setup()
            finally:
                connection.execute("select pg_advisory_unlock(%s)", (_SETUP,))
    return saver


def forget(url: str, ids: Sequence[str]) -> int:
    """Drop what is kept of these creations; return of how many anything was."""
    saver: Any = open_saver(url)
    with errors_told(url), _session(url) as session:
        rows = session.execute("select distinct thread_id from checkpoints where thread_id = any(%s)", (list(ids),))
        known = [row[0] for row in rows.fetchall()]
        saver.prune(known, strategy="delete")
        saver.conn.close()
    return len(known)


@contextmanager
def held(url: str, id: str, grace: float) -> Iterator[bool]:
    """Hold a creation against everybody who uses that database; says whether it was to be had within `grace` seconds.

    Raises:
        UnwritableError: the database cannot be reached.
    """
    with errors_told(url), _session(url) as session:
        for setting, seconds in _NOTICED.items():
            session.execute(f"set {setting} = {seconds}")
        until = time.monotonic() + grace
        while not (got := _locked(session, id)) and time.monotonic() < until:
            time.sleep(0.05)
        yield got


@contextmanager
def errors_told(url: str | None = None) -> Iterator[None]:
    """Turn the database's errors into one line that says what to do, without the password of the URL."""
    try:
        yield
    except Exception as error:
        kind = type(error)
        if kind.__module__.partition(".")[0] not in ("psycopg", "psycopg_pool"):
            raise
        said = " ".join(str(error).split())[:200] or kind.__name__
        where = _without_password(url) if url else "the checkpoint database"
        if kind.__name__ in ("DataError", "InternalError", "UndefinedColumn", "UndefinedTable"):
            raise StoreError(
                f"the checkpoint tables in {where} are damaged ({said}): drop them, the steps of creations are enough"
            ) from error
        raise UnwritableError(
            f"cannot use {where} ({said}): check that the server runs and that you may write there"
        ) from error


@contextmanager
def _session(url: str) -> Iterator[Any]:
    try:
        import psycopg
    except ImportError as error:
        raise BackendError(
            f"Postgres needs a package that is missing ({error}): pip install 'brushloop[postgres]'"
        ) from error
    with psycopg.connect(url, autocommit=True, connect_timeout=int(CONNECT)) as session:
        yield session


def _locked(session: Any, id: str) -> bool:
    row = session.execute("select pg_try_advisory_lock(hashtextextended(%s, 0))", (f"brushloop {id}",)).fetchone()
    return bool(row[0])


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    user, at, place = rest.rpartition("@")
    return f"{scheme}://{user.partition(':')[0]}{at}{place.partition('?')[0]}"
