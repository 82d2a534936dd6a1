"""What a builder gets: its chance, its recipe, and a place to put pictures."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from brushloop.canvas import Critique, Finding, Frame, Plan, Status, Verdict
from brushloop.supervision.build.recipes import DataRecipe
from brushloop.supervision.build.split import held_out_of
from brushloop.supervision.records import Record, Source
from brushloop.supervision.world import scenes
from brushloop.supervision.world.scenes import Scene

if TYPE_CHECKING:
    from PIL.Image import Image

    from brushloop.critic.prompt import Look

LICENCES = {"flat": "MIT", "soft": "Apache-2.0", "ink": "MIT", "retro": "Apache-2.0"}
"""Of the art of each style."""

MAKERS = {
    "flat": "Fluent Emoji, Microsoft (MIT)", "soft": "Noto Emoji, Google (Apache-2.0)",
    "ink": "Fluent Emoji (high contrast), Microsoft (MIT)", "retro": "Noto Emoji (first edition), Google (Apache-2.0)",
}  # fmt: skip


@dataclass(frozen=True)
class Desk:
    """Where one record is built. Two desks with equal fields lead to equal records."""

    id: str
    index: int
    chance: str
    """The seed of every random choice of this record; the next try gets another."""
    pair: str
    """The same for record 2k and 2k + 1, for builders that make pairs."""
    recipe: DataRecipe
    put: Callable[[Image], Frame]
    """Keeps a picture. Call it last: what is put before a filter says no stays as an orphan."""

    @property
    def training(self) -> bool:
        return self.recipe.split == "train"

    def scene(self, rng: random.Random, category: str | None = None) -> Scene:
        """A scene of the recipe's split; decided by hashes, before anything is rendered."""
        while True:
            scene = scenes.sample(rng, category)
            if bool(held_out_of(scene)) is not self.training:
                return scene


class Exhausted(Exception):
    """A builder has nothing more to tell of."""


Builder = Callable[[Desk], Record]
"""Makes one record, or raises `Rejected` (try again with another chance) or `Exhausted`."""


def source(name: str, style: str) -> Source:
    """The source of pictures rendered in a style of the world."""
    licence = LICENCES.get(style, "NOASSERTION")
    return Source(name=name, licence=f"Apache-2.0 AND {licence}", attribution=(MAKERS.get(style, style),))


def sound(plan: Plan, step: int) -> Critique:
    """The critique of a state in which everything due is as planned."""
    due = set(plan.due(step))
    findings = [
        Finding(element=index, status=Status.PRESENT if index in due else Status.NOT_YET)
        for index in range(len(plan.elements))
    ]
    return Critique(findings=tuple(findings), verdict=Verdict.ACCEPT, score=1.0)


def critique(look: Look) -> Critique:
    """A true look as a critique; its score is the share of due elements that are as planned."""
    due = [seen for seen in look.findings if seen.status is not Status.NOT_YET]
    right = sum(seen.status is Status.PRESENT for seen in due)
    return Critique(
        findings=tuple(seen.finding() for seen in look.findings),
        corrections=look.corrections,
        verdict=look.verdict,
        score=right / len(due) if due else 0.0,
    )
