"""Constraints: what they score, that they lie in 0-1, and that gradients flow where they should."""

from __future__ import annotations

import random

import pytest
import torch
from PIL import Image

from brushloop.canvas import Critique, Element, Fault, Finding, Plan, PlanStep, Status, Verdict
from brushloop.supervision import faults
from brushloop.supervision.build.desk import critique
from brushloop.supervision.constraints import (
    PicturePreservation,
    SemanticConsistency,
    SpatialConsistency,
    TextPreservation,
    ViolationCorrection,
    ViolationFinding,
    evidence,
    pixels_of,
)  # fmt: skip
from brushloop.supervision.judge import Judge
from brushloop.supervision.world import scenes
from brushloop.supervision.world.scenes import Relation

CAT = Element(name="cat", boxes=((8, 33, 42, 67),))
BALL = Element(name="star", color="red", boxes=((58, 33, 92, 67),))
GROUND = Element(name="beach", role="background")
PLAN = Plan(elements=(GROUND, CAT, BALL), steps=(PlanStep(instruction="paint it", adds=(0, 1, 2)),), style="flat")


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge()


def at(thing: Element, *boxes: tuple[int, int, int, int]) -> Element:
    return thing.model_copy(update={"boxes": boxes})


def shown(*things: Element) -> Image.Image:
    return scenes.render(things, "flat")


def said(*statuses: Status | Fault) -> Critique:
    findings = []
    for index, status in enumerate(statuses):
        fault = status if isinstance(status, Fault) else None
        findings.append(Finding(element=index, status=Status.WRONG if fault else Status(status), fault=fault))
    return Critique(findings=tuple(findings), verdict=Verdict.REFINE)


P, M, N = Status.PRESENT, Status.MISSING, Status.NOT_YET


def test_semantic_consistency_falls_with_every_element_that_is_not_there(judge: Judge) -> None:
    pictures = [
        shown(GROUND, CAT, BALL),
        shown(GROUND, CAT, BALL.model_copy(update={"color": "blue"})),
        shown(GROUND, CAT),
        shown(GROUND.model_copy(update={"name": "night"})),
    ]
    kept = [SemanticConsistency(PLAN, 0)(seen) for seen in evidence(judge.network, pictures)]
    values = list(map(float, kept))
    assert values[0] > 0.8 > max(values[1:3]) and min(values[1:3]) > 0.5 > 0.2 > values[3]
    assert set(kept[0].parts) == {"0 beach", "1 cat", "2 star"} and kept[1].parts["2 star"] < 0.3
    assert float(kept[0].loss) == pytest.approx(1 - values[0])


def test_what_is_not_due_is_not_asked_for(judge: Judge) -> None:
    steps = (PlanStep(instruction="paint", adds=(0, 1)), PlanStep(instruction="add", adds=(2,)))
    plan = PLAN.model_copy(update={"steps": steps})
    (seen,) = evidence(judge.network, [shown(GROUND, CAT)])
    assert float(SemanticConsistency(plan, 0)(seen)) > 0.8 > float(SemanticConsistency(plan, 1)(seen))


@pytest.mark.parametrize("kind", ["left", "right", "above", "below"])
def test_a_relation_is_kept_or_broken(judge: Judge, kind: str) -> None:
    (seen,) = evidence(judge.network, [shown(GROUND, CAT, BALL)])
    value = SpatialConsistency(PLAN, 0, Relation(kind, 1, 2))(seen).parts["relation"]
    assert (value > 0.9) is (kind == "left") and (value < 0.1) is (kind == "right")


def test_between_needs_both_sides(judge: Judge) -> None:
    third = Element(name="key", boxes=((40, 75, 60, 95),))
    steps = (PlanStep(instruction="paint", adds=(0, 1, 2, 3)),)
    plan = Plan(elements=(GROUND, CAT, BALL, third), steps=steps)
    (seen,) = evidence(judge.network, [shown(GROUND, CAT, BALL, third)])
    between = SpatialConsistency(plan, 0, Relation("between", 3, 1, 2))(seen).parts["relation"]
    outside = SpatialConsistency(plan, 0, Relation("between", 1, 2, 3))(seen).parts["relation"]
    assert between > 0.9 and outside < 0.1


def test_what_must_not_move_is_held_still(judge: Judge) -> None:
    before, same, moved = evidence(
        judge.network,
        [
            shown(GROUND, CAT, BALL),
            shown(GROUND, CAT, BALL),
            shown(GROUND, at(CAT, (8, 58, 42, 92)), BALL),
        ],
    )
    still = SpatialConsistency(PLAN, 0, before=before)
    free = SpatialConsistency(PLAN, 0, before=before, moved=frozenset({1}))
    assert still(same).parts["still"] == pytest.approx(1)
    assert still(moved).parts["still"] < 0.7 < free(moved).parts["still"]
    assert float(still(moved)) < float(still(same))


def test_pixels_get_a_gradient_through_the_detector(judge: Judge) -> None:
    """One step along the gradient of the loss raises the value: it can be trained on."""
    pixels = (pixels_of(shown(GROUND, CAT), 128)[None] * 2 - 1).requires_grad_()

    def value(of: torch.Tensor) -> torch.Tensor:
        (seen,) = evidence(judge.network, of)
        return (
            SemanticConsistency(PLAN, 0)(seen).value + SpatialConsistency(PLAN, 0, Relation("left", 1, 2))(seen).value
        )

    before = value(pixels)
    before.backward()  # type: ignore[no-untyped-call]
    assert pixels.grad is not None and pixels.grad.abs().sum() > 0
    after = value(pixels.detach() + 0.02 * pixels.grad.sign())
    assert float(after.detach()) > float(before.detach())


def test_outside_of_the_regions_stays() -> None:
    before = shown(GROUND, CAT)
    after = shown(GROUND, CAT, BALL)
    keeps = PicturePreservation(BALL.boxes)
    assert float(keeps(before, after)) == 1 and keeps(before, after).parts["drift"] == 0
    other = shown(GROUND.model_copy(update={"name": "night"}), CAT, BALL)
    assert float(keeps(before, other)) < 0.05
    assert float(PicturePreservation(())(before, other)) == 1
    one = pixels_of(other).requires_grad_()
    keeps(pixels_of(before), one).loss.backward()  # type: ignore[no-untyped-call]
    grad = one.grad
    assert grad is not None and float(grad[:, 45:80, 80:112].abs().sum()) == 0 < float(grad.abs().sum())
    with pytest.raises(ValueError, match="different shapes"):
        keeps(before, before.resize((64, 64)))


def test_finding() -> None:
    truth = said(P, M, Fault.COLOR, N)
    exact, missed = said(P, M, Fault.COLOR, N), said(P, P, Fault.COLOR, N)
    other, none = said(P, Fault.OBJECT, P, N), said()
    find = ViolationFinding(truth)
    assert float(find(exact)) == 1
    assert find(missed).parts == {"precision": 1.0, "recall": 0.5, "detected": 0.5}
    assert float(find(other)) == 0 and find(other).parts["detected"] == 0.5
    assert float(find(none)) == 0 and float(ViolationFinding(said(P, P))(said(P, P))) == 1
    assert float(ViolationFinding(said(P, P))(said(M, P))) == 0


def test_correction() -> None:
    before = said(P, M, Fault.COLOR)
    assert float(ViolationCorrection(before)(said(P, P, P))) == 1
    assert ViolationCorrection(before)(said(P, P, Fault.SIZE)).parts == {"repaired": 0.5, "broken": 0.0}
    assert float(ViolationCorrection(before)(said(M, P, P))) == 0
    assert float(ViolationCorrection(before, frozenset({1}))(said(P, P, Fault.COLOR))) == 1


def test_what_was_right_is_left_alone_and_what_was_planned_remembered() -> None:
    keep = TextPreservation(said(P, P, M), PLAN)
    assert float(keep(said(P, P, M), PLAN)) == 1
    assert keep(said(P, M, M)).parts["left alone"] == 0.5
    forgot = PLAN.model_copy(update={"elements": (GROUND, CAT, BALL.model_copy(update={"color": None}))})
    assert keep(said(P, P, M), forgot).parts["remembered"] == pytest.approx(2 / 3)


def test_everything_lies_between_0_and_1_on_faulty_states(judge: Judge) -> None:
    rng = random.Random(1)
    for _ in range(20):
        state = faults.sample(rng)
        (seen,) = evidence(judge.network, [state.picture])
        truth = critique(state.look)
        kept = [
            SemanticConsistency(state.plan, state.step)(seen), SpatialConsistency(state.plan, state.step)(seen),
            ViolationFinding(truth)(truth), TextPreservation(truth)(truth), ViolationCorrection(truth)(truth),
        ]  # fmt: skip
        for one in kept:
            assert 0 <= float(one) <= 1 and all(0 <= part <= 1 for part in one.parts.values())


def test_faulty_states_score_lower_than_sound_ones(judge: Judge) -> None:
    rng, scores = random.Random(2), {True: list[float](), False: list[float]()}
    for _ in range(40):
        state = faults.sample(rng)
        (seen,) = evidence(judge.network, [state.picture])
        scores[bool(state.look.corrections)].append(float(SemanticConsistency(state.plan, state.step)(seen)))
    means = {faulty: sum(values) / len(values) for faulty, values in scores.items()}
    assert means[False] > means[True] + 0.1
