"""Whole pictures: a prompt and the finished picture, in one go; what a painter learns before it learns to proceed."""

from __future__ import annotations

import random

from brushloop.canvas import Task
from brushloop.supervision.build import filters
from brushloop.supervision.build.desk import Desk, source
from brushloop.supervision.build.split import held_out_of
from brushloop.supervision.records import Loss, Record, Truth, Turn, TurnKind
from brushloop.supervision.world import scenes, words


def whole(desk: Desk) -> Record:
    """One picture of one scene, said as people say it."""
    rng = random.Random(desk.chance)
    scene = desk.scene(rng)
    prompt = words.prompt(scene, rng, desk.training)[0]
    picture = scenes.render(scene.elements, scene.style, scene.variant)
    filters.check_picture(picture)
    turn = Turn(
        kind=TurnKind.STATE, by="renderer", text=prompt, picture=desk.put(picture), loss=Loss(picture=True),
        truth=Truth(by="renderer", elements=scene.elements),
    )  # fmt: skip
    return Record(
        id=desk.id, task=Task.PAINT, split=desk.recipe.split, held_out=held_out_of(scene), prompt=prompt,
        turns=(turn,), source=source("whole", scene.style),
    )  # fmt: skip
