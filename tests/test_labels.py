"""Labelling pictures by what a detector saw."""

from __future__ import annotations

import random

import pytest
from PIL import Image

from brushloop.canvas import Brief, EditType, Element, Fault, Plan, PlanStep, Status, Verdict
from brushloop.supervision.judge import Judge, Score, Seen, Sight, overlap, verdict
from brushloop.supervision.labels import certainty, label
from brushloop.supervision.world import scenes, words
from brushloop.train.states import Made, otherwise

BOX, FAR = (10, 10, 40, 40), (60, 60, 90, 90)
PLAN = Plan(
    elements=(
        Element(name="beach", role="background"),
        Element(name="apple", color="red", boxes=(BOX,)),
        Element(name="cat", count=2, boxes=(FAR, (60, 10, 90, 40))),
    ),
    steps=(PlanStep(instruction="paint", adds=(0, 1)), PlanStep(instruction="add two cats", adds=(2,))),
)


def seen(name: str, color: str = "red", box: tuple[int, int, int, int] = BOX) -> Seen:
    return Seen(name, color, box, 0.9, 0.9)


@pytest.mark.parametrize(
    ("found", "status", "fault", "edit"),
    [
        ([seen("apple")], Status.PRESENT, None, None),
        ([], Status.MISSING, None, EditType.ADD),
        ([seen("cat")], Status.WRONG, Fault.OBJECT, EditType.REPLACE),
        ([seen("apple", "blue")], Status.WRONG, Fault.COLOR, EditType.COLOR),
        ([seen("apple", box=FAR)], Status.WRONG, Fault.POSITION, EditType.MOVE),
    ],
)
def test_one_object(found: list[Seen], status: Status, fault: Fault | None, edit: EditType | None) -> None:
    look = label(Sight(tuple(found), "beach", "flat"), PLAN, 0)
    assert (look.findings[1].status, look.findings[1].fault) == (status, fault)
    assert look.findings[2].status is Status.NOT_YET
    assert [correction.edit for correction in look.corrections] == ([edit] if edit else [])
    assert look.verdict is (Verdict.REFINE if edit else Verdict.ACCEPT)


def test_too_few_are_asked_for_where_they_are_missing() -> None:
    look = label(Sight((seen("apple"), seen("cat", box=FAR)), "beach", "flat"), PLAN, 1)
    assert look.findings[2].fault is Fault.COUNT
    assert look.corrections[0].regions == ((60, 10, 90, 40),) and look.corrections[0].instruction == "add a cat"


def test_a_wrong_background_asks_for_a_fresh_start_only_at_first() -> None:
    sight = Sight((seen("apple"),), "night", "flat")
    assert label(sight, PLAN, 0).verdict is Verdict.REDRAW
    assert label(sight, PLAN, 1).verdict is Verdict.REFINE


def test_scores() -> None:
    elements = (
        Element(name="beach", role="background"),
        Element(name="apple", color="red", boxes=(BOX,)),
        Element(name="cat", boxes=(FAR,)),
    )
    scene = scenes.Scene(elements, "flat", scenes.Relation("left", 1, 2))
    right = (seen("apple"), seen("cat", box=FAR))
    assert verdict(Sight(right, "beach", "flat"), scene) == Score(True, True, True, True, True)
    assert not verdict(Sight((seen("apple", "blue"), right[1]), "beach", "flat"), scene).colors
    assert not verdict(Sight((*right, seen("cat", box=(60, 10, 90, 40))), "beach", "flat"), scene).counts
    swapped = (seen("apple", box=FAR), seen("cat"))
    assert not verdict(Sight(swapped, "beach", "flat"), scene).relation
    missing = verdict(Sight(right[:1], "night", "flat"), scene)
    assert not missing.objects and not missing.correct and not missing.background


def test_overlap() -> None:
    assert overlap(BOX, BOX) == 1.0 and overlap(BOX, FAR) == 0.0
    assert overlap((0, 0, 20, 10), (10, 0, 30, 10)) == pytest.approx(1 / 3)


def test_the_judge_sees_a_render_and_nothing_on_an_empty_canvas() -> None:
    rng = random.Random(8)
    scene = scenes.sample(rng, "two")
    full, empty = Judge().look(
        [scenes.render(scene.elements, scene.style, 1), scenes.render(scene.elements[:1], scene.style, 1)]
    )
    assert sorted(one.name for one in full.objects) == sorted(thing.name for thing in scene.elements[1:])
    assert not empty.objects and empty.background == scene.background


def test_something_that_is_no_object_is_a_smear() -> None:
    """A box in which nothing is found is empty only if it looks like the background."""
    picture = scenes.render((PLAN.elements[0],), "flat", 3)
    sight = Sight((), "beach", "flat")
    empty = label(sight, PLAN, 0, picture).findings[1]
    assert (empty.status, empty.seen) == (Status.MISSING, "nothing")
    picture.paste((120, 20, 90), scenes.pixels((15, 15, 35, 35)))
    smeared = label(sight, PLAN, 0, picture)
    assert (smeared.findings[1].fault, smeared.findings[1].seen) == (Fault.OBJECT, "a smear")
    assert smeared.corrections[0].edit is EditType.REPLACE


def test_what_is_seen_is_told_box_by_box() -> None:
    look = label(Sight((seen("apple", "blue"), seen("dog", box=FAR)), "night", "flat"), PLAN, 1)
    assert [finding.seen for finding in look.findings] == ["a night background", "a blue apple", "a dog, nothing"]


def test_a_painted_picture_is_held_against_a_plan_that_asks_otherwise() -> None:
    """Only what was asked for changes, one thing of it, and never into something held out."""
    rng, changed = random.Random(5), 0
    for _ in range(60):
        scene = scenes.sample_split(rng, True)
        state = Made(Brief(prompt="x"), words.plan(scene), len(words.plan(scene).steps) - 1, Image.new("RGB", (8, 8)))
        other = otherwise(rng, state)
        if other is None:
            continue
        changed += 1
        pairs = list(zip(state.plan.elements, other.plan.elements, strict=True))
        assert sum(old != new for old, new in pairs) == 1
        assert other.picture is state.picture and other.plan.steps == state.plan.steps
        assert other.brief.prompt != "x"
        assert not scenes.is_held_out(scenes.Scene(other.plan.elements, scene.style))
    assert changed > 30
    foreign = state.plan.model_copy(update={"elements": (*state.plan.elements[:-1], Element(name="dragon"))})
    assert otherwise(rng, state._replace(plan=foreign)) is None
    later = PLAN.model_copy(update={"elements": (*PLAN.elements[:2], Element(name="dragon", boxes=(FAR,)))})
    assert not any(otherwise(rng, state._replace(plan=later, step=0)) for _ in range(20)), "nor what comes later"


def test_a_label_is_as_certain_as_the_least_certain_name() -> None:
    things = Element(name="cat", count=2, boxes=(BOX, FAR))
    half = Seen("dog", "red", FAR, 0.9, 0.4)
    assert certainty(Sight((seen("cat"), half), "beach", "flat"), things) == 0.4
    assert certainty(Sight((), "beach", "flat"), things) == 1.0, "nothing is certainly nothing"
