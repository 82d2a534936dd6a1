"""Guides: made of the record, checked, put into better words by a model that can write, and redacted."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace

import pytest
from fakes import GROUND, MODEL, PLAN, ToyPainter, ToyVLM
from guides import painted, process_book
from PIL import Image

from brushloop import Plan, Studio
from brushloop.critic.critic import Critic
from brushloop.errors import BackendError, InputError
from brushloop.tutorial.book import Book
from brushloop.tutorial.checker import check, critic_witness
from brushloop.tutorial.guide import Guide, is_rtl, legible, short
from brushloop.tutorial.making import book_of, process_guide
from brushloop.tutorial.writer import check_writes, rewritten, vlm_witness
from brushloop.vlm import Question, Reply


@dataclass
class Writer:
    """A model that answers every question with the same words."""

    words: dict[str, str]
    ref = MODEL
    questions: list[Question] = field(default_factory=list)

    def unknown_words(self, prompt: str) -> tuple[()]:
        return ()

    def ask(self, question: Question) -> Reply:
        self.questions.append(question)
        return Reply(json.dumps(self.words))


def test_a_guide_tells_the_states_that_stood() -> None:
    creation = painted()
    book = book_of(creation)
    guide = book.guide
    assert [step.act for step in guide.steps] == ["draft", "refine"]
    first, last = guide.steps
    assert first.text == "Paint a beach with a cat. This adds: beach, cat."
    assert "not yet: red ball" in first.tip and last.tip.startswith("An attempt before it was taken back")
    assert last.before == first.after and last.after.frame == creation.frame
    assert "red ball" in guide.materials and guide.tools == ("toy-painter",)
    assert guide.title == "a cat and a red ball on a beach" and guide.source and guide.source.head == creation.head
    assert check(book) == []


def test_a_guide_of_an_edit_begins_with_the_given_picture() -> None:
    studio = Studio(painter=ToyPainter(), vlm=ToyVLM())
    guide = book_of(studio.edit(Image.new("RGB", (40, 40), GROUND), "add a red ball")).guide
    assert guide.steps[0].before and guide.steps[0].before.alt == "The picture as it was given"


def test_long_prompts_become_short_titles() -> None:
    prompt = "a cat " * 200
    guide = book_of(painted(prompt)).guide
    assert len(guide.title) <= 120 and guide.title.endswith("…") and prompt.strip() in guide.introduction


def test_processes() -> None:
    with pytest.raises(InputError, match="at least one"):
        process_guide("nothing", [])
    frames = process_book(["a", "b"]).guide.frames
    with pytest.raises(InputError, match="2 frames and 1 texts"):
        process_guide("two", frames, ["one"])
    assert [step.title for step in process_guide("two", frames).steps] == ["Step 1", "Step 2"]


def test_tools_and_materials_come_from_the_plan_or_from_its_domain() -> None:
    def told(plan: Plan) -> Guide:
        studio = Studio(painter=ToyPainter(), vlm=ToyVLM(plans=[plan]))
        return book_of(studio.paint("a cat and a red ball on a beach")).guide

    named = told(PLAN.model_copy(update={"tools": ("a knife",), "materials": ("clay", "water"), "domain": "cook"}))
    assert named.tools == ("a knife", "toy-painter") and named.materials == ("clay", "water"), "the plan's own words"
    known = told(PLAN.model_copy(update={"domain": "clay sculpture"}))
    assert known.tools[:2] == ("wire tools", "armature") and known.materials == ("modelling clay",)
    assert told(PLAN.model_copy(update={"domain": "weaving"})).tools == ("toy-painter",), "an unknown way has no data"


def test_texts_are_made_safe_and_short() -> None:
    assert legible("a\x00\x1b[31m\u202eb\ud800\ufffe\r\nc") == "a[31mb\nc"
    assert legible("👨‍👩‍👧 e\u0301 می‌خواهم") == "👨‍👩‍👧 e\u0301 می‌خواهم", "joiners stay"
    assert short("word " * 50).endswith("word…") and len(short("字" * 500)) == 120
    assert is_rtl("12. أضف") and not is_rtl("12. add أضف") and not is_rtl("🌞 12")


def test_skipped_states_and_undeclared_tools_are_flagged() -> None:
    book = process_book(["mix", "stir", "whisk it with a whisk", "done"])
    guide = book.guide

    def flags(**changes: object) -> list[tuple[int, str]]:
        return [(f.step, f.kind) for f in check(replace(book, guide=guide.model_copy(update=changes)))]

    assert flags() == [(3, "tool")]
    assert flags(tools=(*guide.tools, "a whisk")) == []
    assert flags(tools=("a whisk",)) == [(number, "tool") for number in range(1, 5)], "the brush is not declared"
    calm = {"tools": (*guide.tools, "a whisk")}
    one, two, three, four = guide.steps
    assert flags(steps=(one, three, four), **calm) == [(2, "skips"), (2, "skips")], "gap before it, state not shown"
    assert flags(steps=(one, two, three), **calm) == [(3, "skips")]
    assert (3, "skips") in flags(steps=(one, three, two, four), **calm)


def test_the_critic_flags_a_picture_that_contradicts_its_text() -> None:
    creation = painted()
    book, witness = book_of(creation), critic_witness(Critic(ToyVLM()), creation.brief, PLAN)
    assert check(book, witness) == []
    first = book.guide.steps[0].after.frame
    wrong = Book(book.guide, lambda frame: Image.new("RGB", (40, 40), GROUND) if frame == first else book.pixels(frame))
    (flag,) = check(wrong, witness)
    assert (flag.step, flag.kind) == (1, "contradicts") and "missing: cat" in flag.message


def test_a_model_puts_steps_into_better_words() -> None:
    book = book_of(painted())
    writer = Writer({"title": "First the beach", "text": "Lay down\x00 the sand.", "tip": "", "alt": "Sand"})
    said = rewritten(book, writer).guide
    assert [step.text for step in said.steps] == ["Lay down the sand."] * 2
    assert said.steps[1].before == said.steps[0].after and said.steps[0].after.alt == "Sand"
    assert [len(question.images) for question in writer.questions] == [1, 2]
    assert "Paint a beach with a cat" in writer.questions[0].text
    assert (said.frames, said.tools, said.states) == (book.guide.frames, book.guide.tools, book.guide.states)
    flags = check(book, vlm_witness(Writer({"contradiction": "there is no cat"})))
    assert [(flag.step, flag.message) for flag in flags] == [(1, "there is no cat"), (2, "there is no cat")]


def test_a_model_that_cannot_write_is_refused() -> None:
    model = Writer({})
    model.world = {"words": []}  # type: ignore[attr-defined]
    with pytest.raises(BackendError, match="name one that can write"):
        check_writes(model)
