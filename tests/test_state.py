"""The state is a fold over the chain: what each kind of fork keeps, and what begins anew."""

from __future__ import annotations

from typing import Any

import pytest
from fakes import BALL, PLAN, add

from brushloop.agent.state import LAST, Best, Spent, State, advance, begin, replay
from brushloop.canvas import Brief, Critique, Frame, Status, Step, StepKind, StopReason, Verdict
from brushloop.canvas import Finding as F
from brushloop.errors import CorruptObjectError

BRIEF = Brief(prompt="a cat and a red ball on a beach")
FRAMES = [Frame(hash=f"{number:064x}", width=40, height=40) for number in range(6)]
MASK = Frame(hash="f" * 64, width=40, height=40)
FAULTY = Critique(
    findings=(F(element=0, status=Status.PRESENT, score=1), F(element=1, status=Status.MISSING, score=0)),
    corrections=(add("ball", BALL),), verdict=Verdict.REFINE, score=0.5,
)  # fmt: skip


def state(*steps: Step) -> State:
    first = begin("one", "0" * 64, Step(kind=StepKind.BRIEF, brief=BRIEF))
    for number, step in enumerate(steps, 1):
        first = advance(first, f"{number:064x}", step, tokens=10, seconds=1, memory=5)
    return first


def fork(brief: Brief = BRIEF, **settings: Any) -> Step:
    return Step(kind=StepKind.BRIEF, brief=brief, settings=settings)


def drafted(frame: Frame, at: int = 0) -> Step:
    return Step(kind=StepKind.DRAFT, outputs=(frame,), settings={"plan_step": at})


PLANNED = Step(kind=StepKind.PLAN, plan=PLAN)
JUDGED = Step(kind=StepKind.REFLECT, critique=FAULTY, settings={"plan_step": 0})
REFINED = Step(kind=StepKind.REFINE, outputs=(FRAMES[1],), settings={"plan_step": 0, "correction": 0})
MASKED = Step(kind=StepKind.HUMAN, inputs=(FRAMES[0], MASK), critique=FAULTY, settings={"mask": True})
ENDED = Step(kind=StepKind.FINISH, outputs=(FRAMES[0],), settings={"stop_reason": "stalled"})
WORKED = (PLANNED, drafted(FRAMES[0]), JUDGED, REFINED, JUDGED, drafted(FRAMES[2]), JUDGED, MASKED)
"""A picture, a try that was no better, a redraw, and a person's critique with a mask."""


def test_a_chain_begins_with_a_brief() -> None:
    with pytest.raises(CorruptObjectError, match=r"does not begin with a brief: step 0{64} is a plan step"):
        begin("one", "0" * 64, PLANNED)


def test_what_is_spent_adds_up() -> None:
    before = state(*WORKED)
    assert before["spent"] == Spent(rounds=3, tokens=80, pixels=3 * 1600, seconds=8, memory=5)
    assert (before["painted"], before["redraws"], before["stale"]) == (3, 1, 0)
    costs = {f"{number:064x}": {"tokens": 10, "seconds": 1.0, "memory": 5} for number in range(1, 9)}
    chain = [("0" * 64, Step(kind=StepKind.BRIEF, brief=BRIEF))]
    chain += [(f"{number:064x}", step) for number, step in enumerate(WORKED, 1)]
    assert replay("one", chain, costs.__getitem__) == before


def test_a_try_that_is_no_better_leaves_the_best_and_is_counted() -> None:
    after = state(*WORKED[:5])
    assert after["best"] == Best(frame=FRAMES[0], critique=FAULTY, tried=(1,)) and after["canvas"] == FRAMES[1]
    assert (after["stale"], after["retry"], after["phase"]) == (1, True, "judged")


def test_a_fork_goes_on_from_the_same_state_with_a_new_budget() -> None:
    before = state(*WORKED[:5])
    after = advance(before, "a" * 64, fork())
    anew = {"head": "a" * 64, "spent": Spent(), "stale": 0, "redraws": 0, "replans": 0}
    assert after == {**before, **anew, "best": Best(frame=FRAMES[0], critique=FAULTY, tried=(0,))}


def test_a_fork_keeps_the_mask_of_a_persons_critique() -> None:
    after = state(*WORKED, fork())
    assert after["best"] == Best(frame=FRAMES[0], critique=FAULTY, tried=(0,), mask=MASK)


def test_a_fork_forgets_why_its_parent_ended() -> None:
    refused: State = {**state(*WORKED, ENDED), "why": "policy"}
    assert refused["stop"] is StopReason.STALLED and refused["phase"] == "finished"
    after = advance(refused, "a" * 64, fork())
    assert after["stop"] is None and after["why"] == "" and after["phase"] == "judged"


@pytest.mark.parametrize(
    ("done", "phase"), [((), "briefed"), ((PLANNED,), "planned"), ((PLANNED, drafted(FRAMES[0])), "painted")]
)
def test_a_fork_of_what_ended_before_it_was_judged_does_what_was_due(done: tuple[Step, ...], phase: str) -> None:
    assert state(*done, ENDED, fork())["phase"] == phase


@pytest.mark.parametrize("other", [fork(Brief(prompt="a dog")), fork(turn=True)])
def test_another_prompt_and_a_turn_of_a_conversation_plan_again_over_the_picture(other: Step) -> None:
    before = state(*WORKED)
    after = advance({**before, "stale": 2, "retry": True}, "a" * 64, other)
    assert (after["phase"], after["plan"], after["at"], after["best"]) == ("briefed", None, LAST, None)
    assert (after["canvas"], after["stale"], after["retry"]) == (FRAMES[0], 0, False)
    planned = advance(after, "b" * 64, PLANNED)
    assert (planned["phase"], planned["at"], planned["replans"]) == ("painted", len(PLAN.steps) - 1, 0)


def test_a_fork_where_nothing_was_left_to_do_paints_the_last_plan_step_again() -> None:
    alone = advance(state(*WORKED), "a" * 64, fork(again=True))
    assert (alone["phase"], alone["at"], alone["canvas"], alone["best"]) == ("planned", 0, None, None)
    second = state(PLANNED, drafted(FRAMES[0]), JUDGED, drafted(FRAMES[3], 1), fork(again=True))
    assert (second["phase"], second["at"], second["base"]) == ("planned", 1, FRAMES[0])
    assert state(fork(again=True))["phase"] == "briefed"
