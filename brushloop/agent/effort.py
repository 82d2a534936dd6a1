"""How much work goes into a picture: three levels, and what follows measured need within each.

A picture of one thing takes the short path: one draft with few denoising steps, judged once. Beyond that denoising
steps grow with the things that a draft shows and with the tries that a correction has already cost; a draft of few
things may be small; replies of a model get room for twice what they took so far, and more if one is cut.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

from brushloop.errors import InputError, SizeError
from brushloop.painter.base import Painter
from brushloop.vlm import VLM, Question, Reply


@dataclass(frozen=True)
class Effort:
    """How much work goes into a picture: drafts are cheap, refinements are worth more denoising steps."""

    alone_steps: int = 3
    """Denoising steps of the first draft of a picture that is to show one thing: measured to be enough."""
    draft_steps: int = 8
    """Denoising steps of any other draft that adds one thing: more were measured to gain nothing (docs/bench.md)."""
    refine_steps: int = 12
    """Denoising steps of the first try of a refinement, and the most that a draft takes."""
    per_thing: int = 0
    """Denoising steps more for each further thing that a draft shows."""
    per_try: int = 4
    """Denoising steps more for each time that a correction was tried already, up to twice `refine_steps`."""
    process_steps: int = 24
    """Denoising steps of each grid of a plan step that is made as a process."""
    guidance: float = 2.0
    strength: float = 0.9
    """Of a refinement: partial denoising, from the picture it refines. 1 would begin from pure noise."""
    margin: int = 3
    """Percent of the canvas around a region in which the new picture fades into the old."""
    draft_scale: float = 1.0
    """Sides of a first draft of at most `small_things`, as a share of the canvas, if the painter can paint that."""
    small_things: int = 2
    rounds: int | None = None
    """Limit of pictures where the budget names none; None leaves the budget's own."""
    stall: int | None = None
    """As `rounds`: tries without a gain before the loop moves on."""
    reply_tokens: int = 512
    """Room for the first reply of each kind; later ones get twice what was needed so far."""
    name: str = "normal"

    @classmethod
    def named(cls, name: str) -> Effort:
        """One of the three levels.

        Raises:
            InputError: there is no such level.
        """
        if name not in LEVELS:
            raise InputError(f"there is no effort {name[:40]!r}: choose from {', '.join(LEVELS)}")
        return LEVELS[name]

    def of_draft(self, things: int, alone: bool = False) -> int:
        """Denoising steps of a draft that adds `things` things; `alone`: nothing else is to be, nothing was tried."""
        if alone and things <= 1:
            return self.alone_steps
        return min(self.refine_steps, self.draft_steps + self.per_thing * max(0, things - 1))

    def of_refine(self, tried: int) -> int:
        """Denoising steps of a correction that was tried so often without success."""
        return min(2 * self.refine_steps, self.refine_steps + self.per_try * tried)

    def draft_size(self, size: tuple[int, int], things: int, painter: Painter) -> tuple[int, int]:
        """Width and height in pixels of a first draft of `things` things: small where that is enough and possible."""
        small = round(size[0] * self.draft_scale), round(size[1] * self.draft_scale)
        if small == size or things > self.small_things:
            return size
        try:
            painter.check_size(small)
        except SizeError:
            return size
        return small

    @property
    def limits(self) -> dict[str, float]:
        """What it says of a budget."""
        said = {"rounds": self.rounds, "stall": self.stall}
        return {name: limit for name, limit in said.items() if limit is not None}


LEVELS = {
    "low": Effort(
        alone_steps=2, draft_steps=6, refine_steps=8, per_try=2, draft_scale=0.5, rounds=6, stall=1,
        reply_tokens=256, process_steps=12, name="low",
    ),
    "normal": Effort(),
    "high": Effort(
        alone_steps=8, draft_steps=16, refine_steps=24, per_thing=4, per_try=8, rounds=48, stall=5, reply_tokens=1024,
        process_steps=32, name="high",
    ),
}  # fmt: skip


class Bounded:
    """A model whose replies get room by what they took so far. One that is cut is asked again with all the room.

    So the limit never changes what is answered, only how long a model may babble. One that does not say that it can be
    `shared`, as a server can, is asked one question at a time: replies written side by side in one process take longer
    than one after the other, and keep the painter of another thread waiting.
    """

    def __init__(self, vlm: VLM, first: int) -> None:
        self.vlm, self.ref = vlm, vlm.ref
        self._first, self._longest = first, dict[str, int]()
        self._turn = nullcontext() if getattr(vlm, "shared", False) else threading.Lock()

    def ask(self, question: Question) -> Reply:
        """As the model's, with a limit of tokens of its own."""
        kind = question.text.partition(":")[0]
        room = min(question.max_tokens, max(self._first, 2 * self._longest.get(kind, 0)))
        with self._turn:
            reply = self.vlm.ask(replace(question, max_tokens=room))
        if reply.cut and room < question.max_tokens:
            with self._turn:
                more = self.vlm.ask(question)
            both = {name: getattr(reply, name) + getattr(more, name) for name in _COUNTED}
            reply = replace(more, **both)
        self._longest[kind] = max(self._longest.get(kind, 0), reply.tokens_out)
        return reply

    def unknown_words(self, prompt: str) -> Sequence[tuple[str, Sequence[str]]]:
        """As the model's."""
        return self.vlm.unknown_words(prompt)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.vlm, name)  # what some models can do besides: tell names, say what they may be asked


_COUNTED = ("tokens_in", "tokens_out", "tokens_cached")
