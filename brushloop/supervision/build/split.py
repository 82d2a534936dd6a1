"""What is kept from training: combinations, objects and phrasings, each by the hash of its own name.

Everything here is asked before a pixel is drawn. Combinations are those of the world (`scenes.held_out`), so that
records and the shipped models agree on them; objects and phrasings have divisions of their own.
"""

from __future__ import annotations

import hashlib

from brushloop.supervision.world.scenes import Scene, combinations, held_out

OBJECTS_PERCENT = 5
"""Share of objects that no training record shows."""

PHRASINGS_PERCENT = 15
"""Share of phrasings that no training record says."""


def object_held_out(name: str) -> bool:
    """Whether no training record shows an object of that name."""
    return _class(f"record object {name}") < OBJECTS_PERCENT


def phrasing_held_out(template: str) -> bool:
    """Whether no training record says something in that phrasing (`put {a} there`)."""
    return _class(f"record phrasing {template}") < PHRASINGS_PERCENT


def held_out_of(scene: Scene) -> tuple[str, ...]:
    """Names of what a scene shows that training must not see, sorted; empty for a training scene."""
    objects = {thing.name for thing in scene.elements if thing.role == "object"}
    alone = {f"object {name}" for name in objects if object_held_out(name)}
    return tuple(sorted(alone | {key for key in combinations(scene) if held_out(key)}))


def _class(key: str) -> int:
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") % 100
