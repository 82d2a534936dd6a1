"""Edit pairs: a picture, an instruction, the picture afterwards; and the way back as an edit of its own."""

from __future__ import annotations

import random
from dataclasses import replace

from brushloop.canvas import Correction, EditType, Element, Frame, Task
from brushloop.supervision.build import filters, phrases
from brushloop.supervision.build.desk import Desk, source
from brushloop.supervision.build.filters import Rejected
from brushloop.supervision.build.split import held_out_of
from brushloop.supervision.records import Loss, Record, Truth, Turn, TurnKind
from brushloop.supervision.world import edits, scenes, words
from brushloop.supervision.world.edits import Edit
from brushloop.supervision.world.scenes import Scene

SHOWS = Loss(picture=True)


def pair(desk: Desk) -> Record:
    """An edit of a random kind; for every second record the inverse of the edit before, if it has one."""
    rng, words_rng = random.Random(desk.pair), random.Random(desk.chance)
    scene, edit = _sampled(desk, rng)
    way_back = desk.index % 2 == 1
    back = inverse(edit)
    if way_back and back is None:  # no way back in words: another edit instead
        scene, edit = _sampled(desk, words_rng)
    elif way_back and back is not None:
        edit = back
    text, template = phrases.edit(words_rng, edit, desk.training)
    filters.check_edit(edit, text)
    before = scenes.render(edit.before, edit.style, edit.variant)
    after = scenes.render(edit.after, edit.style, edit.variant)
    filters.check_pair(edit.kind, before, after, edit.regions)
    held = (*held_out_of(scene), *phrases.held_out_of([template]))
    return Record(
        id=desk.id, task=Task.EDIT, split=desk.recipe.split, held_out=held, prompt=text,
        turns=_turns(edit, text, desk.put(before), desk.put(after)), source=source("edit", edit.style),
    )  # fmt: skip


def inverse(edit: Edit) -> Edit | None:
    """The edit that undoes another; None where no words can say it (back to a colour that has no name)."""
    old, _ = phrases.changed(edit)
    kind, regions = edit.kind, edit.regions
    after = edit.before
    if kind is EditType.ADD:
        kind = EditType.REMOVE
    elif kind is EditType.REMOVE:
        if old is None:
            return None
        kind = EditType.ADD  # what comes back comes last
        rest = [thing for thing in edit.after if thing.boxes or thing.role == "background"]
        missing = tuple(box for box in old.boxes if box in regions)
        after = (*rest, old.model_copy(update={"boxes": missing, "count": len(missing)}))
    elif kind is EditType.COLOR and (old is None or old.color is None):
        return None
    elif kind in (EditType.MOVE, EditType.RESIZE):
        regions = regions[::-1]
    return replace(edit, kind=kind, text="", before=edit.after, after=after, regions=regions)


def _sampled(desk: Desk, rng: random.Random) -> tuple[Scene, Edit]:
    scene = desk.scene(rng)
    maker = rng.choice(list(edits.KINDS))
    edit = maker(rng, scene)
    if edit is None:
        raise Rejected(f"{maker.__name__}: nothing there to do it with")
    after = Scene(edit.after, scene.style, None, scene.variant)
    if desk.training and held_out_of(after):
        raise Rejected(f"{edit.kind}: leads to a held-out combination")
    return scene, edit


def _turns(edit: Edit, text: str, before: Frame, after: Frame) -> tuple[Turn, ...]:
    correction = Correction(edit=edit.kind, instruction=text, regions=edit.regions)
    return (
        Turn(
            kind=TurnKind.GIVEN, by="renderer", picture=before, text=_caption(edit.before),
            truth=Truth(by="renderer", elements=edit.before),
        ),
        Turn(
            kind=TurnKind.REFINEMENT, by="renderer", text=text, picture=after, of=0, regions=edit.regions,
            correction=correction, loss=SHOWS, truth=Truth(by="renderer", elements=edit.after),
        ),
    )  # fmt: skip


def _caption(elements: tuple[Element, ...]) -> str:
    ground, *things = elements
    said = words.listing([words.noun_phrase(thing) for thing in things]) if things else "nothing"
    return f"{words.scenery(ground.name)} with {said}"
