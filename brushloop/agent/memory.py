"""How much memory this process holds."""

from __future__ import annotations

import os
import sys
from pathlib import Path

MIB = 2**20


def held() -> int:
    """MiB in use now, in main memory and on the accelerators that torch has opened.

    Where the system does not tell what is in use, it is the most that was ever in use.
    """
    return (_resident() + _on_accelerators()) // MIB


def _resident() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        try:
            import resource
        except ImportError:  # Windows
            return 0
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def _on_accelerators() -> int:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return 0
    return sum(int(torch.cuda.memory_reserved(device)) for device in range(torch.cuda.device_count()))
