"""The 26 kinds of edit: defined, told apart by a model with a confidence, and stored."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field

import pytest
from fakes import MODEL, tokens

from benchmarks.kinds import measure
from brushloop.canvas import Correction, Critique, EditType, Step, StepKind, Verdict
from brushloop.edits import DEFINITIONS, STAGE_ONE, Expert, Group, everywhere
from brushloop.errors import InputError, ReplyError
from brushloop.planner.kinds import SURE, instructions, kind_of, schema
from brushloop.record import read_step, step_json
from brushloop.store import Store
from brushloop.vlm import Question, Reply, Token
from brushloop.vlm_embedded import EmbeddedVLM


@dataclass
class Sorter:
    """Answers with the given replies in turn."""

    replies: list[Reply]
    asked: list[Question] = field(default_factory=list)
    ref = MODEL

    def ask(self, question: Question) -> Reply:
        self.asked.append(question)
        return self.replies[len(self.asked) - 1]

    def unknown_words(self, prompt: str) -> tuple[()]:
        return ()


def says(edit: str, confidence: float = 0.9) -> Reply:
    return Reply(json.dumps({"edit": edit, "confidence": confidence}))


def spelled(edit: str, sure: float) -> Reply:
    """A reply with the probabilities of its tokens: the kind is spelled in two."""
    pieces: list[tuple[str, float | None]] = [
        ('{"edit":"', 0.0), (edit[:2], math.log(sure)), (edit[2:], 0.0), ('","confidence":0.2}', -1.0)
    ]  # fmt: skip
    told: tuple[Token, ...] = tokens(*pieces)
    return Reply("".join(token.text for token in told), told)


def test_every_kind_is_defined_once_and_the_groups_are_those_of_the_benchmark() -> None:
    assert set(DEFINITIONS) == set(EditType) and len(EditType) == 26
    sizes = {group: sum(each.group is group for each in DEFINITIONS.values()) for group in Group}
    assert sizes == {Group.LOCAL: 9, Group.GLOBAL: 3, Group.CAMERA: 4, Group.IMPLICIT: 2, Group.VISUAL: 8}
    assert len({each.about for each in DEFINITIONS.values()}) == 26
    assert len(STAGE_ONE) == 7 and not any(DEFINITIONS[kind].visual for kind in STAGE_ONE)
    assert {each.expert for each in DEFINITIONS.values()} == {*Expert, None} and len(Expert) == 9
    assert everywhere(EditType.TONE) and everywhere(EditType.BACKGROUND) and not everywhere(EditType.ADD)


def test_the_question_defines_all_kinds() -> None:
    for kind in EditType:
        assert f"\n{kind.value}: {DEFINITIONS[kind].about}" in instructions()
    assert all(f'"{kind.value}"' in json.dumps(schema()) for kind in EditType)


def test_a_kind_comes_with_the_probability_of_its_word() -> None:
    model = Sorter([spelled("tone", 0.75)])
    kind = kind_of(model, "make it\n  dusk").value
    assert model.asked[0].text == "kind of edit: make it dusk"
    assert kind.edit is EditType.TONE and kind.confidence == 0.75 and kind.sure is EditType.TONE


def test_a_model_without_probabilities_is_taken_at_its_word() -> None:
    kind = kind_of(Sorter([says("relation", 0.83)]), "put the cup on the book").value
    assert (kind.edit, kind.confidence) == (EditType.RELATION, 0.83)


def test_an_unsure_kind_is_kept_but_not_acted_upon() -> None:
    kind = kind_of(Sorter([spelled("material", SURE - 0.1)]), "something").value
    assert kind.edit is EditType.MATERIAL and kind.sure is None


def test_an_instruction_without_an_edit_is_refused_when_the_model_is_sure_of_it() -> None:
    with pytest.raises(InputError, match="no edit is asked for in 'what a lovely day'"):
        kind_of(Sorter([says("none", 0.95)]), "what a lovely day")
    assert kind_of(Sorter([says("none", 0.3)]), "hm").value.edit is None


def test_a_reply_that_names_no_kind_is_repaired_once() -> None:
    model = Sorter([says("explode"), says("add")])
    assert kind_of(model, "add a dog").value.edit is EditType.ADD and len(model.asked) == 2
    with pytest.raises(ReplyError, match="not a Said"):
        kind_of(Sorter([says("explode"), Reply("what?")]), "add a dog")


def test_a_model_that_knows_only_its_own_questions_is_not_asked() -> None:
    model = Sorter([])
    model.questions = frozenset({"plan", "look"})  # type: ignore[attr-defined]
    kind = kind_of(model, "add a dog").value
    assert kind.edit is None and kind.confidence == 0 and not model.asked


def test_every_kind_is_stored_and_read_again() -> None:
    store = Store()
    for kind in EditType:
        asked = Correction(edit=kind, instruction="do it")
        step = Step(kind=StepKind.REFLECT, critique=Critique(corrections=(asked,), verdict=Verdict.REFINE))
        assert store.get_step(store.put_step(step)) == step == read_step(step_json(step), "it")


@pytest.mark.models
def test_the_model_that_ships_tells_kinds_in_phrasings_that_it_never_heard() -> None:
    figures = measure(EmbeddedVLM(), number=3)
    assert figures["accuracy"] >= 0.85, figures["mistaken"]
