"""Waiting for a model server that has gone away: the creation goes on where it was once the server is back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from brushloop.agent.events import Cancelled, OnEvent, WaitEvent
from brushloop.errors import AwayError
from brushloop.vlm_openai import seconds_from

T = TypeVar("T")

LONGEST = 10.0
"""Seconds between two tries, at most."""


def patience() -> float:
    """Seconds to wait for a server: `BRUSHLOOP_VLM_PATIENCE`, or 180, in which a large model can be loaded again."""
    return seconds_from("BRUSHLOOP_VLM_PATIENCE", 180.0)


def patiently(ask: Callable[[], T], seconds: float, tell: OnEvent, cancelled: Callable[[], bool]) -> T:
    """What `ask` returns, asking again at growing intervals while the server is away.

    Raises:
        AwayError: it is still away after `seconds`.
        Cancelled: the run was.
    """
    until, pauses = time.monotonic() + seconds, _growing()
    while True:
        try:
            return ask()
        except AwayError as error:
            left = until - time.monotonic()
            if left <= 0:
                raise
            pause = min(next(pauses), left)
            tell(WaitEvent(type="wait", seconds=round(pause, 1), why=str(error)))
        again = time.monotonic() + pause
        while (left := again - time.monotonic()) > 0:
            if cancelled():
                raise Cancelled
            time.sleep(min(0.1, left))


def _growing() -> Iterator[float]:
    pause = 0.5
    while True:
        yield pause
        pause = min(2 * pause, LONGEST)
