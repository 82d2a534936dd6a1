"""States that the loop itself makes, for the critic to learn from (self-sampled: the closed loop).

Training prompts are painted (`train.closed`), and every draft and refinement in their store becomes a lesson. A
detector labels them: the teacher, which is another network than the judge (other seed, and the models' own
division of the world), so that what measures the critic never taught it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from brushloop.canvas import Brief, Element, Plan, StepKind
from brushloop.store import Store
from brushloop.supervision.judge import Judge, Sight
from brushloop.supervision.labels import label
from brushloop.supervision.world import edits, words
from brushloop.supervision.world.scenes import Scene, is_held_out
from brushloop.supervision.world.worlds import current
from brushloop.train.vlm import Lesson, look_lesson

if TYPE_CHECKING:
    from PIL.Image import Image


class Made(NamedTuple):
    """A picture that the loop made, and up to which plan step it is to be judged."""

    brief: Brief
    plan: Plan
    step: int
    picture: Image


def made(store: Store) -> Iterator[Made]:
    """Every draft and refinement in a store, judged as far as it was painted and, if there is more, one step ahead.

    A painter hardly ever leaves out what it is asked for; one step ahead its pictures are sound states in which
    something is really missing.
    """
    for head in store.heads():
        plan: Plan | None = None
        brief: Brief | None = None
        for _, step in store.chain(head.head):
            plan, brief = step.plan or plan, step.brief or brief
            if step.kind not in (StepKind.DRAFT, StepKind.REFINE) or plan is None or brief is None:
                continue
            picture, at = store.get_image(step.outputs[-1]), int(step.settings["plan_step"])
            yield from (Made(brief, plan, until, picture) for until in range(at, min(at + 2, len(plan.steps))))


CHANGES = (edits.replace, edits.color, edits.move, edits.background)
"""What may be asked otherwise."""


def otherwise(rng: random.Random, state: Made, training: bool = True) -> Made | None:
    """The same picture, held against a plan that asks for one thing in it otherwise (instruction-state conflict).

    A painter that is given another plan than the critic errs as often as one likes, in pictures that it really made:
    another object, colour, place or background than asked for. None if the change drawn is not possible there, or
    asks in training for a combination that is held out.
    """
    due = state.plan.due(state.step)
    shown = Scene(tuple(state.plan.elements[index] for index in due), state.plan.style or current().styles[0])
    known = {"background": current().backgrounds, "object": current().by_name}
    if len(due) < 2 or any(thing.name not in known[thing.role] for thing in state.plan.elements):
        return None  # a model planned it, and may have left the world
    change = rng.choice(CHANGES)
    edit = change(rng, shown)
    if edit is None or (change is edits.move and any(old != new and new.count > 1 for old, new in _pairs(edit))):
        return None
    elements = list(state.plan.elements)
    for index, thing in zip(due, edit.after, strict=True):
        elements[index] = thing
    asked = Scene(tuple(elements), shown.style)
    if training and is_held_out(asked):
        return None
    brief = state.brief.model_copy(update={"prompt": words.prompt(asked, rng)[0]})
    return state._replace(brief=brief, plan=state.plan.model_copy(update={"elements": tuple(elements)}))


def _pairs(edit: edits.Edit) -> Iterator[tuple[Element, Element]]:
    return zip(edit.before, edit.after, strict=True)


def lessons(store: Store, teacher: Judge, times: int = 5) -> list[Lesson]:
    """What the teacher says of every state of every creation in the store.

    Up to `times` plans ask otherwise of each state, and as often the state is asked as it was meant.

    Raises:
        WeightsError: the teacher was trained in another world.
    """
    teacher.must_know(current())
    found, rng = [], random.Random("otherwise")
    for state in made(store):
        sight = teacher.look([state.picture])[0]

        def lesson(asked: Made, sight: Sight = sight) -> Lesson:
            brief, plan, step, picture = asked
            return look_lesson(brief.prompt, plan, step, label(sight, plan, step, picture), picture)

        others = [lesson(other) for other in (otherwise(rng, state) for _ in range(times)) if other]
        found += [*others, *[lesson(state)] * max(1, len(others))]
    return found
