"""A person's word as a step: approve, another plan, critique or picture, or one correction, maybe within a mask."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from brushloop.agent import words
from brushloop.agent.amending import amended, renumbered
from brushloop.agent.given import fitted_mask
from brushloop.agent.state import State, shown
from brushloop.canvas import Box, Correction, Critique, Frame, Plan, Step, StepKind, Verdict
from brushloop.critic.judgement import overrule
from brushloop.errors import InputError, SizeError
from brushloop.planner.planner import whole
from brushloop.store import Store

if TYPE_CHECKING:
    from PIL.Image import Image

    Edit = Plan | Critique | Correction | Frame | Image | None
    """What a person may answer; None approves."""


def human_step(state: State, edit: Edit, store: Store, size: tuple[int, int], mask: Image | None = None) -> Step:
    """The step that records what a person said of a creation in `state`.

    A mask holds a correction: outside of its white (or transparent) pixels nothing may change.

    Raises:
        InputError: there is nothing yet that could be criticised, or the edit is of no known kind.
        SizeError: the picture given is not of the creation's size.
    """
    frame = shown(state)
    step = Step(kind=StepKind.HUMAN, parent=state["head"], inputs=(frame,) if frame else ())
    if mask is not None and not isinstance(edit, Correction):
        raise InputError("a mask was given without a correction: say also what is to change there")
    if edit is None:
        return step.model_copy(update={"text": "approved"})
    if isinstance(edit, Plan):
        plan = whole(edit)
        return step.model_copy(update={"plan": plan, "text": f"plan: {words.of_plan(plan)}"})
    if isinstance(edit, Correction):
        if mask is not None and frame is not None:
            area = fitted_mask(mask, store.get_image(frame), size)
            edit = edit if edit.regions else edit.model_copy(update={"regions": (around(area),)})
            masked = (frame, store.put_image(area))
            step = step.model_copy(update={"inputs": masked, "settings": {"mask": True}})
        asked = Critique(verdict=Verdict.REFINE, corrections=(edit,))
        state, changed = _agreeing(state, edit)
        step = step.model_copy(update={"plan": changed})
        critique = _overruled(state, asked)
        # A person asked for the change, so what comes of it replaces what is there, whatever the critic thinks.
        critique = critique.model_copy(update={"score": 0.0, "corrections": (edit,)})
        text = f"asked: {edit.instruction}"
        if changed:
            text += f" (the plan now has: {', '.join(map(words.of_element, changed.elements))})"
        return step.model_copy(update={"critique": critique, "text": text})
    if isinstance(edit, Critique):
        critique = _overruled(state, edit)
        assert state["plan"] is not None
        return step.model_copy(update={"critique": critique, "text": words.of_critique(state["plan"], critique)})
    picture = _stored(edit, store)
    if (picture.width, picture.height) != size:
        raise SizeError(
            f"the picture given is {picture.width}x{picture.height} pixels, the creation {size[0]}x{size[1]}: resize it"
        )
    return step.model_copy(update={"outputs": (picture,), "text": "another picture"})


def around(mask: Image) -> Box:
    """The box, in percent of the canvas, around what is white in a grey mask."""
    left, top, right, bottom = mask.getbbox() or (0, 0, *mask.size)
    across, down = 100 / mask.width, 100 / mask.height
    low = math.floor(left * across), math.floor(top * down)
    return *low, min(100, math.ceil(right * across)), min(100, math.ceil(bottom * down))


def _agreeing(state: State, edit: Correction) -> tuple[State, Plan | None]:
    """The state with a plan that agrees with a correction, and that plan, if it is another."""
    plan, best = state["plan"], state["best"]
    if plan is None:
        return state, None
    new, gone = amended(plan, edit, state["at"])
    if new == plan:
        return state, None
    if best and gone is not None:
        critique = best.critique.model_copy(update={"findings": renumbered(best.critique.findings, gone)})
        best = best.model_copy(update={"critique": critique})
    return {**state, "plan": new, "best": best}, new


def _overruled(state: State, said: Critique) -> Critique:
    plan, best = state["plan"], state["best"]
    if plan is None or shown(state) is None:
        raise InputError(f"creation {state['id']} has no picture yet that could be criticised: answer later")
    for finding in said.findings:
        if finding.element >= len(plan.elements):
            raise InputError(f"the critique names element {finding.element}; the plan has {len(plan.elements)}")
    return overrule(plan, state["at"], said, best.critique if best else None)


def _stored(picture: Frame | Image, store: Store) -> Frame:
    if isinstance(picture, Frame):
        store.get_image(picture)
        return picture
    if not hasattr(picture, "getbbox"):
        raise InputError(f"cannot answer with {type(picture).__name__}: give a plan, critique, correction or picture")
    return store.put_image(picture.convert("RGB"))
