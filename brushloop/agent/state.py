"""What the loop knows between two nodes: hashes, nouns and short counters, never image bytes.

The state is a function of the step chain: `advance` takes one step into account, whether a node has
just written it or it is read back. So a run, a resumed run and a fork all continue from the same value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, TypedDict

from brushloop.agent.strokes import begins
from brushloop.canvas import (
    SCHEMA_VERSION,
    Brief,
    Critique,
    Frame,
    Noun,
    Plan,
    Step,
    StepKind,
    StopReason,
    Task,
    Verdict,
)  # fmt: skip
from brushloop.critic.judgement import carry
from brushloop.errors import CorruptObjectError

MIN_GAIN = 0.01
"""Better by less than this does not count as a gain when the loop asks whether it has stalled."""

LAST = 63
"""Beyond the last step of any plan, which is then the one in work."""

Phase = Literal["briefed", "planned", "painted", "judged", "finished"]
"""What was done last, and so what can come next."""


class Best(Noun):
    """The best picture of the plan step in work, and what the critic said of it."""

    frame: Frame
    critique: Critique
    tried: tuple[int, ...]
    """How often each of its corrections was tried on it."""
    mask: Frame | None = None
    """A person's: those corrections may change nothing outside of it."""

    @classmethod
    def of(cls, frame: Frame, critique: Critique, mask: Frame | None = None) -> Best:
        """Just found: nothing was tried on it yet."""
        return cls(frame=frame, critique=critique, tried=(0,) * len(critique.corrections), mask=mask)

    def after(self, correction: int) -> Best:
        """Once more was tried."""
        tried = tuple(times + (index == correction) for index, times in enumerate(self.tried))
        return self.model_copy(update={"tried": tried})


class Spent(Noun):
    """What a creation has used of its budget."""

    rounds: int = 0
    tokens: int = 0
    pixels: int = 0
    seconds: float = 0.0
    memory: int = 0
    """MiB, at most so far."""

    def plus(self, rounds: int = 0, tokens: int = 0, pixels: int = 0, seconds: float = 0.0, memory: int = 0) -> Spent:
        """Used so far, and these."""
        return Spent(
            rounds=self.rounds + rounds,
            tokens=self.tokens + tokens,
            pixels=self.pixels + pixels,
            seconds=self.seconds + seconds,
            memory=max(self.memory, memory),
        )


class State(TypedDict):
    """The state of the graph."""

    version: int
    id: str
    """The creation."""
    head: str
    """Hash of its newest step."""
    phase: Phase
    brief: Brief
    plan: Plan | None
    at: int
    """Index of the plan step in work."""
    base: Frame | None
    """The picture that the plan step in work began from."""
    canvas: Frame | None
    """The picture painted last, perhaps not judged yet."""
    best: Best | None
    retry: bool
    """Whether the last picture was another try at the same plan step."""
    stale: int
    """Tries since the last gain."""
    redraws: int
    """Of the plan step in work."""
    replans: int
    painted: int
    """Pictures painted in the whole chain; no two of them share a seed."""
    spent: Spent
    stop: StopReason | None
    why: str
    """The reason for a refusal."""


def begin(id: str, digest: str, step: Step) -> State:
    """The state after the root of a chain. An edit begins with the picture given, and judges it by the whole plan.

    Raises:
        CorruptObjectError: it is not a brief.
    """
    if step.kind is not StepKind.BRIEF or step.brief is None:
        raise CorruptObjectError(f"creation {id} does not begin with a brief: step {digest} is a {step.kind} step")
    given, at = (step.outputs[-1], LAST) if step.brief.task is Task.EDIT and step.outputs else (None, 0)
    return State(
        version=SCHEMA_VERSION, id=id, head=digest, phase="briefed", brief=step.brief, plan=None, at=at,
        base=None, canvas=given, best=None, retry=False, stale=0, redraws=0, replans=0, painted=0,
        spent=Spent(), stop=None, why="",
    )  # fmt: skip


def replay(id: str, chain: Iterable[tuple[str, Step]], measured: Callable[[str], dict[str, Any]]) -> State:
    """The state after a whole chain, oldest step first; `measured` gives what a step cost."""
    (root, first), *rest = chain
    state = begin(id, root, first)
    for digest, step in rest:
        cost = measured(digest)
        tokens, seconds, memory = (cost.get(name, 0) for name in ("tokens", "seconds", "memory"))
        state = advance(state, digest, step, int(tokens), float(seconds), int(memory))
    return state


def advance(state: State, digest: str, step: Step, tokens: int = 0, seconds: float = 0.0, memory: int = 0) -> State:
    """The state after one more step, which cost `tokens` and `seconds`, with so many MiB of `memory` in use."""
    state = {**state, "head": digest, "spent": state["spent"].plus(tokens=tokens, seconds=seconds, memory=memory)}
    match step.kind:
        case StepKind.BRIEF:
            return _forked(state, step)
        case StepKind.PLAN:
            return _planned({**state, "replans": state["replans"] + (state["plan"] is not None)}, step)
        case StepKind.DRAFT | StepKind.REFINE:
            return _painted(state, step)
        case StepKind.REFLECT:
            return _judged(state, step)
        case StepKind.HUMAN:
            return _answered(state, step)
        case StepKind.FINISH:
            if state["best"] is None and step.critique and step.outputs:  # a person chose it among variants
                state = {**state, "best": Best.of(step.outputs[-1], step.critique)}
            return {**state, "phase": "finished", "stop": StopReason(str(step.settings["stop_reason"]))}


def shown(state: State) -> Frame | None:
    """The picture to show, and to go on from: the best of the step in work, else the newest there is."""
    return state["best"].frame if state["best"] else state["canvas"] or state["base"]


def _forked(state: State, step: Step) -> State:
    """A brief further down the chain begins a fork: the budget is new, and maybe the prompt or the seed."""
    assert step.brief is not None
    new_prompt = step.brief.prompt != state["brief"].prompt
    best = Best.of(state["best"].frame, state["best"].critique, state["best"].mask) if state["best"] else None
    state = {**state, "brief": step.brief, "best": best, "spent": Spent(), "stop": None, "why": ""}
    state = {**state, "stale": 0, "redraws": 0, "replans": 0}
    if new_prompt or step.settings.get("turn"):  # plan again, and judge by the whole new plan what is there already
        return _onto({**state, "phase": "briefed", "plan": None, "at": LAST}, shown(state))
    if step.settings.get("again") and state["plan"]:  # nothing was left to do: do the last plan step once more
        at = state["at"] if state["base"] else 0
        return {**state, "phase": "planned", "at": at, "canvas": None, "best": None}
    if state["phase"] == "finished":
        unjudged: Phase = "painted" if state["canvas"] else "planned" if state["plan"] else "briefed"
        return {**state, "phase": "judged" if state["best"] else unjudged}
    return state


def _planned(state: State, step: Step) -> State:
    """A plan for an empty canvas is painted. Over a picture it is first seen how much of it is there.

    An edit or a process is never there before it was carried out, so the loop begins with the first such step.
    """
    assert step.plan is not None
    at = min(state["at"], len(step.plan.steps) - 1)
    begun = begins(step.plan, state["plan"], state["at"] - (state["phase"] == "planned"))
    state = {**state, "plan": step.plan, "redraws": 0}
    canvas = shown(state)
    if canvas is None:
        return {**state, "phase": "planned", "at": 0, "stale": 0}
    over = state["brief"].task in (Task.EDIT, Task.CHAT)  # what a redraw begins from: never nothing in an edit
    base = canvas if over else None
    if begun == 0:
        return _onto({**state, "phase": "planned", "at": 0, "base": canvas}, canvas)
    at = at if begun is None else min(at, begun - 1)
    return _onto({**state, "phase": "painted", "at": at, "base": base}, canvas)


def _painted(state: State, step: Step) -> State:
    at, best = int(step.settings["plan_step"]), state["best"]
    if step.kind is StepKind.REFINE:
        assert best is not None
        state = {**state, "best": best.after(int(step.settings["correction"])), "retry": True}
    elif at == state["at"]:
        again = best is not None
        state = {**state, "redraws": state["redraws"] + again, "retry": again}
    else:  # the next plan step: what is there stands as its first candidate, so that no step can lose by it
        assert best is not None and state["plan"] is not None
        critique = carry(state["plan"], at, best.critique)
        state = {**state, "at": at, "base": best.frame, "best": Best.of(best.frame, critique)}
        state = {**state, "redraws": 0, "stale": 0, "retry": False}
    spent = state["spent"].plus(rounds=1, pixels=sum(frame.width * frame.height for frame in step.outputs))
    return {**state, "phase": "painted", "canvas": step.outputs[-1], "painted": state["painted"] + 1, "spent": spent}


def _judged(state: State, step: Step) -> State:
    """Keep the better of two pictures: a try that makes things worse is rolled back by not becoming the best.

    What a plan step edits is not put back for what it was: the critic sees things, not what was done to them.
    """
    assert step.critique is not None and state["canvas"] is not None
    new, best, plan = step.critique, state["best"], state["plan"]
    gain = new.score - best.critique.score if best else 1.0
    unedited = best and best.frame == state["base"] and plan and plan.steps[state["at"]].edit
    if best is None or unedited or gain > 0 or (gain == 0 and new.verdict is Verdict.ACCEPT):
        state = {**state, "best": Best.of(state["canvas"], new)}
    return {**state, "phase": "judged", "stale": 0 if gain >= MIN_GAIN else state["stale"] + state["retry"]}


def _answered(state: State, step: Step) -> State:
    """A person changed the picture, the plan, the critique, or several of them; or approved, which changes nothing."""
    if step.outputs:  # it stands, whatever the critic will say of it
        state = _onto({**state, "phase": "painted" if state["plan"] else state["phase"]}, step.outputs[-1])
    if step.plan:
        base = state["base"]
        state = _planned(state, step)
        if step.critique and state["base"] is None:  # a correction with the plan that agrees with it
            state = {**state, "base": base}
    if step.critique:
        frame = shown(state)
        assert frame is not None
        mask = step.inputs[-1] if step.settings.get("mask") else None
        state = {**state, "best": Best.of(frame, step.critique, mask), "phase": "judged", "stale": 0}
    return state


def _onto(state: State, canvas: Frame | None) -> State:
    """With a picture to go on from that is yet to be judged, and will be the best whatever its score."""
    return {**state, "canvas": canvas, "best": None, "retry": False, "stale": 0}
