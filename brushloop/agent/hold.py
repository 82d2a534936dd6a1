"""Holding a creation while it is worked on: of two who go on with the same one, the second gets a clear conflict."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from brushloop.agent import postgres
from brushloop.agent.checkpoints import checkpoint_path
from brushloop.errors import ConflictError, UnwritableError
from brushloop.store import Store

GRACE = 2.0
"""Seconds to wait for one who is just about to let go, as a run is that has told that it waits."""


@contextmanager
def hold(store: Store, id: str, head: str | None = None) -> Iterator[None]:
    """Hold a creation against every other thread and process of this machine; a killed process lets go.

    Where checkpoints are in a Postgres, against all who use it, on whatever machine.

    Args:
        store: where it is kept. One in memory is seen by this process alone and needs no lock.
        id: the creation.
        head: the step that whoever asks has seen as its newest.

    Raises:
        ConflictError: somebody else works on it, or has gone on from `head`.
        UnwritableError: no lock can be made.
    """
    if store.url.startswith("memory:"):
        _unmoved(store, id, head)
        yield
        return
    if url := postgres.url_of_environment():
        with postgres.held(url, id, GRACE) as got:
            if not got:
                raise _held(id)
            _unmoved(store, id, head)
            yield
        return
    from filelock import FileLock, Timeout

    path = checkpoint_path(store.url).parent / "locks" / f"{id}.run"
    lock = FileLock(path, timeout=GRACE, thread_local=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock.acquire()
    except Timeout:
        raise _held(id) from None
    except OSError as error:
        raise UnwritableError(f"cannot lock {path} ({error.strerror}): check the disk and its permissions") from error
    try:
        _unmoved(store, id, head)
        yield
    finally:
        lock.release()


def _held(id: str) -> ConflictError:
    return ConflictError(f"somebody else works on creation {id} at this moment: wait until that is done, or fork it")


def _unmoved(store: Store, id: str, head: str | None) -> None:
    if head is not None and (now := store.head(id)) != head:
        raise ConflictError(
            f"creation {id} was at step {head[:12]} and is now at {now[:12]}: somebody else has gone on with it; "
            "look at it again, then answer or fork"
        )
