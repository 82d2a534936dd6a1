"""Conversation: many turns over one creation. A turn is a brief further down the chain, and what came of it.

What is to change is known before anything is painted, so each turn is held to a mask of the places it speaks of:
outside of them every pixel stays, however many turns follow. A thing taken from another picture is that picture's own
pixels. Going back makes a fork at the end of the turn that was meant; what was said since stays where it was.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Unpack

from brushloop.agent import turns, words
from brushloop.agent.briefs import brief_from
from brushloop.agent.hold import hold
from brushloop.agent.paste import paste_back
from brushloop.agent.run import Options
from brushloop.agent.strokes import settled
from brushloop.agent.turns import Told, Turn, Wish
from brushloop.canvas import (
    Box,
    Brief,
    ConditionUnit,
    Correction,
    Critique,
    EditType,
    Element,
    Finding,
    Frame,
    Plan,
    Status,
    Step,
    StepKind,
    StopReason,
    Task,
    UnitImage,
    Verdict,
    pixels_of,
)
from brushloop.creation import Creation
from brushloop.errors import InputError
from brushloop.planner.planner import Planner

if TYPE_CHECKING:
    from PIL.Image import Image

    from brushloop.agent.studio import Studio

ROOM = 1024
"""Tokens of the conversation so far that a planner is given to read."""


@dataclass(frozen=True)
class Picture:
    """What a turn ended with."""

    frame: Frame
    plan: Plan
    step: str
    """Hash of its finish step."""
    said: str
    base: int


@dataclass(frozen=True)
class Change:
    """A wish as it is carried out: the plan that then holds, and either an edit or a picture to go on from."""

    plan: Plan
    text: str
    regions: tuple[Box, ...] = ()
    """All that may change; empty for everywhere."""
    correction: Correction | None = None
    touched: int | None = None
    picture: Image | None = None
    source: Frame | None = None
    tokens: int = 0


def begin(studio: Studio, said: str, seed: int = 0, id: str | None = None) -> Creation:
    """Record the first turn of a conversation; it describes a picture."""
    brief = brief_from(said, seed, budget=studio._limits(None)).model_copy(update={"task": Task.CHAT})
    studio._check(brief)
    root = studio._brief_step(brief)
    return studio._new(root.model_copy(update={"settings": {**root.settings, "turn": 1}}), id)


def pictures(creation: Creation) -> list[Picture]:
    """What each turn of a creation ended with, the first turn first. Any ending counts, however it was made."""
    found: dict[int, Picture] = {}
    number, base, said, plan = 0, 0, "", None
    for digest, step in zip(creation.hashes, creation.steps, strict=True):
        plan = step.plan or plan
        if step.brief is not None:
            turn = step.settings.get("turn")
            number = len(found) + 1 if turn is None else int(turn)  # a fork in mid-turn takes its place
            said, base = str(step.settings.get("said", step.brief.prompt)), int(step.settings.get("base", number - 1))
        if step.kind is StepKind.FINISH and step.outputs and plan is not None:
            found[number] = Picture(step.outputs[-1], settled(plan), digest, said, base)
    return [found[number] for number in sorted(found)]


def told(shown: Iterable[Picture]) -> list[Told]:
    """Turns in words."""
    return [Told(p.said, p.base, ", ".join(words.of_element(e) for e in p.plan.elements)) for p in shown]


def turn(studio: Studio, name: str, said: str, **options: Unpack[Options]) -> Creation:
    """Take one turn, and return the creation; after going back it is another one.

    Raises:
        InputError: it is not finished, or speaks of a picture or thing that is not there. Nothing is recorded then.
        ConflictError: somebody else works on it.
    """
    creation = studio.open(name)
    meant = understood(studio, creation, said)
    if not meant.wishes:
        return back(studio, creation, meant.base)
    head = say(studio, creation, said)
    return rest(studio, studio.go(creation.id, head=head, **options), **options)


def understood(studio: Studio, creation: Creation, said: str) -> Turn:
    """What a turn asks for; without a wish it goes back to a picture. Nothing is recorded, and no model answers.

    Raises:
        InputError: as for `turn`.
    """
    shown = pictures(creation)
    if not creation.finished or not shown:
        raise InputError(f"creation {creation.id} has not come to an end yet: brushloop resume {creation.id}")
    meant = turns.read(said, len(shown))
    _rehearse(studio, shown, meant)
    return meant


def say(studio: Studio, creation: Creation, said: str) -> str:
    """Record a turn that has a wish, the first one of it, and return the new head: what a run begins from."""
    shown = pictures(creation)
    meant = turns.read(said, len(shown))
    return _record(studio, creation, meant, 1, said, shown[meant.base - 1], shown)


def left(creation: Creation) -> bool:
    """Whether a turn of several wishes has come to an end before all of them were carried out."""
    if creation.stop_reason in (None, StopReason.CANCELLED, StopReason.REFUSED):
        return False
    settings = next(step.settings for step in reversed(creation.steps) if step.brief is not None)
    return int(settings.get("part", 1)) < int(settings.get("parts", 1))


def more(studio: Studio, creation: Creation) -> str | None:
    """Record the next wish of a turn where one is left, and return the new head. The chain says which it is."""
    if not left(creation):
        return None
    settings = next(step.settings for step in reversed(creation.steps) if step.brief is not None)
    shown, said, number = pictures(creation), str(settings["said"]), int(settings["turn"])
    before = shown[: number - 1]
    meant = turns.read(said, len(before))
    return _record(studio, creation, meant, int(settings["part"]) + 1, said, shown[number - 1], before)


def rest(studio: Studio, creation: Creation, **options: Unpack[Options]) -> Creation:
    """Carry out what is left of a turn with several wishes."""
    while head := more(studio, creation):
        creation = studio.go(creation.id, head=head, **options)
    return creation


def back(studio: Studio, creation: Creation, number: int, id: str | None = None) -> Creation:
    """A fork that ends where turn `number` ended; the creation stays as it is."""
    there = pictures(creation)[number - 1]
    return studio.open(studio.store.create(there.step, id))


def _rehearse(studio: Studio, shown: list[Picture], meant: Turn) -> None:
    """Let what cannot be done be found before anything is recorded: things that are not there, unknown words."""
    plan = shown[meant.base - 1].plan
    for wish in meant.wishes:
        if wish.verb in ("remove", "replace", "color", "move"):
            index = turns.find(plan, wish.thing)
            plan = turns.without(plan, index) if wish.verb == "remove" else plan
        if wish.source is not None:
            turns.find(shown[wish.source - 1].plan, wish.to or wish.thing)
        elif wish.verb in ("add", "replace", "describe", "background"):
            Planner(studio.vlm).check(wish.to)


def _record(
    studio: Studio, creation: Creation, meant: Turn, part: int, said: str, base: Picture, shown: list[Picture]
) -> str:
    """Write the brief of a turn's wish and, where the change is known, a person's word; return the new head."""
    wish = meant.wishes[part - 1]
    change = _change(studio, wish, base, shown)
    settings: dict[str, str | int | float | bool] = {"turn": len(shown) + 1, "base": meant.base, "said": said}
    if len(meant.wishes) > 1:
        settings |= {"part": part, "parts": len(meant.wishes)}
    store, old = studio.store, creation.brief
    images = [UnitImage(image=base.frame, mask=_mask(studio, change, base.frame))]
    units = []
    if change is None:  # the planner is to understand it, so it is told what went before
        units.append(ConditionUnit(text=turns.transcript(told(shown), ROOM)))
    elif change.source:
        images.append(UnitImage(image=change.source))
    units.append(ConditionUnit(text=wish.said, images=tuple(images)))
    given = {"prompt": wish.said or wish.to, "task": Task.CHAT, "units": tuple(units), "seed": (old.seed + 1) % 2**63}
    brief = Brief.model_validate({**dict(old), **given})
    root = studio._brief_step(brief, creation.head)
    root = root.model_copy(update={"settings": {**root.settings, **settings}})
    with hold(store, creation.id, creation.head):
        head = store.put_step(root)
        if change is None:
            if base.frame != creation.frame:
                head = store.put_step(
                    Step(kind=StepKind.HUMAN, parent=head, outputs=(base.frame,), text="back to that")
                )
        else:
            head = store.put_step(_said(studio, head, change, base.frame))
            store.measure(head, seconds=0.0, tokens=change.tokens)
        store.set_head(creation.id, head)
    return head


def _said(studio: Studio, parent: str, change: Change, base: Frame) -> Step:
    frame = studio.store.put_image(change.picture) if change.picture else base
    inputs = (base, change.source) if change.source else (base,)
    critique = None
    if change.correction:
        findings = tuple(
            Finding(element=index, status=Status.WRONG if index == change.touched else Status.PRESENT)
            for index in range(len(change.plan.elements))
        )
        critique = Critique(findings=findings, corrections=(change.correction,), verdict=Verdict.REFINE)
    return Step(
        kind=StepKind.HUMAN, parent=parent, inputs=inputs, outputs=(frame,), plan=change.plan, critique=critique,
        text=f"asked: {change.text}",
    )  # fmt: skip


def _mask(studio: Studio, change: Change | None, frame: Frame) -> Frame | None:
    """White where a change may reach: its regions and the fade around them; None for everywhere."""
    if change is None or not change.regions:
        return None
    from PIL import Image

    mask = Image.new("L", (frame.width, frame.height), 0)
    margin = studio.effort.margin + 1
    for left, top, right, bottom in change.regions:
        edges = max(0, left - margin), max(0, top - margin), min(100, right + margin), min(100, bottom + margin)
        size = frame.width, frame.height
        mask.paste(255, pixels_of(edges, size))
    return studio.store.put_image(mask)


# Wishes


def _change(studio: Studio, wish: Wish, base: Picture, shown: list[Picture]) -> Change | None:
    """How a wish is carried out; None if it describes the picture anew."""
    plan = base.plan
    if wish.verb == "describe":
        return None
    if wish.source is not None:
        return _taken(studio, wish, base, shown[wish.source - 1])
    if wish.verb == "add":
        return _added(studio, wish, plan)
    if wish.verb == "background":
        return _moved_to(plan, wish.to)
    index = turns.find(plan, wish.thing)
    thing = plan.elements[index]
    if wish.verb == "remove":
        text = f"remove the {words.of_element(thing)}"
        edit = Correction(edit=EditType.REMOVE, instruction=text, regions=thing.boxes)
        return Change(turns.without(plan, index), text, thing.boxes, edit)
    if wish.verb == "color":
        text = f"make the {thing.name} {wish.to}"
        edit = Correction(edit=EditType.COLOR, instruction=text, regions=thing.boxes)
        painted = thing.model_copy(update={"color": wish.to})
        return Change(turns.changed(plan, index, painted), text, thing.boxes, edit, index)
    if wish.verb == "move":
        return _shifted(plan, index, wish.to)
    new, spent = _things(studio, wish.to)
    other = new.model_copy(update={"count": thing.count, "boxes": thing.boxes})
    text = f"replace with {wish.to}"
    edit = Correction(edit=EditType.REPLACE, instruction=text, regions=thing.boxes)
    return Change(turns.changed(plan, index, other), text, thing.boxes, edit, index, tokens=spent)


def _added(studio: Studio, wish: Wish, plan: Plan) -> Change:
    new, spent = _things(studio, wish.to)
    taken = [box for element in plan.elements for box in element.boxes]
    boxes = turns.place(new.boxes, taken, scales=(1.0,) if new.size else turns.SMALLER)
    new, text = new.model_copy(update={"boxes": boxes}), f"add {wish.to}"
    edit = Correction(edit=EditType.ADD, instruction=text, regions=boxes)
    return Change(turns.joined(plan, new, text), text, boxes, edit, len(plan.elements), tokens=spent)


def _things(studio: Studio, phrase: str) -> tuple[Element, int]:
    """The thing that a phrase speaks of, as the planner understands it, and what asking took."""
    answer = Planner(studio.vlm).plan(Brief(prompt=phrase))
    found = [element for element in answer.value.elements if element.role == "object"]
    if not found:
        raise InputError(f"{phrase[:40]!r} names no thing that could be painted: say which")
    if len(found) > 1:
        names = ", ".join(element.name for element in found[:4])
        raise InputError(
            f"{phrase[:60]!r} names several things ({names}): give each a verb of its own, as in add a, add b"
        )
    return found[0], answer.tokens


def _moved_to(plan: Plan, place: str) -> Change:
    name = turns._THE.sub("", place)
    text = f"change the background to {name}"
    scene = Element(name=name, role="background")
    index = next((n for n, element in enumerate(plan.elements) if element.role == "background"), None)
    new = turns.joined(plan, scene, text) if index is None else turns.changed(plan, index, scene)
    edit = Correction(edit=EditType.BACKGROUND, instruction=text)
    return Change(new, text, (), edit, len(plan.elements) if index is None else index)


_WAYS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "top": (0, -1), "down": (0, 1), "bottom": (0, 1)}


def _shifted(plan: Plan, index: int, way: str) -> Change:
    thing, (across, down) = plan.elements[index], _WAYS[way]
    others = [box for n, element in enumerate(plan.elements) if n != index for box in element.boxes]
    boxes = []
    for box in thing.boxes:
        reach = [turns.shifted(box, across * far, down * far) for far in range(1, 8)]
        inside = [other for other in reach if other is not None]
        if not inside:
            raise InputError(f"the {thing.name} is at the {way} already")
        free = [other for other in inside if not turns._shared(other, others)]
        boxes.append((free or inside)[len(free or inside) // 2])
    moved, text = thing.model_copy(update={"boxes": tuple(boxes)}), f"move the {words.of_element(thing)}"
    regions = (*thing.boxes, *boxes)
    edit = Correction(edit=EditType.MOVE, instruction=text, regions=regions)
    return Change(turns.changed(plan, index, moved), text, regions, edit, index)


def _taken(studio: Studio, wish: Wish, base: Picture, source: Picture) -> Change:
    """A thing of another picture, by its own pixels: in place of its like or of what it replaces, else where free."""
    plan, thing = base.plan, source.plan.elements[turns.find(source.plan, wish.to or wish.thing)]
    if not thing.boxes:
        raise InputError(f"the plan of that picture does not say where the {thing.name} is: it cannot be taken from it")
    here: int | None = None
    try:
        here = turns.find(plan, wish.thing if wish.verb == "replace" else thing.name)
    except InputError:
        if wish.verb == "replace":
            raise
    if here is not None and plan.elements[here].boxes:
        boxes = plan.elements[here].boxes[: len(thing.boxes)]
        thing = thing.model_copy(update={"count": len(boxes), "boxes": boxes})
        new = turns.changed(plan, here, thing)
    else:
        boxes = turns.place(thing.boxes, [box for element in plan.elements for box in element.boxes])
        new = turns.joined(plan, thing.model_copy(update={"boxes": boxes}), f"add the {words.of_element(thing)}")
    found = source.plan.elements[turns.find(source.plan, wish.to or wish.thing)].boxes
    picture = studio.store.get_image(base.frame).convert("RGB")
    given = studio.store.get_image(source.frame).convert("RGB")
    for start, end in zip(found, boxes, strict=False):
        cut = given.crop(pixels_of(start, given.size)).resize(_extent(end, picture.size))
        laid = picture.copy()
        laid.paste(cut, pixels_of(end, picture.size)[:2])
        picture, _ = paste_back(picture, laid, (end,), studio.effort.margin)
    text = f"the {words.of_element(thing)} of another picture"
    return Change(new, text, boxes, picture=picture, source=source.frame)


def _extent(box: Box, size: tuple[int, int]) -> tuple[int, int]:
    left, top, right, bottom = pixels_of(box, size)
    return right - left, bottom - top
