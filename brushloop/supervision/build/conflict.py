"""Instruction-state conflict: states that contradict their plan, what is wrong with them, and how they are mended.

From scene graphs (`supervision.faults` draws the fault), and as alignment of finished pictures with a prompt that
fits or nearly fits.
"""

from __future__ import annotations

import random
from dataclasses import replace

from PIL import Image

from brushloop.canvas import Box, Correction, Fault, Plan, Task
from brushloop.critic.prompt import Look
from brushloop.supervision import faults
from brushloop.supervision.build import filters, phrases
from brushloop.supervision.build.desk import Desk, critique, sound, source
from brushloop.supervision.build.filters import Rejected, region
from brushloop.supervision.build.split import held_out_of
from brushloop.supervision.records import Loss, Record, Truth, Turn, TurnKind
from brushloop.supervision.world import edits, scenes, words
from brushloop.supervision.world.scenes import Scene

SAYS, SHOWS = Loss(text=True), Loss(picture=True)


def conflict(desk: Desk) -> Record:
    """A state, sound or faulty, its analysis, and one refinement for each correction."""
    rng = random.Random(desk.chance)
    scene = scenes.sample_split(random.Random(desk.chance), desk.training, composed=0.5)
    held = held_out_of(scene)
    if desk.training and held:
        raise Rejected("conflict: a held-out object")
    state = faults.sample(rng, desk.training, faulty=desk.recipe.faulty)
    if desk.training and held_out_of(replace(scene, elements=state.drawn, relation=None)):
        raise Rejected("conflict: its fault shows something held out")
    if state.plan != words.plan(scene):
        raise RuntimeError("faults.sample no longer draws its scene first: conflict records would lose their split")
    plan, step, said = state.plan, state.step, critique(state.look)
    mended = _mended(state, scene)
    text = phrases.reflection(rng, plan, said)
    turns = [
        Turn(kind=TurnKind.PLAN, by="renderer", text="; ".join(s.instruction for s in plan.steps), plan=plan),
        Turn(
            kind=TurnKind.STATE, by="renderer", text=plan.steps[step].instruction, picture=desk.put(state.picture),
            plan_step=step, loss=Loss(picture=not said.corrections),
            truth=Truth(by="renderer", elements=state.drawn, critique=said),
        ),
        Turn(kind=TurnKind.REFLECTION, by="renderer", text=text, of=1, critique=said, plan_step=step, loss=SAYS),
    ]  # fmt: skip
    canvas = 1
    for correction, picture in mended:
        turns.append(
            Turn(
                kind=TurnKind.REFINEMENT, by="renderer", text=correction.instruction, picture=desk.put(picture),
                of=canvas, regions=correction.regions, correction=correction, plan_step=step, loss=SHOWS,
            )
        )  # fmt: skip
        canvas = len(turns) - 1
    if mended:
        right = sound(plan, step)
        things = tuple(plan.elements[index] for index in plan.due(step))
        done = Truth(by="renderer", elements=things, critique=right)
        turns[canvas] = turns[canvas].model_copy(update={"truth": done})
        text = phrases.reflection(rng, plan, right)
        turns.append(
            Turn(
                kind=TurnKind.REFLECTION, by="renderer", text=text, of=canvas, critique=right, plan_step=step, loss=SAYS
            )
        )
    return Record(
        id=desk.id, task=Task.PAINT, split=desk.recipe.split, held_out=held, prompt=state.prompt,
        turns=tuple(turns), source=source("conflict", scene.style),
    )  # fmt: skip


def _mended(state: faults.State, scene: Scene) -> list[tuple[Correction, Image.Image]]:
    """The pictures after each correction."""
    corrections = state.look.corrections
    grounds = [finding for finding in state.look.findings if finding.fault is Fault.BACKGROUND]
    if grounds and len(corrections) > 1:
        raise Rejected("conflict: a wrong background and another fault")
    due = [state.plan.elements[index] for index in state.plan.due(state.step)]
    right, now, made = scenes.render(due, scene.style, scene.variant), state.picture, []
    for correction in corrections:
        # Only the regions change: other things keep the percent by which they stand off their boxes.
        mask = Image.fromarray(region(correction.regions, now.size, margin=3))
        after = now.copy()
        after.paste(right, mask=mask)
        filters.check_pair(correction.edit, now, after, _grown(correction.regions, now.width))
        now = after
        made.append((correction, now))
    return made


def _grown(regions: tuple[Box, ...], size: int) -> tuple[Box, ...]:
    """Boxes with 3 more pixels on each side, in percent."""
    more = -(-300 // size)
    return tuple(
        (max(0, left - more), max(0, top - more), min(100, right + more), min(100, bottom + more))
        for left, top, right, bottom in regions
    )


def alignment(desk: Desk) -> Record:
    """A finished picture, a prompt that fits or differs in one thing, and what does not fit."""
    rng = random.Random(desk.chance)
    scene = desk.scene(rng)
    shown = asked = replace(scene, elements=words.plan(scene).elements, relation=None)
    if rng.random() < desk.recipe.faulty:
        maker = rng.choice((edits.replace, edits.color, edits.remove, edits.move, edits.background))
        edit = maker(rng, shown)
        if edit is None or len(edit.after) < 2:
            raise Rejected("alignment: nothing to change there")
        filters.check_edit(edit, edit.text)
        shown = replace(shown, elements=edit.after)
        if desk.training and held_out_of(shown):
            raise Rejected("alignment: a held-out combination")
    plan = words.plan(scene)
    look = _compared(shown, plan)
    picture = scenes.render(shown.elements, shown.style, shown.variant)
    filters.check_picture(picture)
    said, last = critique(look), len(plan.steps) - 1
    text = phrases.reflection(rng, plan, said)
    turns = (
        Turn(
            kind=TurnKind.GIVEN, by="renderer", picture=desk.put(picture),
            truth=Truth(by="renderer", elements=shown.elements, critique=said),
        ),
        Turn(kind=TurnKind.PLAN, by="renderer", text="; ".join(s.instruction for s in plan.steps), plan=plan),
        Turn(kind=TurnKind.REFLECTION, by="renderer", text=text, of=0, critique=said, plan_step=last, loss=SAYS),
    )  # fmt: skip
    return Record(
        id=desk.id, task=Task.PAINT, split=desk.recipe.split, held_out=held_out_of(asked),
        prompt=words.prompt(scene, rng)[0], turns=turns, source=source("alignment", scene.style),
    )  # fmt: skip


def _compared(shown: Scene, plan: Plan) -> Look:
    """What is true of a picture that shows `shown`, held against a whole plan: as a faultless detector would say it."""
    from brushloop.supervision.judge import Seen, Sight
    from brushloop.supervision.labels import label

    asked = {box: thing for thing in plan.elements for box in thing.boxes}
    found = []
    for thing in shown.elements[1:]:
        for box in thing.boxes:
            wanted = asked.get(box)
            if thing.color is None and wanted and wanted.name == thing.name and wanted.color:
                raise Rejected("alignment: its own colour against a named one")
            found.append(Seen(thing.name, thing.color or "", box, 1.0, 1.0))
    return label(Sight(tuple(found), shown.background, shown.style), plan, len(plan.steps) - 1)
