"""The small world: seeded, held-out, and telling the truth about what it draws."""

import random

import numpy as np
import pytest

from brushloop.canvas import EditType, Element, Status, Verdict
from brushloop.critic.prompt import Look
from brushloop.supervision import faults
from brushloop.supervision.world import art, edits, scenes, words
from brushloop.supervision.world.worlds import SMALL, current, only


def test_the_world_is_as_large_as_promised() -> None:
    assert current() is SMALL
    assert len(SMALL.things) >= 40 and len(SMALL.styles) >= 2 and len(SMALL.backgrounds) >= 6
    assert len(SMALL.colors) >= 6 and set(scenes.RELATIONS) == {"left", "right", "above", "below", "between"}


def test_a_seed_gives_the_same_scene_and_picture() -> None:
    one, two = (scenes.sample(random.Random(5), "many") for _ in range(2))
    assert one == two
    pictures = [np.asarray(scenes.render(scene.elements, scene.style, scene.variant)) for scene in (one, two)]
    assert (pictures[0] == pictures[1]).all()
    assert scenes.sample(random.Random(6), "many") != one


@pytest.mark.parametrize("category", (*scenes.CATEGORIES, scenes.GROUPS))
def test_boxes_keep_apart_and_relations_hold(category: str) -> None:
    rng = random.Random(category)
    for _ in range(40):
        scene = scenes.sample(rng, category, composed=0.0)
        boxes = [box for thing in scene.elements for box in thing.boxes]
        assert all(thing.count == len(thing.boxes) for thing in scene.elements[1:])
        assert all(scenes.apart(box, boxes[:i]) for i, box in enumerate(boxes))
        if scene.relation:
            assert scenes.holds(scene.relation, scene.elements)


def test_groups_are_several_kinds_of_thing_of_which_some_come_several_times() -> None:
    rng, seen = random.Random("groups"), set()
    for number in range(200):
        counts = [thing.count for thing in scenes.sample(rng, scenes.GROUPS, composed=float(number % 2)).elements[1:]]
        assert len(counts) in (2, 3) and max(counts) > 1 and sum(counts) <= 7
        seen.add(tuple(counts))
    assert {(4, 1), (1, 4), (2, 2), (4, 3), (3, 4), (1, 2, 4)} <= seen


def test_a_background_may_be_named_amid_the_things() -> None:
    rng = random.Random(2)
    said = set[str]()
    for _ in range(200):
        scene = scenes.sample(rng, scenes.GROUPS)
        text, names_background, _ = words.prompt(scene, rng, amid=True)
        first, *others = (words.noun_phrase(thing) for thing in scene.elements[1:])
        if names_background and scene.relation is None:
            before, _, after = text.partition(first)
            assert after and others[0] not in before
            setting = after[: after.index(others[0])]
            assert setting.strip().removesuffix("and").removesuffix("with").strip(" ,")
            said.add(setting.split()[-1])
    assert said == {"and", "with"}
    scene = scenes.sample(rng, "position")
    asked = [words.prompt(scene, random.Random(1), amid=amid) for amid in (False, True)]
    assert asked[0] == asked[1]


def test_training_never_shows_a_held_out_combination() -> None:
    rng = random.Random(0)
    for _ in range(200):
        shown = scenes.combinations(scenes.sample_split(rng, True))
        assert not any(scenes.held_out(key) for key in shown)
    for _ in range(50):
        assert any(scenes.held_out(key) for key in scenes.combinations(scenes.sample_split(rng, False)))


def test_an_object_is_drawn_inside_its_box_and_nowhere_else() -> None:
    rng = random.Random(1)
    for _ in range(20):
        scene = scenes.sample(rng, "single")
        empty = np.asarray(scenes.render(scene.elements[:1], scene.style, scene.variant), int)
        full = np.asarray(scenes.render(scene.elements, scene.style, scene.variant), int)
        left, top, right, bottom = scenes.pixels(scene.elements[1].boxes[0])
        changed = np.abs(full - empty).max(-1) > 0
        assert changed[top:bottom, left:right].mean() > 0.15
        changed[top:bottom, left:right] = False
        assert not changed.any()


@pytest.mark.parametrize("color", SMALL.colors)
@pytest.mark.parametrize("name", ["apple", "car", "star", "book"])
def test_a_tint_turns_the_main_hue(name: str, color: str) -> None:
    for style in SMALL.styles:
        sprite = np.asarray(art.sprite(name, style, color, 60, 60).convert("RGBA"), float)
        hsv = np.asarray(art.sprite(name, style, color, 60, 60).convert("RGB").convert("HSV"), float)
        solid = (sprite[..., 3] > 200) & (hsv[..., 1] > 90)
        hue = art.PALETTE[color][0]
        near = np.abs((hsv[..., 0][solid] * 360 / 255 - hue + 180) % 360 - 180) < 14
        assert near.mean() > 0.5


@pytest.mark.parametrize("kind", [EditType(maker.__name__) for maker in edits.KINDS])
def test_an_edit_changes_its_regions_only(kind: EditType) -> None:
    rng = random.Random(kind.value)
    for _ in range(15):
        edit = edits.sample(rng, True, kind)
        before = np.asarray(scenes.render(edit.before, edit.style, edit.variant), int)
        after = np.asarray(scenes.render(edit.after, edit.style, edit.variant), int)
        changed = (before != after).any(-1)
        assert changed.any() and edit.text
        for box in edit.regions:
            left, top, right, bottom = scenes.pixels(box)
            changed[max(0, top - 1) : bottom + 1, max(0, left - 1) : right + 1] = False
        assert not changed.any() or not edit.regions


def test_a_plan_paints_every_element_once_background_first() -> None:
    rng = random.Random(2)
    for _ in range(40):
        scene = scenes.sample(rng)
        plan = words.plan(scene)
        added = [index for step in plan.steps for index in step.adds]
        assert sorted(added) == list(range(len(plan.elements))) and added[0] == 0
        assert plan.elements[0].role == "background"
        assert plan.due(len(plan.steps) - 1) == tuple(range(len(plan.elements)))


def test_the_true_critique_fits_what_was_drawn() -> None:
    rng = random.Random(3)
    seen = set()
    for _ in range(300):
        state = faults.sample(rng)
        assert Look.model_validate_json(state.look.model_dump_json()) == state.look
        due = set(state.plan.due(state.step))
        for finding in state.look.findings:
            assert (finding.status is Status.NOT_YET) == (finding.element not in due)
            seen.add(finding.status)
        bad = [f for f in state.look.findings if f.status in (Status.MISSING, Status.WRONG)]
        assert len(bad) == len(state.look.corrections)
        assert (state.look.verdict is Verdict.ACCEPT) == (not bad)
    assert seen == set(Status)


def test_prompts_name_every_object_and_color() -> None:
    rng = random.Random(4)
    for _ in range(100):
        scene = scenes.sample(rng)
        text = words.prompt(scene, rng)[0]
        for thing in scene.elements[1:]:
            name = SMALL.by_name[thing.name]
            assert (name.name if thing.count == 1 else name.plural) in text
            assert thing.color is None or thing.color in text


def test_an_unknown_background_is_named() -> None:
    with pytest.raises(ValueError, match="no background 'moon base'"):
        scenes.render([Element(name="moon base", role="background")], "flat")


def test_a_part_of_the_world_is_sampled_alone_and_holds_out_more() -> None:
    part = SMALL.part("four", ("apple", "star", "dog", "sun"), ("flat",))
    before = [scenes.sample(random.Random(n)) for n in range(20)]
    with only(part):
        train = [scenes.sample_split(random.Random(n), True) for n in range(40)]
        test = [scenes.sample_split(random.Random(n), False) for n in range(40)]
        held = {key for scene in (*train, *test) for key in scenes.combinations(scene) if scenes.held_out(key)}
    for scene in (*train, *test):
        assert {thing.name for thing in scene.elements[1:]} <= set(part.by_name) and scene.style == "flat"
    assert len(held) > len({key for key in held if scenes.held_out(key)})
    assert not any(scenes.combinations(scene) & held for scene in train)
    assert all(scenes.combinations(scene) & held for scene in test)
    assert [scenes.sample(random.Random(n)) for n in range(20)] == before
