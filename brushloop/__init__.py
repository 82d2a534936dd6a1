"""brushloop: an image is made the way a painter makes it, and every step of the making is kept.

from brushloop import Studio

The names below are loaded when they are first used, so that `import brushloop` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from brushloop.agent.effort import Effort
    from brushloop.agent.studio import Studio
    from brushloop.canvas import Brief, Budget, Correction, Critique, Plan, Step, StopReason
    from brushloop.creation import Creation
    from brushloop.errors import BrushloopError
    from brushloop.store import Store

__version__ = "0.1.0"
__all__ = [
    "Brief",
    "BrushloopError",
    "Budget",
    "Correction",
    "Creation",
    "Critique",
    "Effort",
    "Plan",
    "Step",
    "StopReason",
    "Store",
    "Studio",
    "__version__",
]

_HOMES = {
    "brushloop.agent.effort": ("Effort",),
    "brushloop.agent.studio": ("Studio",),
    "brushloop.canvas": ("Brief", "Budget", "Correction", "Critique", "Plan", "Step", "StopReason"),
    "brushloop.creation": ("Creation",),
    "brushloop.errors": ("BrushloopError",),
    "brushloop.store": ("Store",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
