"""Self-sampled records: states that the loop itself painted, sound and faulty, labelled by a detector.

One record for each picture painted in the stores of the recipe: the plan, the picture, what the detector says of it,
and, if a later refinement of that very picture put everything right, that refinement.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from brushloop.canvas import Frame, Plan, Task, Verdict
from brushloop.creation import Creation
from brushloop.errors import InputError
from brushloop.store import Store
from brushloop.supervision.build import phrases
from brushloop.supervision.build.desk import Desk, Exhausted, critique
from brushloop.supervision.build.split import held_out_of
from brushloop.supervision.detector import Detective, known
from brushloop.supervision.export import of_creation
from brushloop.supervision.records import Loss, Record, Source, Truth, Turn, TurnKind
from brushloop.supervision.world.scenes import Scene
from brushloop.supervision.world.worlds import current


@dataclass(frozen=True)
class _Painted:
    """One picture that a loop painted, and where it stands in its record."""

    creation: Creation
    record: Record
    turn: int
    plan: Plan


def sampled(desk: Desk) -> Record:
    """The next painted state of the stores.

    Raises:
        Exhausted: every state has been told.
        InputError: a store is not there, or the detector cannot be read.
        StoreError: a creation is damaged.
    """
    states = painted(desk.recipe.stores, desk.training)
    if desk.index >= len(states):
        raise Exhausted
    here = states[desk.index]
    teacher, store, rng = _teacher(desk.recipe.teacher), here.creation.store, random.Random(desk.chance)
    teacher.judge.must_know(current())
    turn, step = here.record.turns[here.turn], here.record.turns[here.turn].plan_step
    assert step is not None and turn.picture is not None

    def judged(frame: Frame) -> Truth:
        look = teacher.look(store.get_image(frame), here.plan, step)
        return Truth(by="detector", critique=critique(look))

    truth = judged(turn.picture)
    said = truth.critique
    assert said is not None
    state = turn.model_copy(update={"of": None, "loss": Loss(), "truth": truth, "picture": _put(desk, store, turn)})
    turns = [
        Turn(kind=TurnKind.PLAN, by="model", text="; ".join(s.instruction for s in here.plan.steps), plan=here.plan),
        state.model_copy(update={"kind": TurnKind.STATE}),
        Turn(
            kind=TurnKind.REFLECTION, by="detector", text=phrases.reflection(rng, here.plan, said), of=1,
            critique=said, plan_step=step, loss=Loss(text=True), model=teacher.ref,
        ),
    ]  # fmt: skip
    for later in here.record.turns[here.turn + 1 :] if said.corrections else ():
        if later.kind is TurnKind.REFINEMENT and later.of == here.turn and later.picture and later.by == "model":
            after = judged(later.picture)
            assert after.critique is not None
            if after.critique.verdict is Verdict.ACCEPT:
                put = {"of": 1, "truth": after, "loss": Loss(picture=True), "picture": _put(desk, store, later)}
                turns.append(later.model_copy(update=put))
                break
    source = Source(name="sampled", licence="Apache-2.0", creation=here.creation.id, labelled_by=teacher.ref)
    return Record(
        id=desk.id, task=Task.PAINT, split=desk.recipe.split, held_out=held_out(here.plan),
        prompt=here.record.prompt, seed=here.record.seed,
        turns=tuple(turns), source=source,
    )  # fmt: skip


@lru_cache(maxsize=4)
def painted(stores: tuple[str, ...], training: bool) -> tuple[_Painted, ...]:
    """Every picture that a model painted in these stores, by creation id and in order.

    Left out are plans that the detector cannot judge, and plans of the other split.
    """
    states = (state for folder in stores for state in _painted(folder))
    return tuple(state for state in states if known(state.plan) and bool(held_out(state.plan)) is not training)


def held_out(plan: Plan) -> tuple[str, ...]:
    """Names of what a plan shows that training must not see."""
    ground = [thing for thing in plan.elements if thing.role == "background"]
    things = [thing for thing in plan.elements if thing.role == "object"]
    return held_out_of(Scene((*ground[:1], *things), plan.style or "")) if ground else ()


def _painted(folder: str) -> Iterator[_Painted]:
    if "://" not in folder and not Path(folder).is_dir():
        raise InputError(f"no store of creations at {folder}: stores names folders like BRUSHLOOP_HOME")
    store = Store(folder)
    for head in sorted(store.heads(), key=lambda head: head.id):
        creation = Creation(head.id, head.head, store)
        record, plan = of_creation(creation), None
        for number, turn in enumerate(record.turns):
            plan = turn.plan or plan
            if (
                plan
                and turn.plan_step is not None
                and turn.by == "model"
                and turn.kind in (TurnKind.STATE, TurnKind.REFINEMENT)
            ):
                yield _Painted(creation, record, number, plan)


@lru_cache(maxsize=2)
def _teacher(weights: str | None) -> Detective:
    return Detective(Path(weights)) if weights else Detective()


def _put(desk: Desk, store: Store, turn: Turn) -> Frame:
    assert turn.picture is not None
    return desk.put(store.get_image(turn.picture))
