"""One act of painting, as told: an edit by instruction, or a picture after others, without the loop around it.

The chain has the same steps as any: brief, plan (which kind of edit it is, and how sure the model was), draft, finish.
So it is shown, replayed, exported and forked as every creation is; a fork goes on in the loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from langgraph.runtime import Runtime

from brushloop.agent import nodes
from brushloop.agent.briefs import brief_from
from brushloop.agent.context import Context
from brushloop.agent.events import OnEvent
from brushloop.agent.given import fitted, fitted_mask
from brushloop.agent.human import around
from brushloop.agent.strokes import possible
from brushloop.canvas import (
    ConditionUnit,
    EditType,
    Element,
    Frame,
    Plan,
    PlanStep,
    Step,
    StepKind,
    Task,
    UnitImage,
)  # fmt: skip
from brushloop.creation import Creation
from brushloop.critic.critic import Critic
from brushloop.edits import DEFINITIONS, everywhere
from brushloop.errors import InputError, SizeError
from brushloop.painter.base import Able, Painter, PaintRequest, Picture, takes
from brushloop.planner.kinds import Kind, kind_of
from brushloop.planner.planner import Planner

if TYPE_CHECKING:
    from PIL.Image import Image

    from brushloop.agent.studio import Studio

UNIT = 16
"""Sizes are rounded to this many pixels."""


@dataclass(frozen=True)
class Wish:
    """What is to be painted, besides the words."""

    canvas: Image | None = None
    """The picture that is edited."""
    mask: Image | None = None
    """Of the canvas's size: white, or transparent, may change."""
    images: Sequence[Image | Picture] = ()
    """Further pictures that the words speak of, with a mask where only a part of one is meant."""
    kind: EditType | None = None
    """The kind of edit; None lets the model tell."""
    visual: Image | None = None
    """What the edit follows: a depth map, a sketch, a material."""
    size: tuple[int, int] | None = None
    strength: float = 1.0
    steps: int | None = None


def once(
    studio: Studio,
    prompt: str,
    wish: Wish | None = None,
    seed: int = 0,
    *,
    id: str | None = None,
    on_event: OnEvent | None = None,
) -> Creation:
    """Paint once, and record it.

    Raises:
        InputError: the words name a picture that is not given, the painter cannot do what is asked, or the model is
            sure that no edit is asked for.
        SizeError: the canvas is too narrow, or the mask is not of its size.
    """
    wish, painter = wish or Wish(), studio.painter
    if wish.canvas:
        wish = replace(wish, canvas=fitted_any(wish.canvas))
    size = wish.size or (_size(painter, wish.canvas) if wish.canvas else painter.size)
    painter.check_size(size)
    brief = brief_from(prompt, seed, size, {"rounds": 1})
    canvas = fitted(wish.canvas, size) if wish.canvas else None
    mask = fitted_mask(wish.mask, wish.canvas, size) if wish.mask and wish.canvas else None
    if wish.mask and not wish.canvas:
        raise InputError("a mask was given without a picture: give the picture that is edited")
    more = tuple(each if isinstance(each, Picture) else Picture(each) for each in wish.images)
    regions = (around(mask),) if mask and not isinstance(painter, Able) else ()  # for one that reads no masks
    request = PaintRequest(
        prompt, nodes.seed_for(seed, "draft/0/0"), size, canvas, regions, wish.strength,
        wish.steps or studio.effort.refine_steps, studio.effort.guidance, mask,
        more, wish.kind, wish.visual,
    )  # fmt: skip
    kind, usage = Kind(edit=wish.kind, confidence=1.0), {}
    possible(painter, request)
    if not isinstance(painter, Able):  # one that knows the model's own world, and nothing else
        Planner(studio.vlm).check(prompt)
    if canvas is not None and wish.kind is None:
        answer = kind_of(studio.vlm, prompt)
        kind, usage = answer.value, answer.usage
        request = replace(request, kind=takes(painter, kind.sure))
    store = studio.store
    pictures = [(canvas, mask)] if canvas else []
    for each in more:
        image = fitted_any(each.image)
        pictures.append((image, fitted_mask(each.mask, image, image.size) if each.mask else None))
    units = tuple(
        UnitImage(image=store.put_image(image), mask=store.put_image(area) if area else None)
        for image, area in pictures
    )
    task = Task.EDIT if canvas else Task.PAINT
    brief = brief.model_copy(update={"task": task, "units": (ConditionUnit(text=prompt, images=units),)})
    root = Step(kind=StepKind.BRIEF, brief=brief, text=prompt, outputs=(units[0].image,) if canvas else (),
                settings={**_names(studio), "once": True})  # fmt: skip
    made = studio._new(root, id)
    state = studio.state(made.id)
    if state["phase"] == "finished":  # a policy refused it
        return made
    context = Context(store, painter, Planner(studio.vlm), Critic(studio.vlm), studio.effort, studio.clock,
                      tell=on_event or (lambda event: None))  # fmt: skip
    runtime: Any = Runtime(context=context)
    told = Plan(
        elements=(Element(name="picture", role="background"),),
        steps=(PlanStep(instruction=prompt[:500], adds=(0,)),),
    )
    asked = context.planner.ref if usage else None
    step = Step(
        kind=StepKind.PLAN, parent=state["head"], plan=told, text=_said(kind), model=asked,
        settings={"edit": kind.edit.value if kind.edit else "general", "confidence": kind.confidence},
    )  # fmt: skip
    state = {**state, **nodes._record(state, runtime, step, studio.clock(), usage)}  # type: ignore[typeddict-item]
    inputs: tuple[Frame, ...] = tuple(unit.image for unit in units)
    settings: dict[str, str | int | float | bool] = {"plan_step": 0}
    if request.visual is not None:
        shown = store.put_image(fitted_any(request.visual))
        inputs, settings = (*inputs, shown), {**settings, "visual": shown.hash}
    step = Step(kind=StepKind.DRAFT, parent=state["head"], inputs=inputs, text=prompt[:500], settings=settings)
    anywhere = mask is None or (kind.edit is not None and everywhere(kind.edit))
    area = units[0].mask if canvas else None
    state = {**state, **nodes._paint(state, runtime, step, request, anywhere, area)}  # type: ignore[typeddict-item]
    nodes.finish(state, runtime)
    return studio.open(made.id)


def outpainted(picture: Image, left: int = 0, top: int = 0, right: int = 0, bottom: int = 0) -> tuple[Image, Image]:
    """A picture on a larger canvas, and the mask of what is to be painted around it; sides in percent of its own.

    Raises:
        InputError: a side is negative or more than doubles the picture, or none is given.
    """
    from PIL import Image

    from brushloop.painter.grids import flat

    sides = (left, top, right, bottom)
    if min(sides) < 0 or max(sides) > 100 or not any(sides):
        raise InputError(f"sides of {' '.join(map(str, sides))} percent: give 0 to 100 for each, and one above 0")
    inner = flat(picture)
    x, y = round(inner.width * left / 100), round(inner.height * top / 100)
    size = inner.width + x + round(inner.width * right / 100), inner.height + y + round(inner.height * bottom / 100)
    canvas, mask = Image.new("RGB", size, (128, 128, 128)), Image.new("L", size, 255)
    canvas.paste(inner, (x, y))
    mask.paste(0, (x, y, x + inner.width, y + inner.height))
    return canvas, mask


def followed(picture: Image, visual: Image | None, kind: str | None) -> Image | None:
    """The visual input of an edit: as given, or derived from the picture that is edited.

    Raises:
        InputError: both were given.
    """
    if kind is None:
        return visual
    if visual is not None:
        raise InputError("--visual and --derive were both given: leave one out")
    from brushloop.painter.visuals import derive

    return derive(kind, picture)


def fitted_any(picture: Image) -> Image:
    """A picture of any mode and size as it is stored: upright, RGB, on white."""
    from brushloop.painter.grids import flat

    return flat(picture)


def _size(painter: Painter, picture: Image) -> tuple[int, int]:
    """The picture's own size if the painter paints it, rounded; else the painter's."""
    own = max(2 * UNIT, round(picture.width / UNIT) * UNIT), max(2 * UNIT, round(picture.height / UNIT) * UNIT)
    try:
        painter.check_size(own)
    except SizeError:
        return painter.size
    return own


def _said(kind: Kind) -> str:
    if kind.edit is None:
        return "an edit of no certain kind: the general path"
    return f"an edit of the kind {kind.edit.value} ({kind.confidence:.2f}): {DEFINITIONS[kind.edit].about}"


def _names(studio: Studio) -> dict[str, str | int | float | bool]:
    return dict(studio._brief_step(brief_from("names")).settings)


def sort_of(painter: Painter, kind: EditType) -> EditType | None:
    """A kind that a command stands for, where the painter has a path of its own for it."""
    return kind if isinstance(painter, Able) and kind in getattr(painter, "edits", ()) else None


def laid(background: Image, subject: Image, at: str) -> tuple[Image, Image]:
    """A subject over a background in the box `at` (percent, its ratio kept), and the mask of where it may be painted.

    Raises:
        InputError: `at` is no box.
    """
    from PIL import Image

    try:
        left, top, right, bottom = (int(part) for part in at.split(","))
    except ValueError:
        raise InputError(f"cannot read the box {at!r}: write left,top,right,bottom in percent") from None
    if not (0 <= left < right <= 100 and 0 <= top < bottom <= 100):
        raise InputError(f"the box {at!r} is empty or beyond the picture: use 0 to 100, left before right")
    canvas = fitted_any(background)
    over = subject.convert("RGBA")
    wide, high = (right - left) * canvas.width / 100, (bottom - top) * canvas.height / 100
    scale = min(wide / over.width, high / over.height)
    over = over.resize((max(1, round(over.width * scale)), max(1, round(over.height * scale))))
    x = round(left * canvas.width / 100 + (wide - over.width) / 2)
    y = round(top * canvas.height / 100 + (high - over.height) / 2)
    canvas.paste(over, (x, y), over)
    margin = max(2, round(max(canvas.size) * 0.05))
    mask = Image.new("L", canvas.size, 0)
    mask.paste(255, (max(0, x - margin), max(0, y - margin), x + over.width + margin, y + over.height + margin))
    return canvas, mask
