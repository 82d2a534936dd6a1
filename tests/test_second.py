"""Calibration of scores, and second opinions: a detector for things, a reader for text."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import pytest
from fakes import SHORT, ToyPainter, ToyVLM
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from brushloop import Critique, Plan, Studio
from brushloop.canvas import Brief, Element, Finding, PlanStep, Status, StepKind, Verdict
from brushloop.cli.main import main
from brushloop.supervision import faults
from brushloop.supervision.calibration import calibration, scored
from brushloop.supervision.judge import Judge
from brushloop.supervision.second import SecondOpinion, by_reading, quoted, reader, texts

# Calibration


def test_a_known_case() -> None:
    """Ten at 0.95 of which nine are so, ten at 0.25 of which five are: half of .05 and half of .25."""
    pairs = [(0.95, n < 9) for n in range(10)] + [(0.25, n < 5) for n in range(10)]
    found = calibration(pairs)
    assert found.error == pytest.approx(0.15) and found.worst == pytest.approx(0.25) and found.number == 20
    assert found.brier == pytest.approx((9 * 0.05**2 + 0.95**2 + 5 * 0.75**2 + 5 * 0.25**2) / 20)
    assert [one.number for one in found.bins] == [0, 0, 10, 0, 0, 0, 0, 0, 0, 10]


def test_the_sure_and_wrong_have_the_worst_and_the_sure_and_right_the_best() -> None:
    assert calibration([(1.0, False), (0.0, True)]).error == 1
    assert calibration([(1.0, True), (0.0, False)]).error == 0


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60), st.integers(1, 20))
@settings(max_examples=100, deadline=None)
def test_errors_are_shares(pairs: list[tuple[float, bool]], bins: int) -> None:
    found = calibration(pairs, bins)
    assert 0 <= found.error <= found.worst + 1e-9 <= 1 + 2e-9 and sum(one.number for one in found.bins) == len(pairs)


def test_honest_scores_are_calibrated() -> None:
    rng = random.Random(0)
    honest = [(p, rng.random() < p) for p in (rng.random() for _ in range(20_000))]
    assert calibration(honest).error < 0.02
    assert calibration([(min(1.0, p + 0.3), so) for p, so in honest]).error > 0.15


@pytest.mark.parametrize("pairs", [[], [(1.5, True)], [(float("nan"), True)]])
def test_what_has_no_calibration(pairs: Any) -> None:
    with pytest.raises(ValueError, match="calibration needs"):
        calibration(pairs)


def test_only_what_is_due_and_scored_counts() -> None:
    critique = Critique(
        verdict=Verdict.REFINE,
        findings=(
            Finding(element=0, status=Status.PRESENT, score=0.9),
            Finding(element=1, status=Status.WRONG, score=0.2),
            Finding(element=2, status=Status.NOT_YET),
            Finding(element=3, status=Status.PRESENT),
        ),
    )
    truth = {0: Status.PRESENT, 1: Status.MISSING, 2: Status.NOT_YET, 3: Status.PRESENT}
    assert scored(critique, truth) == [(0.9, True), (0.2, False)]


# Second opinions


def said(*statuses: Status) -> Critique:
    findings = tuple(Finding(element=index, status=status) for index, status in enumerate(statuses))
    return Critique(verdict=Verdict.REFINE, findings=findings)


def test_the_judge_disagrees_where_the_critic_is_wrong() -> None:
    judge, rng, disputed = Judge(), random.Random(3), 0
    for _ in range(12):
        state = faults.sample(rng, training=False)
        truth = [finding.status for finding in state.look.findings]
        asked = SecondOpinion(judge)
        assert asked.disagreements(state.plan, state.step, state.picture, said(*truth)) == []
        lie = [Status.PRESENT if status is not Status.NOT_YET else status for status in truth]
        found = asked.disagreements(state.plan, state.step, state.picture, said(*lie))
        faulty = {index for index, status in enumerate(truth) if status in (Status.WRONG, Status.MISSING)}
        assert {one.opinion.element for one in found} == faulty
        disputed += len(found)
    assert disputed, "some of them were faulty"


def test_things_outside_its_world_are_left_to_the_critic() -> None:
    plan = Plan(elements=(Element(name="zeppelin"),), steps=(PlanStep(instruction="a zeppelin", adds=(0,)),))
    picture = Image.new("RGB", (128, 128), "white")
    assert SecondOpinion(Judge()).disagreements(plan, 0, picture, said(Status.PRESENT)) == []


SIGN = Plan(
    elements=(Element(name="beach", role="background"), Element(name='a sign that says "FRESH FISH"')),
    steps=(
        PlanStep(instruction="paint a beach", adds=(0,)),
        PlanStep(instruction="add a sign", expected="a sign", adds=(1,)),
    ),
)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["FRESH FISH"], [(1, "present")]),
        (["Freshfish"], [(1, "present")]),
        (["FRSH FLAG"], [(1, "wrong")]),
        ([], [(1, "missing")]),
        (["FRESH FISH", "Shutterstock"], [(1, "present"), (None, "wrong")]),
    ],
)
def test_text_is_compared_by_its_letters(lines: Sequence[str], expected: list[tuple[int | None, str]]) -> None:
    found = by_reading(lambda picture: lines, SIGN, 1, Image.new("RGB", (8, 8)))
    assert [(one.element, one.status.value) for one in found] == expected


def test_text_that_is_not_due_is_not_missed() -> None:
    assert by_reading(lambda picture: [], SIGN, 0, Image.new("RGB", (8, 8))) == []
    assert texts(SIGN, 1) == [(1, "FRESH FISH")]
    assert quoted("it's a dog's “bone” and 'no entry' on „Halt“") == ["bone", "no entry", "Halt"]


def test_the_reader_reads() -> None:
    pytest.importorskip("rapidocr_onnxruntime", reason="no extra ocr, or no libGL for it", exc_type=ImportError)
    picture = Image.new("RGB", (128, 64), "white")
    pen = ImageDraw.Draw(picture)
    pen.text((10, 20), "FRESH FISH", fill="black", font=ImageFont.load_default(20))
    asked = SecondOpinion(read=reader())
    assert asked(SIGN, 1, picture, said(Status.PRESENT, Status.PRESENT)) == []
    told = asked(SIGN, 1, picture, said(Status.PRESENT, Status.MISSING))
    assert len(told) == 1 and "reader finds" in told[0] and "the critic missing" in told[0]
    blank = asked(SIGN, 1, Image.new("RGB", (128, 64), "white"), said(Status.PRESENT, Status.PRESENT))
    assert len(blank) == 1 and "missing" in blank[0]


def test_disagreements_are_told_in_the_record_and_change_nothing_else() -> None:
    def other(plan: Plan, step: int, picture: Image.Image, critique: Critique) -> list[str]:
        return ["judge finds cat missing, the critic present"] if step == 0 else []

    plain = Studio(ToyPainter(), ToyVLM()).paint("a cat", id="a")
    made = Studio(ToyPainter(), ToyVLM(), second=other).paint("a cat", id="b")
    looks = [step for step in made.steps if step.kind is StepKind.REFLECT]
    assert looks[0].settings["second_opinion"] == "judge finds cat missing, the critic present"
    assert looks[0].text.endswith("(second opinion: judge finds cat missing, the critic present)")
    assert "second_opinion" not in looks[1].settings
    assert made.frame == plain.frame and [s.kind for s in made.steps] == [s.kind for s in plain.steps]


def test_the_command_shows_them(capsys: pytest.CaptureFixture[str]) -> None:
    Studio(ToyPainter(), ToyVLM([SHORT])).paint("a cat", id="one")
    assert main(["second", "one", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert len(value["reflections"]) == 1 and value["reflections"][0]["disagreements"], "red boxes are no cats"
    assert main(["second", "one"]) == 0
    assert "in 1 reflections" in capsys.readouterr().out
    assert main(["second", "nobody"]) == 2


@pytest.mark.models
def test_the_shipped_critic_can_be_calibrated() -> None:
    from brushloop.critic.critic import Critic
    from brushloop.vlm import open_vlm

    critic, rng, pairs = Critic(open_vlm("embedded")), random.Random(1), []
    for _ in range(8):
        state = faults.sample(rng, training=False)
        told = critic.reflect(Brief(prompt=state.prompt), state.plan, state.step, state.picture).value
        pairs += scored(told, {seen.element: seen.status for seen in state.look.findings})
    assert 0 <= calibration(pairs).error < 0.6, "scores that say nothing of the truth would be worse"
