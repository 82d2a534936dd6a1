"""The nodes of the graph. Each one asks a maker, records what came of it as a step, and returns what changed.

A node may run twice (after a crash): its seed comes from the state alone, so it writes the same bytes
under the same hash, and nothing is recorded twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from langgraph.runtime import Runtime

from brushloop import edits
from brushloop.agent import strokes, words
from brushloop.agent.context import Context
from brushloop.agent.events import Cancelled, Event, denoising, of_step
from brushloop.agent.given import fitted, within
from brushloop.agent.paste import paste_back
from brushloop.agent.patience import patiently
from brushloop.agent.review import Refused, redacted, reviewed, reviewed_picture
from brushloop.agent.routing import accepted, moves_on, stop_reason
from brushloop.agent.state import State, advance, shown
from brushloop.canvas import Box, EditType, Frame, PlanStep, Step, StepKind, StopReason
from brushloop.painter.base import OnDenoise, Painter, PaintRequest, noted, takes
from brushloop.painter.domains import domain as domain_of
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
    except Cancelled:
        return {"stop": StopReason.CANCELLED}
    strokes.check(answer.value, context.painter, shown(state) is not None)
    text = words.of_plan(answer.value)
    if astray := context.planner.astray(state["brief"], answer.value):
        told = (f"{what}: {', '.join(names)}" for what, names in astray.items())
        text += f" ({'; '.join(told)})"
    if old and best and (why := reasons(old, state["at"], best.critique, answer.value)):
        text += f" (changes what was painted: {', '.join(why)})"
    step = Step(kind=StepKind.PLAN, parent=state["head"], plan=answer.value, text=text, model=context.planner.ref)
    return _record(state, runtime, step, start, answer.usage)


def draft(state: State, runtime: Runtime[Context]) -> Update:
    """Paint a plan step: the first on an empty canvas, a later one over the best picture of the step before.

    It is painted as its instruction says, as the kind of edit that it names, or as a process.
    """
    plan, best, effort = state["plan"], state["best"], runtime.context.effort
    assert plan is not None
    at, base, text = state["at"], state["base"], ""
    if moves_on(state):
        assert best is not None
        at, base = at + 1, best.frame
        text = "" if accepted(state) else f" (moved on: no better in {state['stale']} tries)"
    stroke = plan.steps[at]
    step = Step(
        kind=StepKind.DRAFT,
        parent=state["head"],
        inputs=(base,) if base else (),
        text=(words.of_stroke(stroke) if stroke.domain else stroke.instruction) + text,
        settings={"plan_step": at},
    )
    if stroke.domain:
        return _make(state, runtime, step, stroke, stroke.domain, base)
    things = [plan.elements[index] for index in stroke.adds]
    objects = [thing for thing in things if thing.role == "object"]
    whole = stroke.edit is not None and edits.everywhere(stroke.edit)
    everywhere = whole or len(objects) < len(things) or any(not thing.boxes for thing in objects)
    number = sum(thing.count for thing in objects)
    size = _size(state, runtime)
    alone = len(plan.steps) == 1 and base is None and best is None  # nothing else there, and nothing tried yet
    request = PaintRequest(
        prompt=stroke.instruction,
        seed=_seed(state, "draft", at),
        size=size if base else effort.draft_size(size, number, runtime.context.painter),
        canvas=_picture(runtime, base),
        regions=() if whole else tuple(box for thing in objects for box in thing.boxes),
        denoising_steps=effort.of_draft(number, alone),
        guidance=effort.guidance,
        kind=takes(runtime.context.painter, stroke.edit),
    )
    if stroke.edit:
        step = step.model_copy(update={"settings": {**step.settings, "edit": stroke.edit.value}})
        if request.canvas is not None and strokes.follows_canvas(stroke.edit):
            step, request = _following(runtime, step, request, stroke.edit)
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
    except Cancelled:
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
    from PIL.Image import Resampling

    context, start = runtime.context, runtime.context.clock()

    if context.cancelled():
        return {"stop": StopReason.CANCELLED}
    try:
        picture = _painted(context.painter, request, _heard(runtime, step))
    except Cancelled:
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
    told = {"seed": request.seed, "settings": settings, "model": context.painter.ref}
    return _kept(state, runtime, step.model_copy(update=told), start, [picture])


def _make(
    state: State, runtime: Runtime[Context], step: Step, stroke: PlanStep, name: str, base: Frame | None
) -> Update:
    """Make a plan step as a process of domain `name`, frame by frame; over a picture, that is its last frame.

    On an empty canvas one thing alone is made in the place planned for it.
    """
    context, start = runtime.context, runtime.context.clock()
    domain, seed, size = domain_of(name), _seed(state, "draft", int(step.settings["plan_step"])), _size(state, runtime)
    frames, given = stroke.frames or domain.frames, _picture(runtime, base)
    prompt = stroke.instruction if given is None else stroke.expected or stroke.instruction
    own = {"frames": frames, "denoising_steps": context.effort.process_steps}
    if context.cancelled():
        return {"stop": StopReason.CANCELLED}
    try:
        with operation("generate_content", context.painter.ref.id, own, request__model=context.painter.ref.id) as told:
            told.tell(output__type="image", request__seed=seed)
            told.words("input.messages", "user", prompt)
            made = strokes.process(
                strokes.workshop(context.painter), domain, prompt, frames, seed, given, _heard(runtime, step),
                context.effort.process_steps,
            )  # fmt: skip
    except Cancelled:
        return {"stop": StopReason.CANCELLED}
    settings = {**step.settings, "domain": domain.name, **own}
    pictures = list(made.frames if base is None else made.frames[:-1])
    if pictures[0].size != size:
        settings["painted_at"] = f"{pictures[0].width}x{pictures[0].height}"
    assert state["plan"] is not None
    boxes = [box for index in stroke.adds for box in state["plan"].elements[index].boxes] if base is None else []
    box = _with_margin(boxes[0]) if len(boxes) == 1 else (0, 0, 100, 100)
    pictures = [fitted(picture, size, box) for picture in pictures]
    step = step.model_copy(update={"seed": seed, "settings": settings, "model": made.model})
    return _kept(state, runtime, step, start, pictures, (base,) if base else ())


def _with_margin(box: Box) -> Box:
    """The cell of a thing that is to fill `box`: in makings it takes four fifths of its cell."""
    left, top, right, bottom = box
    x, y = round((right - left) / 8), round((bottom - top) / 8)
    return max(0, left - x), max(0, top - y), min(100, right + x), min(100, bottom + y)


def _following(
    runtime: Runtime[Context], step: Step, request: PaintRequest, edit: EditType
) -> tuple[Step, PaintRequest]:
    """An edit that follows a picture computed from the canvas: the request with it, and the step that names it."""
    from brushloop.painter.visuals import derive

    assert request.canvas is not None
    visual = derive(edit.value, request.canvas)
    frame = runtime.context.store.put_image(visual)
    told = {"inputs": (*step.inputs, frame), "settings": {**step.settings, "visual": frame.hash}}
    return step.model_copy(update=told), replace(request, kind=edit, visual=visual)


def _heard(runtime: Runtime[Context], step: Step) -> OnDenoise:
    return denoising(step.kind.value, partial(_tell, runtime), runtime.context.cancelled)


def _kept(
    state: State,
    runtime: Runtime[Context],
    step: Step,
    start: float,
    pictures: Sequence[Image],
    more: tuple[Frame, ...] = (),
) -> Update:
    """Record `step` with the pictures it made, in order and as far as a policy lets them pass; then those in `more`."""
    context = runtime.context
    try:
        seen = [reviewed_picture(context.policy, picture) for picture in pictures]
    except Refused as refused:
        return _refused(refused)
    outputs = (*(context.store.put_image(picture) for picture, _ in seen), *more)
    reasons = dict.fromkeys(reason for _, reasons in seen for reason in reasons)
    return _record(state, runtime, redacted(step.model_copy(update={"outputs": outputs}), list(reasons)), start)


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
