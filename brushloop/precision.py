"""The precision that a device computes in: bfloat16 where it multiplies in it, else float32."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch

_CPUS = ("avx512_bf16", "amx_bf16", "bf16")
"""What torch says of a CPU (x86, x86, Arm) that multiplies in bfloat16; others take up to ninety times as long."""


_ASSUMED: ContextVar[bool | None] = ContextVar("assumed", default=None)


@contextmanager
def assuming(gains: bool) -> Iterator[None]:
    """Within it, every device is taken to gain by bfloat16, or none: for figures of another device than this one."""
    token = _ASSUMED.set(gains)
    try:
        yield
    finally:
        _ASSUMED.reset(token)


def in_bf16(device: torch.device | str) -> bool:
    """Whether a device gains by bfloat16: accelerators do, CPUs that have instructions for it."""
    if (assumed := _ASSUMED.get()) is not None:
        return assumed
    if torch.device(device).type != "cpu":
        return True
    told: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # torch before 2.10 does not tell
    return torch.backends.mkldnn.is_available() and any(told.get(name) for name in _CPUS)


def autocast(device: torch.device | str, wanted: bool = True) -> Any:
    """A context in which a device computes in bfloat16, where that is `wanted` and it gains by it."""
    where = torch.device(device)
    return torch.autocast(where.type, torch.bfloat16, enabled=wanted and in_bf16(where))
