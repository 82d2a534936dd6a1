"""Where a run computes, and what becomes of it there: accelerator or CPU, precision, memory, interruption."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from brushloop.errors import InputError
from brushloop.precision import autocast as precise


def device() -> torch.device:
    """Where this process computes, as accelerate says: its accelerator, or the CPU (ACCELERATE_USE_CPU=1 insists)."""
    from accelerate import PartialState

    where: torch.device = PartialState().device
    return where


def autocast(where: torch.device, precision: str = "bf16") -> Any:
    """bf16, where the device gains by it, or fp32; what `accelerate launch --mixed_precision` says goes before it.

    Raises:
        InputError: there is no such precision.
    """
    precision = {"no": "fp32"}.get(said := os.environ.get("ACCELERATE_MIXED_PRECISION", precision), said)
    if precision not in ("bf16", "fp32"):
        raise InputError(f"precision {precision!r} is not among bf16 and fp32")
    return precise(where, wanted=precision == "bf16")


def hold_memory() -> None:
    """Let memory that is freed stay with this process, where the C library is glibc.

    A step on a CPU then takes what the step before left, instead of pages that the kernel has to clear first, which
    on virtual machines can take as long as the arithmetic.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(_MMAP_THRESHOLD, 2**25)
        libc.mallopt(_TRIM_THRESHOLD, -1)


_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Numbers of glibc's malloc.h: what may be free at the end before it is given back, and the size of blocks kept apart.

The second may be 32 MiB at most. Larger blocks are given back at once: of many sizes, they would leave gaps.
"""


def recompute(transformer: Any) -> None:
    """Compute blocks again in the backward pass, for a third more arithmetic and a fraction of the memory."""
    transformer.enable_gradient_checkpointing()
    transformer.train()


def exhausted(error: RuntimeError | MemoryError) -> bool:
    """Whether an error says that memory is used up, here or on an accelerator. Not every driver has a class for it."""
    said = any(words in str(error) for words in ("can't allocate memory", "out of memory"))
    return said or isinstance(error, (torch.OutOfMemoryError, MemoryError))


def lost(error: BaseException) -> bool:
    """Whether an error says that an accelerator is gone: what it held cannot be read any more."""
    return isinstance(error, torch.AcceleratorError) and not exhausted(error)


class Stop:
    """Whether somebody has asked for an end."""

    asked = False


@contextmanager
def interruptible() -> Iterator[Stop]:
    """Within it, the first Ctrl-C or SIGTERM asks for an end after the step that is being taken; a second one insists.

    Signals reach the main thread only: elsewhere nobody is heard.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def hear(number: int, frame: Any) -> None:
        if stop.asked:
            raise KeyboardInterrupt
        stop.asked = True

    for number in before:
        signal.signal(number, hear)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
