"""Multi-turn records: a scene graph grown sub-graph by sub-graph, then modified, swapped and thinned out.

Paint order: the background with the first sub-graph, then from large things to small ones. A sub-graph is one
element, or two that are painted together; two that stand in a relation are named by it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from brushloop.canvas import Element, Plan, PlanStep, Task
from brushloop.supervision.build import filters, phrases
from brushloop.supervision.build.desk import Desk, sound, source
from brushloop.supervision.build.filters import Rejected
from brushloop.supervision.build.split import held_out_of
from brushloop.supervision.records import Loss, Record, Truth, Turn, TurnKind
from brushloop.supervision.world import edits, scenes, words
from brushloop.supervision.world.edits import Edit
from brushloop.supervision.world.scenes import Scene
from brushloop.supervision.world.worlds import current

SAYS, SHOWS = Loss(text=True), Loss(picture=True)


def growth(desk: Desk) -> Record:
    """One scene, state by state, and some changes to it afterwards."""
    rng = random.Random(desk.chance)
    scene = desk.scene(rng, rng.choice(("two", "position", "binding", "many", "many")))
    plan, said = grouped(rng, scene, desk.recipe.grouped, desk.training)
    room = desk.recipe.pictures - len(plan.steps)
    if room < 0:
        raise Rejected("growth: more plan steps than pictures")
    made = changes(rng, scene, plan, min(room, desk.recipe.changes), desk.training)
    states = [tuple(plan.elements[index] for index in plan.due(step)) for step in range(len(plan.steps))]
    drawn = [scenes.render(state, scene.style, scene.variant) for state in states]
    for picture in drawn:
        filters.check_picture(picture)
    after = [(edit, text, scenes.render(edit.after, scene.style, scene.variant)) for edit, text, _ in made]
    before = [drawn[-1], *(picture for _, _, picture in after)]
    for (edit, _, picture), old in zip(after, before, strict=False):
        filters.check_pair(edit.kind, old, picture, edit.regions)

    prompt = words.prompt(scene, rng)[0]
    turns = [Turn(kind=TurnKind.PLAN, by="renderer", text=_plan_text(plan), plan=plan, loss=SAYS)]
    canvas: int | None = None
    for step, (state, picture) in enumerate(zip(states, drawn, strict=True)):
        stroke = plan.steps[step]
        boxes = () if step == 0 else tuple(box for index in stroke.adds for box in plan.elements[index].boxes)
        turns.append(
            Turn(
                kind=TurnKind.STATE, by="renderer", text=stroke.instruction, picture=desk.put(picture), of=canvas,
                regions=boxes, plan_step=step, loss=SHOWS, truth=Truth(by="renderer", elements=state),
            )
        )  # fmt: skip
        canvas = len(turns) - 1
        right = sound(plan, step)
        text = phrases.reflection(rng, plan, right)
        turns.append(
            Turn(
                kind=TurnKind.REFLECTION, by="renderer", text=text, of=canvas, critique=right, plan_step=step, loss=SAYS
            )
        )
    for edit, text, picture in after:
        truth = Truth(by="renderer", elements=edit.after)
        turns.append(
            Turn(
                kind=TurnKind.REFINEMENT, by="renderer", text=text, picture=desk.put(picture), of=canvas,
                regions=edit.regions, loss=SHOWS, truth=truth,
            )
        )  # fmt: skip
        canvas = len(turns) - 1
    heard = [*said, *(template for _, _, template in made)]
    held = (*held_out_of(scene), *phrases.held_out_of(heard))
    return Record(
        id=desk.id, task=Task.PAINT, split=desk.recipe.split, held_out=held, prompt=prompt,
        turns=tuple(turns), source=source("growth", scene.style),
    )  # fmt: skip


def grouped(rng: random.Random, scene: Scene, share: float, training: bool) -> tuple[Plan, list[str]]:
    """The plan of a scene with some neighbours in its order painted together, and the templates it was said in."""
    plain = words.plan(scene)
    ground, *objects = plain.elements
    groups: list[list[int]] = []
    for index in range(1, len(plain.elements)):
        if groups and len(groups[-1]) == 1 and rng.random() < share:
            groups[-1].append(index)
        else:
            groups.append([index])
    steps, seen, said = [], [words.scenery(ground.name)], []
    for number, group in enumerate(groups):
        things = [objects[index - 1] for index in group]
        seen += [words.noun_phrase(thing) for thing in things]
        if number == 0:
            text, template = phrases.begin(rng, ground, things, scene.style, training)
        else:
            text, template = phrases.add(rng, things, training, _related(rng, scene, things))
        said.append(template)
        expected = f"{seen[0]} with {words.listing(seen[1:])}"
        steps.append(PlanStep(instruction=text, expected=expected, adds=(*([0] if number == 0 else []), *group)))
    return Plan(elements=plain.elements, steps=tuple(steps), style=scene.style), said


def changes(rng: random.Random, scene: Scene, plan: Plan, most: int, training: bool) -> list[tuple[Edit, str, str]]:
    """Up to `most` edits, one on what the one before left: modify, swap or remove; with its words and template.

    An edit of a training record leads to no held-out combination.
    """
    now = replace(scene, elements=plan.elements, relation=None)
    made: list[tuple[Edit, str, str]] = []
    for _ in range(rng.randint(min(1, most), most) if most else 0):
        maker = rng.choice((edits.color, edits.move, edits.resize, edits.background, edits.replace, edits.remove))
        edit = maker(rng, now)
        if edit is None or len(edit.after) < 2:
            continue
        after = replace(now, elements=edit.after)
        if training and held_out_of(after):
            continue
        text, template = phrases.edit(rng, edit, training)
        filters.check_edit(edit, text)
        made.append((edit, text, template))
        now = after
    return made


def _related(rng: random.Random, scene: Scene, things: Sequence[Element]) -> str:
    """`a cat left of a dog`, if that is what holds between two things; else empty."""
    relation = scene.relation
    if relation is None or relation.third is not None or len(things) != 2:
        return ""
    subject, other = scene.elements[relation.subject], scene.elements[relation.other]
    if {thing.name for thing in things} != {subject.name, other.name}:
        return ""
    where = rng.choice(current().speech.between[relation.kind])
    return f"{words.noun_phrase(subject)} {where} {words.noun_phrase(other)}"


def _plan_text(plan: Plan) -> str:
    return "; ".join(step.instruction for step in plan.steps)
