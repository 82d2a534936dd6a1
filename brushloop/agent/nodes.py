"""The nodes of the graph. Each one asks a maker, records what came of it as a step, and returns what changed.

A node may run twice (after a crash): its seed comes from the state alone, so it writes the same bytes
under the same hash, and nothing is recorded twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from langgraph.runtime import Runtime

from brushloop import edits
from brushloop.agent import words
from brushloop.agent.context import Context
from brushloop.agent.events import DenoiseEvent, Event, of_step
from brushloop.agent.given import within
from brushloop.agent.paste import paste_back
from brushloop.agent.patience import GivenUp, patiently
from brushloop.agent.review import Refused, redacted, reviewed, reviewed_picture
from brushloop.agent.routing import accepted, moves_on, stop_reason
from brushloop.agent.state import State, advance, shown
from brushloop.canvas import Frame, Step, StepKind, StopReason
from brushloop.painter.base import OnDenoise, Painter, PaintRequest, noted, takes
from brushloop.planner.keep import reasons
from brushloop.telemetry import operation
from brushloop.vlm import Answer, N

if TYPE_CHECKING:
    from PIL.Image import Image


Update = dict[str, Any]
"""The keys of the state that a node changed: each one more is one more row of the checkpoint."""


def plan(state: State, runtime: Runtime[Context]) -> Update:
    """Plan; or plan again, knowing what was wrong with the picture that the last plan led to."""
    context, start, old, best = runtime.context, runtime.context.clock(), state["plan"], state["best"]
    ask = partial(context.planner.plan, state["brief"])
    if old and best:
        ask = partial(context.planner.replan, state["brief"], old, best.critique, state["at"])
    try:
        brief = Step(kind=StepKind.BRIEF, brief=state["brief"])
        reviewed(context.policy, brief)  # whoever recorded it may have no policy
        answer = _asked(runtime, ask)
    except Refused as refused:
        return _refused(refused)
    except GivenUp:
        return {"stop": StopReason.CANCELLED}
    text = words.of_plan(answer.value)
    if lacks := context.planner.left_out(state["brief"], answer.value):
        text += f" (leaves out: {', '.join(lacks)})"
    if old and best and (why := reasons(old, state["at"], best.critique, answer.value)):
        text += f" (changes what was painted: {', '.join(why)})"
    step = Step(kind=StepKind.PLAN, parent=state["head"], plan=answer.value, text=text, model=context.planner.ref)
    return _record(state, runtime, step, start, answer.usage)


def draft(state: State, runtime: Runtime[Context]) -> Update:
    """Paint a plan step: the first on an empty canvas, a later one over the best picture of the step before."""
    plan, best, effort = state["plan"], state["best"], runtime.context.effort
    assert plan is not None
    at, base, text = state["at"], state["base"], ""
    if moves_on(state):
        assert best is not None
        at, base = at + 1, best.frame
        text = "" if accepted(state) else f" (moved on: no better in {state['stale']} tries)"
    stroke = plan.steps[at]
    things = [plan.elements[index] for index in stroke.adds]
    objects = [thing for thing in things if thing.role == "object"]
    everywhere = len(objects) < len(things) or any(not thing.boxes for thing in objects)
    number = sum(thing.count for thing in objects)
    size = _size(state, runtime)
    alone = len(plan.steps) == 1 and base is None and best is None  # nothing else there, and nothing tried yet
    request = PaintRequest(
        prompt=stroke.instruction,
        seed=_seed(state, "draft", at),
        size=size if base else effort.draft_size(size, number, runtime.context.painter),
        canvas=_picture(runtime, base),
        regions=tuple(box for thing in objects for box in thing.boxes),
        denoising_steps=effort.of_draft(number, alone),
        guidance=effort.guidance,
    )
    step = Step(
        kind=StepKind.DRAFT,
        parent=state["head"],
        inputs=(base,) if base else (),
        text=stroke.instruction + text,
        settings={"plan_step": at},
    )
    return _paint(state, runtime, step, request, everywhere)


def refine(state: State, runtime: Runtime[Context]) -> Update:
    """Try one correction on the best picture: the one tried least often, and of those the worst fault."""
    best, effort = state["best"], runtime.context.effort
    assert best is not None
    which = best.tried.index(min(best.tried))
    correction = best.critique.corrections[which]
    everywhere = edits.everywhere(correction.edit)
    request = PaintRequest(
        prompt=correction.instruction,
        seed=_seed(state, "refine", state["at"]),
        size=_size(state, runtime),
        canvas=_picture(runtime, best.frame),
        regions=() if everywhere else correction.regions,
        strength=effort.strength,
        denoising_steps=effort.of_refine(best.tried[which]),
        guidance=effort.guidance,
        kind=takes(runtime.context.painter, correction.edit),
    )
    step = Step(
        kind=StepKind.REFINE,
        parent=state["head"],
        inputs=(best.frame, best.mask) if best.mask else (best.frame,),
        text=correction.instruction,
        settings={"plan_step": state["at"], "correction": which, "edit": correction.edit.value},
    )
    return _paint(state, runtime, step, request, everywhere, best.mask)


def reflect(state: State, runtime: Runtime[Context]) -> Update:
    """Look at the picture painted last, and judge it against the plan so far."""
    context, start, plan, canvas = runtime.context, runtime.context.clock(), state["plan"], state["canvas"]
    assert plan is not None and canvas is not None
    picture = context.store.get_image(canvas)
    try:
        answer = _asked(runtime, partial(context.critic.reflect, state["brief"], plan, state["at"], picture))
    except GivenUp:
        return {"stop": StopReason.CANCELLED}
    step = Step(
        kind=StepKind.REFLECT,
        parent=state["head"],
        inputs=(canvas,),
        critique=answer.value,
        text=words.of_critique(plan, answer.value),
        model=context.critic.ref,
        settings={"plan_step": state["at"]},
    )
    if context.second and (other := "; ".join(context.second(plan, state["at"], picture, answer.value))):
        told = {
            "text": f"{step.text} (second opinion: {other})",
            "settings": {**step.settings, "second_opinion": other},
        }
        step = step.model_copy(update=told)
    return _record(state, runtime, step, start, answer.usage)


def finish(state: State, runtime: Runtime[Context]) -> Update:
    """Choose the best picture and say why the loop ends."""
    reason, best, frame = stop_reason(state), state["best"], shown(state)
    said = words.of_critique(state["plan"], best.critique) if best and state["plan"] else "nothing judged yet"
    said = state["why"] or said
    step = Step(
        kind=StepKind.FINISH,
        parent=state["head"],
        outputs=(frame,) if frame else (),
        critique=best.critique if best else None,
        text=f"{reason}: {said}",
        settings={"stop_reason": reason.value},
    )
    return _record(state, runtime, step, runtime.context.clock())


class _Cancelled(Exception):
    """Raised through the painter, between two denoising steps."""


def _paint(
    state: State,
    runtime: Runtime[Context],
    step: Step,
    request: PaintRequest,
    everywhere: bool,
    mask: Frame | None = None,
) -> Update:
    """Paint, keep what lies outside the regions unless the change is `everywhere`, and record the rest of `step`.

    Whatever the regions, nothing changes outside of a mask.
    """
    context, start = runtime.context, runtime.context.clock()

    def on_denoise(done: int, total: int) -> None:
        _tell(runtime, DenoiseEvent(type="denoise", node=step.kind.value, done=done, total=total))
        if context.cancelled():
            raise _Cancelled

    from PIL.Image import Resampling

    if context.cancelled():
        return {"stop": StopReason.CANCELLED}
    try:
        picture = _painted(context.painter, request, on_denoise)
    except _Cancelled:
        return {"stop": StopReason.CANCELLED}
    settings = {
        **step.settings,
        **noted(context.painter, request),
        "regions": ", ".join(" ".join(map(str, box)) for box in request.regions),
        "denoising_steps": request.denoising_steps,
        "guidance": request.guidance,
        "strength": request.strength,
    }
    if picture.size != (size := _size(state, runtime)):  # a small draft
        settings["painted_at"] = f"{picture.width}x{picture.height}"
        picture = picture.resize(size, Resampling.LANCZOS)
    if request.canvas is not None:
        regions = () if everywhere else request.regions
        picture, drift = paste_back(request.canvas, picture, regions, context.effort.margin)
        settings["drift"] = round(drift, 6)
        if mask:
            picture = within(context.store.get_image(mask), request.canvas, picture)
    try:
        picture, reasons = reviewed_picture(context.policy, picture)
    except Refused as refused:
        return _refused(refused)
    made = {"outputs": (context.store.put_image(picture),), "seed": request.seed, "settings": settings}
    step = redacted(step.model_copy(update={**made, "model": context.painter.ref}), reasons)
    return _record(state, runtime, step, start)


def _painted(painter: Painter, request: PaintRequest, on_denoise: OnDenoise) -> Image:
    own = {"denoising_steps": request.denoising_steps, "width": request.size[0], "height": request.size[1]}
    with operation("generate_content", painter.ref.id, own, request__model=painter.ref.id) as told:
        told.tell(output__type="image", request__seed=request.seed)
        told.words("input.messages", "user", request.prompt)
        return painter.paint(request, on_denoise)


def _asked(runtime: Runtime[Context], ask: Callable[[], Answer[N]]) -> Answer[N]:
    """Ask a model; wait for its server if that has gone away."""
    context = runtime.context
    return patiently(ask, context.patience, partial(_tell, runtime), context.cancelled)


def _record(
    state: State, runtime: Runtime[Context], step: Step, start: float, usage: Mapping[str, int] | None = None
) -> Update:
    """Write a step with what it cost, and say what of the state it changes."""
    context = runtime.context
    if step.kind is not StepKind.FINISH:  # what it says has passed before
        try:
            step = reviewed(context.policy, step)
        except Refused as refused:
            return _refused(refused)
    seconds = round(context.clock() - start, 6)
    cost = {"tokens": 0, "memory": context.memory(), **(usage or {})}
    digest = context.store.record(state["id"], step, seconds=seconds, **cost)
    _tell(runtime, of_step(digest, step))
    after = advance(state, digest, step, cost["tokens"], seconds, cost["memory"])
    if context.cancelled() and step.kind is not StepKind.FINISH:
        after["stop"] = StopReason.CANCELLED
    return {key: value for key, value in after.items() if value != state.get(key)}


def _refused(refused: Refused) -> Update:
    return {"stop": StopReason.REFUSED, "why": str(refused)}


def _tell(runtime: Runtime[Context], event: Event) -> None:
    runtime.stream_writer(event)
    runtime.context.tell(event)


def seed_for(seed: int, path: str) -> int:
    """The seed of one act: the first 63 bits of SHA-256 over the brief's seed and the act's path."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{path}".encode()).digest()[:8], "big") >> 1


def _seed(state: State, node: str, at: int) -> int:
    return seed_for(state["brief"].seed, f"{node}/{at}/{state['painted']}")


def _size(state: State, runtime: Runtime[Context]) -> tuple[int, int]:
    return state["brief"].size or runtime.context.painter.size


def _picture(runtime: Runtime[Context], frame: Frame | None) -> Image | None:
    return runtime.context.store.get_image(frame) if frame else None
