"""Which world is sampled: `with only(LARGE): …`. Without a word, the small one, which `embedded` knows.

The world is a context variable: it holds for what runs inside the `with`, in that thread. A thread or process started
there begins in the small world, and enters its own.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from brushloop.errors import InputError
from brushloop.supervision.world.large import LARGE as LARGE
from brushloop.supervision.world.nouns import World
from brushloop.supervision.world.small import SMALL as SMALL
from brushloop.weights import OWN, is_own

WORLDS = {world.name: world for world in (SMALL, LARGE)}
"""Every whole world by its name."""

_ONLY: ContextVar[World] = ContextVar("only", default=SMALL)


def current() -> World:
    """The world that is sampled now."""
    return _ONLY.get()


def known_to(models: str) -> str:
    """Name of the world that models know, by their backend's name: that of `embedded:SET`, else the small one."""
    where = models.partition(":")[2] if is_own(models) else ""
    return where if where in WORLDS else SMALL.name


def models_of(world: str) -> str:
    """What the models are called that come with the package and know the world of that name."""
    return OWN if world == SMALL.name else f"{OWN}:{world}"


@contextmanager
def only(world: World) -> Iterator[World]:
    """Let everything sampled inside the `with` come from a world, or from a part of one."""
    token = _ONLY.set(world)
    try:
        yield world
    finally:
        _ONLY.reset(token)


@contextmanager
def within(name: str) -> Iterator[World]:
    """Sample in the world of that name; a part of it that is sampled already stays.

    Raises:
        InputError: there is no such world (the nearest is suggested).
    """
    here = current()
    with only(here if here.name.split("/")[0] == name else find(name)) as world:
        yield world


def find(name: str) -> World:
    """The world of that name.

    Raises:
        InputError: there is no such world (the nearest is suggested).
    """
    if name not in WORLDS:
        near = difflib.get_close_matches(name, WORLDS, 1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise InputError(f"no world {name!r}{hint}: there are {', '.join(WORLDS)}")
    return WORLDS[name]
