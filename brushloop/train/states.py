"""States that the loop itself makes, for the critic to learn from (self-sampled: the closed loop).

Training prompts are painted by the studio, and every draft and refinement in its store becomes a lesson. A
detector labels them: the teacher, which is another network than the judge (other seed, and the models' own
division of the world), so that what measures the critic never taught it.
"""

from __future__ import annotations

import random
from pathlib import Path

from brushloop.agent.studio import Studio
from brushloop.canvas import Brief, Plan, StepKind
from brushloop.store import Store
from brushloop.supervision.judge import Judge
from brushloop.supervision.labels import label
from brushloop.supervision.world import scenes, words
from brushloop.train.vlm import Lesson, look_lesson


def paint(home: Path, number: int, seed: int = 0, part: int = 0, parts: int = 1) -> None:
    """Paint `number` training prompts into a store at `home`; goes on where it was stopped."""
    studio = Studio(home=home)
    done = {head.id for head in studio.store.heads()}
    for index in range(part, number, parts):
        name = f"state-{seed}-{index:05d}"
        if name not in done:
            rng = random.Random(f"states/{seed}/{index}")
            prompt = words.prompt(scenes.sample_split(rng, True), rng)[0]
            studio.paint(prompt, seed=index, budget={"rounds": 8, "stall": 2}, id=name)


def lessons(store: Store, teacher: Judge) -> list[Lesson]:
    """Every state of every creation in the store, with what the teacher says of it."""
    found = []
    for head in store.heads():
        plan: Plan | None = None
        brief: Brief | None = None
        for _, step in store.chain(head.head):
            plan, brief = step.plan or plan, step.brief or brief
            if step.kind in (StepKind.DRAFT, StepKind.REFINE) and plan and brief:
                picture, at = store.get_image(step.outputs[0]), int(step.settings["plan_step"])
                look = label(teacher.look([picture])[0], plan, at, picture)
                found.append(look_lesson(brief.prompt, plan, at, look, picture))
    return found
