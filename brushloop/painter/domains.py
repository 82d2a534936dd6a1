"""The 21 domains of step-by-step making (MakeAnything, section 3), as data: `domains.json`.

The order is that of the public weights: `index` 1-21 is the number of a domain's B. Whether the embedded
painter knows a domain is not written here; the installed adapter says it (`painter.adapters.files.installed`).
"""

from __future__ import annotations

import difflib
import json
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, model_validator

from brushloop.canvas import Noun
from brushloop.errors import InputError


class Domain(Noun):
    """One way of making things, and how its process is laid out."""

    index: Annotated[int, Field(ge=1)]
    name: str
    about: str
    phrase: str
    """As captions name it: step-by-step `phrase` process."""
    frames: Literal[4, 9]
    layout: Literal["2x2", "3x3"]
    cell: int
    """Pixels along a side of one frame in the grids that the public weights learned."""
    tags: tuple[str, ...]
    tools: tuple[str, ...]
    materials: tuple[str, ...]
    steps: tuple[str, ...]
    """What is done in each frame, in words: the guide's defaults."""
    drawn: bool
    """Whether vector art can teach it honestly, so that the recipe `process` trains the embedded painter for it."""

    @model_validator(mode="after")
    def _one_step_a_frame(self) -> Domain:
        if len(self.steps) != self.frames or {"2x2": 4, "3x3": 9}[self.layout] != self.frames:
            raise ValueError(f"{self.name} has {self.frames} frames, {len(self.steps)} steps and layout {self.layout}")
        return self

    @property
    def needs(self) -> str:
        """What a picture in this domain needs beyond the embedded painter."""
        return f"FLUX.1-dev and the public MakeAnything adapter, of which it is number {self.index}"

    def text(self, number: int, frames: int) -> str:
        """What is done in frame `number` (0-based) of a process of `frames` frames."""
        if frames == 1:
            return self.steps[-1]
        at = number * (self.frames - 1) / (frames - 1)
        same = [n for n in range(frames) if int(n * (self.frames - 1) / (frames - 1)) == int(at)]
        part = f" ({same.index(number) + 1} of {len(same)})" if len(same) > 1 else ""
        return self.steps[int(at)] + part


@lru_cache(maxsize=1)
def domains() -> tuple[Domain, ...]:
    """All domains, in the order of the public weights."""
    return tuple(TypeAdapter(list[Domain]).validate_python(json.loads(_DATA.read_text(encoding="utf-8"))))


_DATA = Path(__file__).with_name("domains.json")


def domain(name: str) -> Domain:
    """The domain of that name; case, hyphens and underscores do not matter.

    Raises:
        InputError: there is none; the message names the nearest.
    """
    wanted = " ".join(name.lower().replace("-", " ").replace("_", " ").split())
    known = {each.name: each for each in domains()}
    if wanted in known:
        return known[wanted]
    near = difflib.get_close_matches(wanted, known, n=3, cutoff=0.5) or list(known)
    raise InputError(f"no domain {name!r}: use {', '.join(near)} (brushloop adapters list shows all)")
