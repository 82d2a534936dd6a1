"""What a plan step may ask for besides painting what it adds: a kind of edit, or a process. Can it be done, and how."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brushloop.canvas import EditType, Plan, PlanStep
from brushloop.edits import DEFINITIONS
from brushloop.errors import InputError
from brushloop.painter.base import Able, OnDenoise, Painter, PaintRequest, inner
from brushloop.painter.domains import Domain
from brushloop.painter.domains import domain as domain_of
from brushloop.painter.workshop import Workshop

if TYPE_CHECKING:
    from PIL.Image import Image

    from brushloop.painter.process import Process


def check(plan: Plan, painter: Painter, over: bool) -> None:
    """Refuse a plan with a step that cannot be carried out, before it is recorded.

    Args:
        plan: as it was given or answered.
        painter: who paints it; its base is that of processes, too.
        over: whether there is a picture to begin with.

    Raises:
        InputError: there is no such domain, nothing yet that could be edited, or the edit follows a picture that the
            painter does not read or that cannot be derived from the canvas.
        BackendError: the painter has no base for processes.
        WeightsError: no adapter is installed for the domain.
    """
    for number, stroke in enumerate(plan.steps):
        bare = number == 0 and not over
        if stroke.domain:
            domain = domain_of(stroke.domain)
            workshop(painter).check(domain, not bare or (stroke.frames or domain.frames) > domain.frames)
        if stroke.edit is None:
            continue
        if bare:
            raise InputError(
                f"the first plan step is an edit ({stroke.edit}) of an empty canvas: plan a step before it that paints "
                "something, or leave edit out"
            )
        if follows_canvas(stroke.edit):
            from PIL import Image

            blank = Image.new("RGB", painter.size)
            possible(
                inner(painter), PaintRequest(stroke.instruction, 0, painter.size, blank, kind=stroke.edit, visual=blank)
            )
        elif DEFINITIONS[stroke.edit].visual:
            raise InputError(
                f"plan step {number + 1} is an edit of the kind {stroke.edit}, which follows a picture that cannot be "
                "derived from the canvas: plan another kind, or do it by itself (brushloop edit --once --visual FILE)"
            )


def possible(painter: Painter, request: PaintRequest) -> None:
    """Refuse what the painter cannot do, before anything is recorded.

    Raises:
        InputError: it says what is possible.
    """
    if isinstance(painter, Able):
        painter.check(request)
    elif request.images or request.visual is not None:
        raise InputError(
            f"{painter.ref.id} reads no further pictures: name a painter with an editor (embedded?editor=FILE), or a "
            "big base (flux:<folder>)"
        )
    known = getattr(painter, "edits", None)
    if request.kind and known is not None and request.kind not in known:
        names = ", ".join(sorted(kind.value for kind in known))
        raise InputError(f"{painter.ref.id} does no edit of the kind {request.kind.value}: it knows {names}")
    if request.kind and DEFINITIONS[request.kind].visual and request.visual is None and not request.images:
        raise InputError(f"an edit of the kind {request.kind.value} follows a picture: give one (--visual or --derive)")


def follows_canvas(edit: EditType) -> bool:
    """Whether an edit follows a picture that is computed from the canvas: a sketch of it, a scribble."""
    from brushloop.painter.visuals import COMPUTED

    return DEFINITIONS[edit].visual and edit.value in COMPUTED


def workshop(painter: Painter) -> Workshop:
    """Where a painter's base paints processes, with the adapters that the environment names."""
    return Workshop.of_environment(inner(painter).ref.id)


def process(
    shop: Workshop, domain: Domain, prompt: str, frames: int, seed: int, given: Image | None, on_denoise: OnDenoise,
    steps: int = 24,
) -> Process:  # fmt: skip
    """Paint a process from words, or, with a picture given, the frames that could have led to it and that picture.

    Args:
        shop: who paints it.
        domain: how it is made.
        prompt: what is made.
        frames: how many in all.
        seed: the same seed gives the same frames.
        given: the last frame.
        on_denoise: hears (denoising steps done, in all); may raise to cancel.
        steps: denoising steps of each grid.

    Raises:
        WeightsError: no adapter can paint it.
    """
    with shop.painting(domain, given is not None or frames > domain.frames) as painter:
        if given is None:
            return painter.paint(prompt, domain, frames, seed, steps=steps, on_denoise=on_denoise)
        from brushloop.painter.recraft import recraft

        return recraft(painter, given, domain, prompt, frames, seed, steps=steps, on_denoise=on_denoise)


def begins(plan: Plan, old: Plan | None, at: int) -> int | None:
    """Index of the first step that a picture cannot show yet: an edit or a process that was not carried out.

    What a step adds can be looked for in a picture, and so may be there already; what is done to it cannot.

    Args:
        plan: what is to be done.
        old: the plan before it.
        at: index of that plan's step in work.
    """
    done = {_wish(stroke) for stroke in old.steps[: at + 1]} if old else set()
    asked = (number for number, stroke in enumerate(plan.steps) if stroke.edit or stroke.domain)
    return next((number for number in asked if _wish(plan.steps[number]) not in done), None)


def _wish(stroke: PlanStep) -> tuple[object, ...]:
    return stroke.instruction, stroke.edit, stroke.domain, stroke.frames


def settled(plan: Plan) -> Plan:
    """A plan as it describes the picture it led to: what was done by edits and processes is not to be done again."""
    plain = tuple(stroke.model_copy(update={"edit": None, "domain": None, "frames": None}) for stroke in plan.steps)
    return plan.model_copy(update={"steps": plain})
