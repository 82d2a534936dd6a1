"""A person may step in at any node (rule 4), and creations fork like a git history."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import pytest
from fakes import BALL, CAT, INK, PLAN, SHORT, ToyPainter, ToyVLM, add, look
from langgraph.checkpoint.memory import InMemorySaver
from PIL import Image

from brushloop import Creation, Critique, Step, StopReason, Studio
from brushloop.agent.checkpoints import serializer
from brushloop.agent.words import of_element
from brushloop.canvas import Correction, EditType, Finding, PlanStep, Status, StepKind, Verdict
from brushloop.errors import InputError, SizeError, UnknownCreationError

PROMPT = "a cat and a red ball on a beach"
NODES = ("plan", "draft", "reflect", "refine", "finish")


def miss(times: int) -> ToyPainter:
    """A painter whose first pictures come to nothing."""
    left = iter([True] * times)
    return ToyPainter(fails=lambda request: next(left, False))


def kinds(creation: Creation) -> list[str]:
    return [step.kind.value for step in creation.steps]


def human(creation: Creation) -> Step:
    (step,) = [step for step in creation.steps if step.kind is StepKind.HUMAN]
    return step


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("node", NODES)
def test_it_waits_before_and_after_every_node(side: str, node: str) -> None:
    studio, heard = Studio(miss(1), ToyVLM([SHORT])), []
    creation = studio.paint(PROMPT, pause=[f"{side}:{node}"], on_event=heard.append)
    waits = not (side == "after" and node == "finish")
    assert creation.finished is not waits
    paused = [event for event in heard if event["type"] == "paused"]
    assert len(paused) == waits
    made = kinds(creation)
    assert (node in made) is (side == "after")
    if waits:
        assert side == "after" or paused[0]["next"] == node
        creation = studio.answer(creation.id)
        assert human(creation).text == "approved"
    assert creation.stop_reason is StopReason.ACCEPTED


def test_it_waits_every_time_it_comes_by() -> None:
    studio = Studio(miss(3), ToyVLM([SHORT]))
    creation, waits = studio.paint(PROMPT, pause=["before:refine"]), 0
    while not creation.finished:
        waits += 1
        creation = studio.answer(creation.id, pause=["before:refine"])
    assert waits == kinds(creation).count("refine") == 4


def test_another_plan() -> None:
    studio = Studio(ToyPainter(), ToyVLM())
    waiting = studio.paint(PROMPT, pause=["after:plan"])
    creation = studio.answer(waiting.id, SHORT)
    assert creation.plan == human(creation).plan == SHORT
    assert kinds(creation) == ["brief", "plan", "human", "draft", "reflect", "finish"]
    assert human(creation).parent == waiting.head


def test_another_plan_over_a_picture_is_looked_at_first() -> None:
    studio = Studio(ToyPainter(), ToyVLM())
    waiting = studio.paint(PROMPT, pause=["after:reflect"])
    creation = studio.answer(waiting.id, SHORT)
    assert kinds(creation)[4:] == ["human", "reflect", "refine", "reflect", "finish"]


def test_a_plan_that_forgets_an_element_paints_it_last() -> None:
    studio = Studio(ToyPainter(), ToyVLM())
    forgetful = PLAN.model_copy(update={"steps": PLAN.steps[:1]})
    creation = studio.answer(studio.paint(PROMPT, pause=["after:plan"]).id, forgetful)
    assert creation.plan and creation.plan.steps[-1].adds == (0, 1, 2)
    assert creation.stop_reason is StopReason.ACCEPTED


def test_another_critique_stands() -> None:
    studio = Studio(miss(1), ToyVLM([SHORT]))
    waiting = studio.paint(PROMPT, pause=["after:reflect"])
    creation = studio.answer(waiting.id, Critique(verdict=Verdict.ACCEPT))
    assert kinds(creation) == ["brief", "plan", "draft", "reflect", "human", "finish"]
    assert creation.stop_reason is StopReason.ACCEPTED, "the critic saw nothing there, but the person accepts"
    assert creation.critique and creation.critique.score == 1.0


def test_a_critique_may_speak_of_one_element_only() -> None:
    studio = Studio(ToyPainter(), ToyVLM([SHORT]))
    waiting = studio.paint(PROMPT, pause=["after:reflect"])
    wrong = Finding(element=1, status=Status.WRONG)
    creation = studio.answer(waiting.id, Critique(findings=(wrong,), verdict=Verdict.REFINE))
    said = human(creation).critique
    assert said and [finding.status.value for finding in said.findings] == ["present", "wrong", "present"]
    refined = creation.steps[5]
    assert refined.kind is StepKind.REFINE and refined.text == "replace with a cat"


def test_a_correction_is_done_whatever_the_critic_thinks() -> None:
    studio = Studio(ToyPainter(), ToyVLM([SHORT]))
    waiting = studio.paint(PROMPT, pause=["after:reflect"])
    box = (50, 5, 70, 25)
    creation = studio.answer(waiting.id, add("kite", box))
    assert human(creation).text == "asked: add a kite"
    assert creation.image and creation.image.getpixel((24, 6)) == INK


def asked(edit: str, instruction: str, *regions: tuple[int, int, int, int]) -> Correction:
    return Correction(edit=EditType(edit), instruction=instruction, regions=regions)


@pytest.mark.parametrize(
    ("correction", "things"),
    [
        (asked("remove", "remove the cat", CAT), ["beach", "red ball"]),
        (asked("color", "make the ball blue", BALL), ["beach", "cat", "blue ball"]),
        (asked("replace", "replace with a dog", CAT), ["beach", "dog", "red ball"]),
        (asked("replace", "replace the cat with two dogs", CAT), ["beach", "two dogs", "red ball"]),
        (asked("background", "change the background to a desert"), ["desert", "cat", "red ball"]),
        (asked("replace", "replace with a cat", CAT), None),
        (asked("color", "make the ball red", BALL), None),
        (asked("remove", "remove the dog", CAT), None),
        (asked("add", "add a kite", (50, 5, 70, 25)), None),
    ],
)
def test_a_correction_that_contradicts_the_plan_changes_it(correction: Correction, things: list[str] | None) -> None:
    """Else the loop would put back what a person took away."""
    vlm = ToyVLM([SHORT], looks=[None, look("wrong", "missing", "wrong", verdict="refine")])
    studio = Studio(ToyPainter(), vlm)
    waiting = studio.paint(PROMPT, pause=["after:reflect"])
    creation = studio.answer(waiting.id, correction, pause=["after:reflect"])
    assert creation.plan and kinds(creation)[4:] == ["human", "refine", "reflect"]
    if things is None:
        assert creation.plan == SHORT and human(creation).plan is None
        return
    assert [of_element(element) for element in creation.plan.elements] == things
    assert human(creation).text.endswith(f"(the plan now has: {', '.join(things)})")
    assert len(vlm.questions[-1].text.splitlines()) == 2 + len(things), "and the critic is asked about that"
    assert studio.resume(creation.id).finished and studio.store.verify(creation.id) == []


def test_what_a_person_takes_away_in_the_first_step_is_not_missed_in_the_second() -> None:
    studio = Studio(ToyPainter(), ToyVLM())
    waiting = studio.paint(PROMPT, pause=["after:reflect"])
    creation = studio.answer(waiting.id, asked("remove", "remove the cat", CAT))
    assert creation.plan and [step.adds for step in creation.plan.steps] == [(0,), (1,)]
    assert creation.stop_reason is StopReason.ACCEPTED
    assert [step.text for step in creation.steps if step.kind is StepKind.DRAFT] == [
        "paint a beach with a cat",
        "add a red ball",
    ]
    moved = studio.fork(creation.hashes[3], edit=asked("move", "move the ball up", BALL, (60, 10, 90, 40)))
    assert moved.plan and moved.plan.elements[2].boxes == ((60, 10, 90, 40),)
    with pytest.raises(InputError, match="nothing would be left"):
        step = PlanStep(instruction="a cat", adds=(0,))
        only = SHORT.model_copy(update={"elements": SHORT.elements[1:2], "steps": (step,)})
        one = Studio(ToyPainter(), ToyVLM([only])).paint(PROMPT, pause=["after:reflect"])
        studio.answer(one.id, asked("remove", "remove the cat", CAT))


def test_another_picture_stands() -> None:
    studio = Studio(ToyPainter(), ToyVLM([SHORT]))
    waiting = studio.paint(PROMPT, pause=["after:draft"])
    mine = Image.new("RGB", (40, 40), INK)
    creation = studio.answer(waiting.id, mine)
    assert human(creation).inputs == waiting.steps[-1].outputs
    assert creation.image and creation.image.tobytes() == mine.tobytes()
    assert studio.store.verify(creation.id) == []


@pytest.mark.parametrize(
    ("edit", "error"),
    [
        (Image.new("RGB", (8, 8)), SizeError),
        ("make it nicer", InputError),
        (Critique(verdict=Verdict.ACCEPT), InputError),
        (add("cat", CAT), InputError),
    ],
)
def test_an_answer_that_does_not_fit_is_refused_and_nothing_recorded(edit: Any, error: type[Exception]) -> None:
    studio = Studio(ToyPainter(), ToyVLM())
    waiting = studio.paint(PROMPT, pause=["after:plan"])
    with pytest.raises(error):
        studio.answer(waiting.id, edit)
    assert studio.store.head(waiting.id) == waiting.head


def test_a_finished_creation_is_forked_not_answered() -> None:
    studio = Studio(ToyPainter(), ToyVLM())
    with pytest.raises(InputError, match="fork it"):
        studio.answer(studio.paint(PROMPT).id)


@pytest.mark.parametrize("place", ["draft", "during:draft", "before:dream", "before:"])
def test_an_unknown_place_to_pause_is_refused(place: str) -> None:
    studio = Studio(ToyPainter(), ToyVLM())
    with pytest.raises(InputError, match="before: or after:"):
        studio.paint(PROMPT, pause=[place])
    assert studio.store.heads() == []


# Forks


def painted(creation: Creation, shared: Sequence[str]) -> list[str]:
    assert creation.hashes[: len(shared)] == list(shared)
    return kinds(creation)[len(shared) :]


def test_a_fork_shares_its_past_and_leaves_the_other_alone() -> None:
    studio = Studio(ToyPainter(spills=True), ToyVLM())
    one = studio.paint(PROMPT)
    two = studio.fork(one.hashes[1], seed=9)
    assert painted(two, one.hashes[:2]) == ["brief", "draft", "reflect", "draft", "reflect", "finish"]
    assert two.brief.seed == 9
    assert two.frame != one.frame
    assert studio.store.head(one.id) == one.head
    assert studio.store.verify(two.id) == studio.store.verify(one.id) == []


def test_a_fork_of_a_finished_creation_paints_its_last_plan_step_again() -> None:
    studio = Studio(ToyPainter(spills=True), ToyVLM())
    one = studio.paint(PROMPT, seed=4)
    two = studio.fork(one.id)
    assert two.brief.seed == 5
    assert painted(two, one.hashes) == ["brief", "draft", "reflect", "finish"]
    assert two.steps[-3].inputs == one.steps[2].outputs


def test_a_fork_with_another_prompt_works_on_the_picture_there() -> None:
    painter = ToyPainter()
    studio = Studio(painter, ToyVLM([PLAN.model_copy(update={"steps": PLAN.steps[:1]}), SHORT]))
    one = studio.paint("a cat")
    two = studio.fork(one.id, prompt=PROMPT)
    assert painted(two, one.hashes)[:3] == ["brief", "plan", "reflect"]
    assert two.brief.prompt == PROMPT and two.plan == SHORT
    assert two.stop_reason is StopReason.ACCEPTED


def test_a_fork_with_an_edit() -> None:
    studio = Studio(ToyPainter(), ToyVLM())
    one = studio.paint(PROMPT)
    two = studio.fork(one.id, edit=add("kite", (50, 5, 70, 25)))
    assert painted(two, one.hashes)[:3] == ["brief", "human", "refine"]


def test_a_fork_with_a_larger_budget_goes_on() -> None:
    studio = Studio(miss(4), ToyVLM([SHORT]))
    one = studio.paint(PROMPT, budget={"rounds": 2})
    two = studio.fork(one.id, budget={"rounds": 9})
    assert one.stop_reason is StopReason.ROUNDS
    assert painted(two, one.hashes)[:2] == ["brief", "refine"]
    assert two.brief.seed == one.brief.seed and two.stop_reason is StopReason.ACCEPTED


def test_a_fork_can_be_forked_and_resumed() -> None:
    studio = Studio(ToyPainter(spills=True), ToyVLM())
    one = studio.paint(PROMPT)
    two = studio.fork(one.hashes[2], pause=["after:draft"])
    three = studio.fork(two.head, seed=77)
    assert studio.resume(two.id).stop_reason is three.stop_reason is StopReason.ACCEPTED


def test_a_fork_of_nothing() -> None:
    with pytest.raises(UnknownCreationError):
        Studio(ToyPainter(), ToyVLM()).fork("nobody")


@pytest.mark.parametrize(
    "way", [{"seed": 8}, {"prompt": "a ball"}, {"edit": SHORT}, {"edit": Image.new("RGB", (40, 40))}]
)
def test_every_step_can_be_forked_in_every_way(way: dict[str, Any]) -> None:
    home = f"memory://{uuid.uuid4()}"  # many forks, and no disk to wait for
    studio = Studio(miss(2), ToyVLM(), home, checkpointer=InMemorySaver(serde=serializer()))
    waiting = studio.paint(PROMPT, budget={"rounds": 4, "stall": 9}, pause=["before:refine"])
    one = studio.answer(waiting.id, add("cat", CAT))
    assert {*kinds(one)} == {"brief", "plan", "draft", "reflect", "refine", "human", "finish"}
    for number, digest in enumerate(one.hashes):
        two = studio.fork(digest, **way, budget={"rounds": 9})
        assert two.stop_reason is StopReason.ACCEPTED and two.image
        assert two.hashes[: number + 1] == one.hashes[: number + 1]
        assert studio.store.verify(two.id) == []
