"""A plan is held against its prompt, as far as the model knows what a prompt names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import MODEL, PLAN, ToyPainter, ToyVLM, look

from brushloop import Studio
from brushloop.canvas import Brief, Element, Plan, PlanStep, StepKind, Task
from brushloop.planner.planner import TRIES, Planner
from brushloop.vlm import Question, Reply
from brushloop.vlm_embedded import EmbeddedVLM, Named

BRIEF = Brief(prompt="a cat and a red ball on a beach")
FORGETFUL = Plan(elements=PLAN.elements[:2], steps=(PlanStep(instruction="paint", adds=(0, 1)),))
TINTED = Plan(
    elements=(PLAN.elements[0], Element(name="cat", color="red")),
    steps=(PlanStep(instruction="paint", adds=(0, 1)),),
)


class Worldly(ToyVLM):
    """A model that knows what a prompt names."""

    def named(self, prompt: str) -> list[Named]:
        return [Named(word, 1, 1) for word in prompt.split() if word in ("cat", "ball", "red")]


def test_a_plan_that_leaves_something_out_is_asked_for_again() -> None:
    model = Worldly(plans=(FORGETFUL, TINTED, PLAN))
    answer = Planner(model).plan(BRIEF)
    assert answer.value == PLAN and len(answer.replies) == 3
    assert [(question.seed, question.temperature > 0) for question in model.questions] == [
        (0, False), (1, True), (2, True),
    ]  # fmt: skip


def test_of_plans_that_all_are_astray_the_nearest_is_taken() -> None:
    model = Worldly(plans=(FORGETFUL, TINTED, FORGETFUL))
    planner = Planner(model)
    answer = planner.plan(BRIEF)
    assert answer.value == TINTED and len(answer.replies) == TRIES
    assert planner.astray(BRIEF, FORGETFUL) == {"leaves out": ["ball", "red"]}
    assert planner.astray(BRIEF, TINTED) == {"leaves out": ["ball"]}


def test_a_plan_that_leaves_something_out_is_better_than_none() -> None:
    class Babbling(Worldly):
        def ask(self, question: Question) -> Reply:
            reply = super().ask(question)
            return reply if len(self.questions) == 1 else replace(reply, text="{}")

    assert Planner(Babbling(plans=(FORGETFUL,))).plan(BRIEF).value == FORGETFUL


def test_a_turn_of_a_conversation_names_what_is_there_already() -> None:
    model = Worldly(plans=(FORGETFUL,))
    assert len(Planner(model).plan(Brief(prompt="a red ball", task=Task.CHAT)).replies) == 1


def test_of_a_model_that_knows_no_names_nothing_is_said() -> None:
    planner = Planner(ToyVLM(plans=(FORGETFUL,)))
    assert planner.astray(BRIEF, FORGETFUL) == {} and len(planner.plan(BRIEF).replies) == 1


def test_the_embedded_model_knows_its_names_of_one_and_of_several() -> None:
    named = EmbeddedVLM().named("two butterflies, a red strawberry and three foxes beside a Red ball, an orange orange")
    assert named == [
        ("butterfly", 2, 2), ("red", 1, 1), ("strawberry", 1, 1), ("red", 1, 1), ("ball", 1, 1), ("orange", 1, 1),
        ("orange", 0, None),
    ]  # fmt: skip
    assert EmbeddedVLM().named("4 fish, cats and 2 small green apples on a green meadow with stars and a sun") == [
        ("fish", 4, 4), ("cat", 1, None), ("green", 1, 1), ("apple", 2, 2), ("green", 0, None), ("star", 1, None),
        ("sun", 1, 1),
    ]  # fmt: skip


def test_a_number_without_end_is_no_number_of_things() -> None:
    assert EmbeddedVLM().named("99999999999999 cats and 12 dogs") == [("cat", 1, None), ("dog", 12, 12)]


@pytest.mark.parametrize(
    ("planned", "faults"),
    [
        ([("cat", 2), ("star", 3), ("ball", 1)], {}),
        ([("cat", 4), ("star", 1), ("ball", 1)], {"adds": ["cat", "cat"]}),
        ([("cat", 1), ("star", 2)], {"leaves out": ["ball", "cat"]}),
        ([("cat", 2), ("star", 2), ("ball", 1), ("sun", 1)], {"adds": ["sun"]}),
    ],
)
def test_a_plan_has_as_many_of_each_as_the_prompt_says(
    planned: list[tuple[str, int]], faults: dict[str, list[str]]
) -> None:
    things = [Element(name="beach", role="background"), *(Element(name=name, count=n) for name, n in planned)]
    plan = Plan(elements=tuple(things), steps=(PlanStep(instruction="paint", adds=tuple(range(len(things)))),))
    assert Planner(EmbeddedVLM()).astray(Brief(prompt="two cats, stars and a ball on a beach"), plan) == faults


def test_an_instruction_adds_what_its_step_does_not() -> None:
    fish = Element(name="fish", count=4, color="blue")
    plans = [
        Plan(elements=(fish,), steps=(PlanStep(instruction=f"paint plain paper with {said}", adds=(0,)),))
        for said in ("four blue fish, flat style", "four blue apples, flat style")
    ]
    planner, brief = Planner(EmbeddedVLM()), Brief(prompt="four blue fish")
    assert planner.astray(brief, plans[0]) == {} and planner.astray(brief, plans[1]) == {"adds": ["apple"] * 4}


def test_what_no_plan_names_is_told_in_the_record(tmp_path: Path) -> None:
    model = Worldly(plans=(FORGETFUL,), looks=[look("present", "present", verdict="accept")])
    creation = Studio(ToyPainter(), model, home=tmp_path).paint(BRIEF.prompt)
    (told,) = (step.text for step in creation.steps if step.kind is StepKind.PLAN)
    assert told.endswith("(leaves out: ball, red)")


class Narrow:
    """A model that knows two questions, and runs on in its first reply."""

    ref, questions = MODEL, frozenset({"plan", "look"})

    def __init__(self) -> None:
        self.asked: list[Question] = []

    def unknown_words(self, prompt: str) -> Sequence[tuple[str, Sequence[str]]]:
        return ()

    def ask(self, question: Question) -> Reply:
        self.asked.append(question)
        text = PLAN.model_dump_json()
        return Reply(text[:50], cut=True) if len(self.asked) == 1 else Reply(text)


def test_a_model_that_knows_only_its_own_questions_is_asked_the_same_again_warmer() -> None:
    model = Narrow()
    assert Planner(model).plan(BRIEF).value == PLAN
    first, second = model.asked
    assert (second.text, second.seed, second.temperature) == (first.text, first.seed + 1, 1.0)
