"""Running the graph beside its caller, so that Ctrl-C and a closed stream stop it between two denoising steps."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

T = TypeVar("T")


def beside(work: Iterable[T], stop: threading.Event) -> Generator[T]:
    """Yield what `work` yields, while it runs in a thread of its own.

    If the consumer leaves early, by an exception (Ctrl-C is one) or by closing, `stop` is set and the
    work is awaited: it finishes in its own time, and what it has recorded is whole. A second Ctrl-C no
    longer waits. An exception of the work is raised here.
    """
    items: queue.SimpleQueue[tuple[str, T | BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            for item in work:
                items.put(("item", item))
            items.put(("end", None))
        except BaseException as error:
            items.put(("error", error))

    thread = threading.Thread(target=run, name="brushloop", daemon=True)
    thread.start()
    try:
        while True:
            kind, item = items.get()
            if kind == "end":
                return
            if isinstance(item, BaseException) and kind == "error":
                raise item
            yield item  # type: ignore[misc]
    except BaseException:
        stop.set()
        thread.join()
        raise
