"""What comes next: pure functions of the state. A model's words are weighed here, never obeyed."""

from __future__ import annotations

from enum import StrEnum

from brushloop.agent.state import State
from brushloop.canvas import Budget, StopReason, Verdict

MAX_REDRAWS = 2
"""Fresh drafts of one plan step before only refinements are tried."""
MAX_REPLANS = 1
"""New plans in one creation."""


class Move(StrEnum):
    """An edge of the graph."""

    DRAFT = "draft"
    REFLECT = "reflect"
    REFINE = "refine"
    FINISH = "finish"
    REPLAN = "replan"
    DRAW = "next step or redraw"


def route(state: State) -> Move:
    """The edge to take from the node that has just run."""
    if state["stop"]:
        return Move.FINISH
    match state["phase"]:
        case "planned":
            return Move.DRAFT
        case "painted":
            return Move.REFLECT  # even beyond the budget: no picture stays unjudged
        case "judged":
            return _after_reflection(state)
        case phase:
            raise AssertionError(f"nothing is routed from a creation that is {phase}")


def _after_reflection(state: State) -> Move:
    done = accepted(state) or stuck(state)
    if (done and at_last_step(state)) or exhausted(state):
        return Move.FINISH
    return Move.DRAW if done else _wish(state) or Move.FINISH


def nothing_left(state: State) -> bool:
    """Whether a creation stands where the loop would end it."""
    return state["phase"] == "judged" and _after_reflection(state) is Move.FINISH


def moves_on(state: State) -> bool:
    """Whether the next draft is of the next plan step, and not another try at this one."""
    return state["phase"] == "judged" and (accepted(state) or stuck(state)) and not at_last_step(state)


def accepted(state: State) -> bool:
    """Whether the critic accepts the best picture of the plan step in work."""
    return state["best"] is not None and state["best"].critique.verdict is Verdict.ACCEPT


def stuck(state: State) -> bool:
    """Whether this plan step has stalled: no gain in as many tries as the budget allows, or nothing left to try."""
    return state["stale"] >= state["brief"].budget.stall or _wish(state) is None


def at_last_step(state: State) -> bool:
    """Whether the plan step in work is the last, so that the whole picture is judged."""
    return state["plan"] is not None and state["at"] == len(state["plan"].steps) - 1


def exhausted(state: State) -> StopReason | None:
    """The first limit of the budget that has been reached."""
    budget: Budget = state["brief"].budget
    spent = state["spent"]
    for reason, used, limit in (
        (StopReason.ROUNDS, spent.rounds, budget.rounds),
        (StopReason.SECONDS, spent.seconds, budget.seconds),
        (StopReason.TOKENS, spent.tokens, budget.tokens),
        (StopReason.PIXELS, spent.pixels, budget.pixels),
        (StopReason.MEMORY, spent.memory, budget.memory),
    ):
        if limit is not None and used >= limit:
            return reason
    return None


def stop_reason(state: State) -> StopReason:
    """Why a creation ends here. A picture that the critic accepts as a whole is accepted, whatever was spent."""
    if accepted(state) and at_last_step(state) and state["stop"] is not StopReason.REFUSED:
        return StopReason.ACCEPTED
    return state["stop"] or exhausted(state) or StopReason.STALLED


def _wish(state: State) -> Move | None:
    """What the critique of the best picture asks for, as far as it may; None if nothing can be tried."""
    if state["best"] is None:
        return None
    critique = state["best"].critique
    if critique.verdict is Verdict.REPLAN and state["replans"] < MAX_REPLANS:
        return Move.REPLAN
    if critique.verdict is Verdict.REDRAW and state["redraws"] < MAX_REDRAWS and _can_draw(state):
        return Move.DRAW
    return Move.REFINE if critique.corrections else None


def _can_draw(state: State) -> bool:
    """Whether the plan step in work can be painted afresh; a process over a picture would end with that again."""
    if state["base"] is None:
        return state["at"] == 0
    return state["plan"] is None or not state["plan"].steps[state["at"]].domain
