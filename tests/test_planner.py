"""A plan is held against its prompt, as far as the model knows what a prompt names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fakes import MODEL, PLAN, ToyPainter, ToyVLM, look

from brushloop import Studio
from brushloop.canvas import Brief, Element, Plan, PlanStep, StepKind, Task
from brushloop.planner.planner import TRIES, Planner
from brushloop.vlm import Question, Reply
from brushloop.vlm_embedded import EmbeddedVLM

BRIEF = Brief(prompt="a cat and a red ball on a beach")
FORGETFUL = Plan(elements=PLAN.elements[:2], steps=(PlanStep(instruction="paint", adds=(0, 1)),))
DOUBLED = Plan(
    elements=(*PLAN.elements[:2], Element(name="cat", color="red")),
    steps=(PlanStep(instruction="paint", adds=(0, 1, 2)),),
)


class Worldly(ToyVLM):
    """A model that knows what a prompt names."""

    def named(self, prompt: str) -> Counter[str]:
        return Counter(word for word in prompt.split() if word in ("cat", "ball", "red"))


def test_a_plan_that_leaves_something_out_is_asked_for_again() -> None:
    model = Worldly(plans=(FORGETFUL, DOUBLED, PLAN))
    answer = Planner(model).plan(BRIEF)
    assert answer.value == PLAN and len(answer.replies) == 3
    assert [(question.seed, question.temperature > 0) for question in model.questions] == [
        (0, False), (1, True), (2, True),
    ]  # fmt: skip


def test_of_plans_that_all_leave_something_out_the_fullest_is_taken() -> None:
    model = Worldly(plans=(FORGETFUL, DOUBLED, FORGETFUL))
    planner = Planner(model)
    answer = planner.plan(BRIEF)
    assert answer.value == DOUBLED and len(answer.replies) == TRIES
    assert planner.left_out(BRIEF, FORGETFUL) == ["ball", "red"] and planner.left_out(BRIEF, DOUBLED) == ["ball"]


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
    assert planner.left_out(BRIEF, FORGETFUL) == [] and len(planner.plan(BRIEF).replies) == 1


def test_the_embedded_model_knows_its_names_of_one_and_of_several() -> None:
    named = EmbeddedVLM().named("two butterflies, a red strawberry and three foxes beside a Red ball, an orange orange")
    assert named == {"butterfly": 1, "strawberry": 1, "red": 2, "ball": 1, "orange": 2}


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
