"""Work beside its caller, so that Ctrl-C or a closed stream stops it between two denoising steps."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import closing
from typing import Any, TypeVar

T = TypeVar("T")


def beside(work: Callable[[Callable[[T], None]], None], stop: threading.Event) -> Generator[T]:
    """Yield what `work(tell)` tells, while it runs in a thread of its own.

    If the consumer leaves early, by an exception (Ctrl-C is one) or by closing, `stop` is set and the
    work is awaited: it ends in its own time, and what it has recorded is whole. A second Ctrl-C no
    longer waits. An exception of the work is raised here.
    """
    items: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
    go = threading.Event()

    def run() -> None:
        try:
            go.wait()  # for the caller to be where an interruption is heard
            work(lambda item: items.put(("item", item)))
            items.put(("end", None))
        except BaseException as error:
            items.put(("error", error))

    thread = threading.Thread(target=run, name="brushloop", daemon=True)
    try:
        thread.start()
        go.set()
        while True:
            kind, item = items.get()
            if kind == "end":
                return
            if kind == "error":
                raise item
            yield item
    except BaseException:
        stop.set()
        go.set()
        if thread.is_alive():
            thread.join()
        raise


def attended(
    work: Callable[[Callable[[T], None], Callable[[], bool]], None],
    hear: Callable[[T], None] | None,
    cancel: Callable[[], bool] | None,
) -> None:
    """Do `work(tell, cancelled)` in a thread; `hear` gets what it tells, in this one (None: nothing is handed over).

    `cancelled()` is true once `cancel()` is, or Ctrl-C was pressed: then the work is awaited before that is raised.
    """
    stop = threading.Event()

    def cancelled() -> bool:
        return stop.is_set() or (cancel is not None and cancel())

    def watched(tell: Callable[[T], None]) -> None:
        work(tell if hear else lambda event: None, cancelled)

    with closing(beside(watched, stop)) as events:
        for event in events:
            if hear:
                hear(event)


async def heard(work: Callable[[Callable[[T], None], Callable[[], bool]], object]) -> AsyncGenerator[T]:
    """Yield, in asyncio, what `work(tell, cancelled)` tells while it runs in a thread.

    Leaving early makes `cancelled()` true and awaits the end. An exception of the work is raised here.
    """
    loop, stop = asyncio.get_running_loop(), threading.Event()
    items: asyncio.Queue[tuple[T] | None] = asyncio.Queue()

    def run() -> None:
        try:
            work(lambda item: put((item,)), stop.is_set)
        finally:
            put(None)

    def put(item: tuple[T] | None) -> None:
        loop.call_soon_threadsafe(items.put_nowait, item)

    running = asyncio.create_task(asyncio.to_thread(run))
    try:
        while (item := await items.get()) is not None:
            yield item[0]
    finally:
        stop.set()
        await running
