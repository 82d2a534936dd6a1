"""Conversation: references, undo as fork, thirty turns without drift, and what a planner is told of them."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from fakes import CAT, PLAN, SHORT, ToyPainter, ToyVLM
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import brushloop.agent.studio as studio_module
from brushloop import Creation, Plan, StopReason, Studio
from brushloop.agent.chat import pictures, told
from brushloop.agent.page import page
from brushloop.agent.turns import Told, Turn, Wish, find, place, read, tokens, transcript, without
from brushloop.canvas import Element, PlanStep, StepKind, Task
from brushloop.cli.main import main
from brushloop.errors import InputError, OutsideWorldError
from brushloop.painter.base import PaintRequest
from brushloop.vlm import Question, Reply

PROMPT = "a cat and a red ball on a beach"
PLACES = tuple((x, y, x + 20, y + 20) for y in (5, 30, 55, 78) for x in (5, 30, 55, 78))


# Reading


@pytest.mark.parametrize(
    ("said", "base", "wishes"),
    [
        ("add a kite", 3, [Wish("add", "", "a kite", None, "add a kite")]),
        ("Make the cat blue.", 3, [Wish("color", "cat", "blue", None, "make the cat blue")]),
        ("remove the red ball", 3, [Wish("remove", "red ball", "", None, "remove the red ball")]),
        ("replace the cat with a dog", 3, [Wish("replace", "cat", "a dog", None, "replace the cat with a dog")]),
        (
            "the second one, but with the tree from the first",
            2,
            [Wish("add", "", "the tree", 1, "with the tree")],
        ),
        ("{image1} but without the cat", 1, [Wish("remove", "cat", "", None, "without the cat")]),
        ("in picture 2, add a kite", 2, [Wish("add", "", "a kite", None, "add a kite")]),
        (
            "make the cat blue and add a kite, then remove the ball",
            3,
            [
                Wish("color", "cat", "blue", None, "make the cat blue"),
                Wish("add", "", "a kite", None, "add a kite"),
                Wish("remove", "ball", "", None, "remove the ball"),
            ],
        ),
        (
            "add a cat, two dogs and a bird",
            3,
            [Wish("add", "", to, None, f"add {to}") for to in ("a cat", "two dogs", "a bird")],
        ),
        ("put it on a beach", 3, [Wish("background", "", "a beach", None, "put it on a beach")]),
        ("move the cat to the left", 3, [Wish("move", "cat", "left", None, "move the cat to the left")]),
        (
            "replace the cat with the dog from the 1st picture",
            3,
            [Wish("replace", "cat", "the dog", 1, "replace the cat with the dog")],
        ),
        ("something dreamlike", 3, [Wish("describe", "", "something dreamlike", None, "something dreamlike")]),
        ("back to the first", 1, []),
        ("go back to picture 2", 2, []),
        ("the original", 1, []),
        ("undo", 2, []),
        ("undo that", 2, []),
        ("undo 2 turns", 1, []),
    ],
)
def test_a_turn_is_read(said: str, base: int, wishes: list[Wish]) -> None:
    assert read(said, 3) == Turn(base, tuple(wishes))


@pytest.mark.parametrize("said", ["back to the ninth", "undo 7 turns", "picture 0, add a cat", "  ", "..."])
def test_what_is_not_there_cannot_be_meant(said: str) -> None:
    with pytest.raises(InputError):
        read(said, 3)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200), st.integers(1, 40))
def test_whatever_is_said_is_read_or_refused(said: str, number: int) -> None:
    try:
        meant = read(said, number)
    except InputError:
        return
    assert 1 <= meant.base <= number


def test_things_are_found_by_their_words() -> None:
    plan = Plan(
        elements=(
            Element(name="beach", role="background"),
            Element(name="ball", color="red"),
            Element(name="ball", color="blue"),
            Element(name="fire truck"),
            Element(name="cherry", count=2),
        ),
        steps=(PlanStep(instruction="all", adds=(0, 1, 2, 3, 4)),),
    )
    assert [find(plan, words) for words in ("the blue ball", "balls", "red fire truck", "cherries")] == [2, 1, 3, 4]
    with pytest.raises(InputError, match="it shows ball, ball, fire truck, cherry"):
        find(plan, "beach")
    assert [step.adds for step in without(PLAN, 1).steps] == [(0,), (1,)]
    assert without(PLAN, 2).steps == PLAN.steps[:1]


def test_new_things_go_where_nothing_is() -> None:
    taken = [(0, 0, 50, 100)]
    ((left, top, right, bottom),) = place([(10, 10, 40, 40)], taken)
    assert left >= 50 and right - left == bottom - top == 30
    assert place([(60, 10, 90, 40)], taken) == ((60, 10, 90, 40),), "where it was wished, if that is free"
    ((left, top, right, bottom),) = place([(0, 0, 100, 100)], [(0, 0, 40, 100)])
    assert left >= 44 and right - left == bottom - top < 50, "smaller, if it would cover another"
    assert place([(0, 0, 100, 100)], [(0, 0, 100, 100)]) == ((0, 0, 100, 100),), "and where all is taken, somewhere"
    assert place([(0, 0, 100, 100)], taken, scales=(1.0,)) == ((0, 0, 100, 100),), "or where its size was asked for"


# Talking


@dataclass
class Knowing(ToyVLM):
    """Plans a thing it is asked for alone (`plan: a kite`) in a place of its own; anything else as scripted."""

    asked: list[str] = field(default_factory=list)

    def ask(self, question: Question) -> Reply:
        alone = re.fullmatch(r"plan: (?:a|an|the) (?:(red|blue|green) )?(\w+)", question.text)
        if not alone:
            return super().ask(question)
        self.asked.append(question.text)
        color, name = alone.groups()
        element = Element(name=name, color=color, boxes=(PLACES[sum(map(ord, name)) % len(PLACES)],))
        plan = Plan(elements=(element,), steps=(PlanStep(instruction=f"paint a {name}", adds=(0,)),))
        return Reply(plan.model_dump_json(), tokens_in=7, tokens_out=20)


def talking(painter: ToyPainter | None = None) -> Studio:
    return Studio(painter or ToyPainter(), Knowing([SHORT]))


def pixels(creation: Creation) -> Any:
    assert creation.image
    return np.asarray(creation.image).copy()


def test_a_turn_is_a_brief_and_a_word_further_down_the_same_chain() -> None:
    studio = talking()
    one = studio.chat(PROMPT)
    two = studio.chat("add a kite", one.id)
    assert two.id == one.id and two.hashes[: len(one.hashes)] == one.hashes
    added = two.steps[len(one.steps) :]
    assert [step.kind.value for step in added] == ["brief", "human", "refine", "reflect", "finish"]
    assert two.brief.task is Task.CHAT and two.brief.prompt == "add a kite"
    assert two.brief.units[-1].images[0].image == one.frame
    assert two.stop_reason is StopReason.ACCEPTED and two.plan and two.plan.elements[-1].name == "kite"
    assert studio.store.measurements(two.hashes[len(one.hashes) + 1])["tokens"] == 27, "what asking took is counted"
    assert [(p.said, p.base) for p in pictures(two)] == [(PROMPT, 0), ("add a kite", 1)]
    assert studio.store.verify(two.id) == [] and "add a kite" in page(two)


def test_several_wishes_make_one_turn() -> None:
    studio = talking()
    one = studio.chat(PROMPT)
    two = studio.chat("add a kite, remove the cat and make the ball blue", one.id)
    assert len(pictures(two)) == 2
    assert two.plan and [(e.name, e.color) for e in two.plan.elements] == [
        ("beach", None),
        ("ball", "blue"),
        ("kite", None),
    ]
    edits = [step.settings["edit"] for step in two.steps if step.kind is StepKind.REFINE]
    assert edits == ["add", "remove", "color"]


def test_the_second_one_but_with_a_thing_from_the_first() -> None:
    painter = ToyPainter()
    studio = talking(painter)
    one = studio.chat(PROMPT)
    mine = Image.new("RGB", (40, 40), (0, 0, 200))
    two = studio.chat("remove the cat", one.id)
    assert two.plan and "cat" not in [element.name for element in two.plan.elements]
    studio.chat("add a kite", one.id)
    painted = len(painter.requests)
    four = studio.chat("the second one, but with the cat from the first", one.id)
    assert [p.base for p in pictures(four)] == [0, 1, 2, 2]
    assert four.plan and [element.name for element in four.plan.elements] == ["beach", "ball", "cat"], "and no kite"
    first = np.asarray(studio.store.get_image(pictures(four)[0].frame))
    left, top, right, bottom = (edge * 40 // 100 for edge in CAT)
    assert (pixels(four)[top:bottom, left:right] == first[top:bottom, left:right]).all(), "the very pixels"
    assert len(painter.requests) == painted, "nothing had to be painted for it"
    said = [step for step in four.steps if step.kind is StepKind.HUMAN][-1]
    assert said.inputs == (pictures(four)[1].frame, pictures(four)[0].frame), "with lineage"
    assert four.brief.units[-1].images[1].image == pictures(four)[0].frame
    assert mine.size == four.image.size  # type: ignore[union-attr]


def test_undo_is_a_fork_and_the_other_branch_stays() -> None:
    studio = talking()
    one = studio.chat(PROMPT)
    two = studio.chat("add a kite", one.id)
    undone = studio.chat("undo", one.id)
    assert undone.id != one.id and undone.frame == pictures(two)[0].frame and undone.hashes == one.hashes
    other = studio.chat("add a boat", undone.id)
    assert [p.said for p in pictures(other)] == [PROMPT, "add a boat"]
    assert studio.store.head(one.id) == two.head
    third = studio.chat("back to the second one", other.id)
    assert third.frame == other.frame
    for id in (one.id, undone.id, third.id):
        assert studio.store.verify(id) == []


def test_thirty_turns_do_not_drift() -> None:
    """Whatever a painter spills, what a turn does not speak of stays as it was, to the last bit."""
    studio = talking(ToyPainter(spills=True, fails=lambda request: request.seed % 5 == 0))
    made = studio.chat(PROMPT, seed=1)
    names = ["kite", "boat", "tent", "crab", "lamp", "rope"]
    colors = ["blue", "green", "red"]
    said = []
    for number in range(29):
        kind, name = number % 5, names[number // 5]
        said.append(
            (
                f"add a {name}",
                f"make the {name} {colors[number % 3]}",
                "make the ball green",
                f"make the cat {colors[number % 3]}",
                f"remove the {name}",
            )[kind]
        )
    for number, text in enumerate(said, 2):
        before, plan = pixels(made), made.plan
        made = studio.chat(text, made.id)
        assert len(pictures(made)) == number and made.plan and plan
        element = (made.plan if "remove" not in text else plan).elements[
            find(made.plan if "remove" not in text else plan, text)
        ]
        assert element.boxes
        untouched = np.ones((40, 40), bool)
        for x0, y0, x1, y1 in element.boxes:
            low, high = max(0, y0 - 5) * 40 // 100, min(100, y1 + 6) * 40 // 100 + 1
            untouched[low:high, max(0, x0 - 5) * 40 // 100 : min(100, x1 + 6) * 40 // 100 + 1] = False
        assert untouched.any() and (pixels(made)[untouched] == before[untouched]).all(), text
    shown = pictures(made)
    assert len(shown) == 30 and studio.store.verify(made.id) == []
    for number, picture in enumerate(shown, 1):  # every picture can still be gone back to
        assert studio.chat(f"back to picture {number}", made.id).frame == picture.frame
    assert {element.name for element in made.plan.elements} == {"beach", "cat", "ball", "rope"}  # type: ignore[union-attr]


def test_what_is_no_order_is_planned_with_the_conversation_in_mind() -> None:
    vlm = Knowing([SHORT])
    studio = Studio(ToyPainter(), vlm)
    one = studio.chat(PROMPT)
    studio.chat("add a kite", one.id)
    three = studio.chat("as if it were evening", one.id)
    question = next(q for q in vlm.questions if q.text == "plan: as if it were evening")
    assert "{image1}: a cat and a red ball" in question.instructions and "{image2}: add a kite" in question.instructions
    assert question.instructions.startswith(vlm.questions[0].instructions), "what never changes comes first"
    assert three.finished and [p.said for p in pictures(three)][-1] == "as if it were evening"


def test_a_changed_background_may_change_everything() -> None:
    studio = talking()
    one = studio.chat(PROMPT)
    two = studio.chat("put it in a desert", one.id)
    assert two.plan and two.plan.elements[0].name == "desert"
    assert two.brief.units[-1].images[0].mask is None


def test_moving_and_replacing() -> None:
    studio = talking()
    one = studio.chat(PROMPT)
    two = studio.chat("move the cat to the right", one.id)
    assert two.plan and two.plan.elements[1].boxes[0][0] > CAT[0]
    three = studio.chat("replace the cat with a dog", one.id)
    assert three.plan and three.plan.elements[1].name == "dog"
    assert three.plan.elements[1].boxes == two.plan.elements[1].boxes
    with pytest.raises(InputError, match="already"):
        for _ in range(8):
            studio.chat("move the dog to the right", one.id)


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("remove the unicorn", InputError),
        ("make the unicorn blue", InputError),
        ("the first one, but with the unicorn from the first", InputError),
        ("back to the fourth", InputError),
        ("add a kite and remove the unicorn", InputError),
        ("", InputError),
    ],
)
def test_what_cannot_be_done_is_refused_and_nothing_recorded(said: str, error: type[Exception]) -> None:
    studio = talking()
    one = studio.chat(PROMPT)
    with pytest.raises(error):
        studio.chat(said, one.id)
    assert studio.store.head(one.id) == one.head


def test_unknown_words_and_unfinished_creations() -> None:
    studio = talking()
    one = studio.chat(PROMPT)
    strange = Studio(ToyPainter(), Knowing([SHORT], unknown=[("wug", ["bug"])]))
    with pytest.raises(OutsideWorldError):
        strange.chat("add a wug", one.id)
    waiting = studio.paint(PROMPT, pause=["after:draft"])
    with pytest.raises(InputError, match="resume"):
        studio.chat("add a kite", waiting.id)


def test_any_finished_creation_can_be_spoken_about_and_forked_since() -> None:
    studio = talking()
    painted = studio.paint(PROMPT)
    two = studio.chat("add a kite", painted.id)
    assert [p.said for p in pictures(two)] == [PROMPT, "add a kite"]
    again = studio.fork(two.id, seed=5)
    assert again.finished and again.plan == two.plan
    anew = studio.fork(two.id, prompt="a boat")
    assert anew.brief.task is Task.PAINT and anew.brief.units == ()


def test_a_turn_that_was_killed_is_resumed_with_its_mask() -> None:
    studio = talking(ToyPainter(spills=True))
    one = studio.chat(PROMPT)
    before = pixels(one)
    waiting = studio.chat("add a kite", one.id, pause=["before:refine"])
    assert not waiting.finished
    made = talking(ToyPainter(spills=True)).resume(one.id)
    assert made.stop_reason is StopReason.ACCEPTED and len(pictures(made)) == 2
    assert (pixels(made)[39, 0] == before[39, 0]).all() and (pixels(made)[0, 39] == before[0, 39]).all()


def test_two_who_speak_at_once() -> None:
    studio = talking()
    one = studio.chat(PROMPT)
    refused: list[Exception] = []

    def meanwhile(request: PaintRequest) -> bool:
        try:
            talking().chat("add a boat", one.id)
        except InputError as error:
            refused.append(error)
        return False

    two = talking(ToyPainter(fails=meanwhile)).chat("add a kite", one.id)
    assert refused and [p.said for p in pictures(two)] == [PROMPT, "add a kite"]


# What is told


def test_a_transcript_keeps_every_picture_within_its_room() -> None:
    turns = [
        Told(f"please add the rather unusual thing number {n}", n - 1, "a beach, a cat, a ball") for n in range(1, 201)
    ]
    turns[150] = Told("the first one, but with a hat", 1, "a beach, a cat with a hat")
    whole = transcript(turns[:3], 10_000)
    assert (
        whole.splitlines()[1] == "{image2}: please add the rather unusual thing number 2; shows a beach, a cat, a ball"
    )
    for room in (4000, 1500, 400, 60):
        text = transcript(turns, room)
        assert tokens(text) <= room and "{image200}" in text
        first = re.match(r"\{image1\}(?: to \{image(\d+)\})?", text)
        assert first
        silent = int(first[1] or 1)
        for number in range(silent, 201):
            assert f"{{image{number}}}" in text, "each is named, or within the range"
    assert "after {image1}" in transcript(turns, 4000) and transcript([], 10) == ""
    near, far = transcript(turns, 4000).splitlines()[-1], transcript(turns, 4000).splitlines()[0]
    assert len(near) > len(far), "the newer, the more is said"


def test_pictures_in_words() -> None:
    studio = talking()
    one = studio.chat(PROMPT)
    two = studio.chat("the first one, but without the cat", one.id)
    assert told(pictures(two))[1] == Told("the first one, but without the cat", 1, "beach, red ball")


# The command line


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.setattr(studio_module, "open_painter", lambda name: ToyPainter())
    monkeypatch.setattr(studio_module, "open_vlm", lambda name: Knowing([SHORT]))

    def ran(*words: object, stdin: str = "") -> tuple[int, str, str]:
        capsys.readouterr()
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        code = main([str(word) for word in words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return ran


def test_chat_from_the_command_line(run: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = run("chat", "--json", stdin=f"{PROMPT}\n\nadd a kite\nundo\n")
    value = json.loads(out)
    assert code == 0 and [row["number"] for row in value["turns"]] == [1, 2, 1]
    assert value["turns"][2]["id"] == value["id"] != value["turns"][0]["id"]
    code, out, _ = run("chat", value["turns"][0]["id"], "--say", "remove the cat", "--say", "the first one", "--json")
    again = json.loads(out)
    assert code == 0 and [row["said"] for row in again["turns"]] == ["remove the cat", "the first one"]
    code, out, err = run("chat", value["id"], "--say", "remove the unicorn")
    assert code == 2 and "unicorn" in err
    assert run("chat", stdin="")[0] == 2
    code, out, _ = run("chat", "--last", "--say", "add a boat")
    assert code == 0 and out.strip().endswith(
        tuple(row["id"] for row in json.loads(run("list", "--json")[1])["creations"])
    )


def test_a_fork_in_the_middle_of_a_turn_takes_its_place() -> None:
    studio = talking()
    one = studio.chat(PROMPT)
    forked = studio.fork(one.hashes[2], seed=9)
    assert [p.base for p in pictures(forked)] == [0]
    turned = studio.chat("make the cat blue", forked.id)
    assert [(p.said, p.base) for p in pictures(turned)] == [(PROMPT, 0), ("make the cat blue", 1)]
    assert studio.chat("undo", forked.id).frame == forked.frame
