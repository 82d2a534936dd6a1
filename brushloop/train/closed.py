"""The closed loop: models paint training prompts as they would for anyone, and every state of it can become a record.

`brushloop data build --recipe self-sampled --set stores=FOLDER --set teacher=FILE` has the states judged by a detector
and makes records of them, sound and faulty, on which `supervise` goes on: then planner, painter and critic learn from
what they meet, and not only from what a renderer shows them.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

from brushloop.agent.studio import Studio
from brushloop.errors import ModelError
from brushloop.painter.base import Painter
from brushloop.supervision.world import scenes, words
from brushloop.supervision.world.worlds import current, models_of
from brushloop.vlm import VLM

BUDGET = {"rounds": 8, "stall": 2}


def paint(
    home: Path,
    number: int,
    painter: str | Painter | None = None,
    vlm: str | VLM | None = None,
    seed: int = 0,
    seconds: float | None = None,
    part: int = 0,
    parts: int = 1,
) -> int:
    """Paint `number` training prompts into a store at `home`, or as many as `seconds` allow; goes on with a store.

    Without a word about painter and vlm, it is done by the models that ship and know the world.

    Several processes may share a store: each paints every `parts`-th prompt, from `part` on. A model in training may
    answer with something that is no plan or critique: that creation is left as far as it came.

    Returns:
        How many creations were painted now.
    """
    own = models_of(current().name)
    studio, began, made = Studio(painter or own, vlm or own, home=home), time.monotonic(), 0
    done = {head.id for head in studio.store.heads()}
    for index in range(part, number, parts):
        if seconds is not None and time.monotonic() - began > seconds:
            break
        name = f"sample-{seed}-{index:05d}"
        if name in done:
            continue
        rng = random.Random(f"sample/{seed}/{index}")
        prompt = words.prompt(scenes.sample_split(rng, True), rng)[0]
        try:
            studio.paint(prompt, seed=index, budget=BUDGET, id=name)
        except ModelError:
            continue
        made += 1
    return made
