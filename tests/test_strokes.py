"""A plan step may ask for a kind of edit or a process: painted so, recorded whole, and refused in one clear line."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from fakes import BALL, MODEL, PLAN, ToyPainter, ToyProcesses, ToyVLM, add, look
from PIL import Image
from pydantic import ValidationError

import brushloop.agent.studio as studio_module
from brushloop import Creation, StopReason, Studio
from brushloop.agent.chapters import chapters
from brushloop.agent.page import page
from brushloop.canvas import Brief, EditType, ModelRef, Plan, PlanStep, Step, StepKind
from brushloop.cli.main import main
from brushloop.errors import BrushloopError, InputError, WeightsError
from brushloop.painter import workshop
from brushloop.painter.base import PaintRequest
from brushloop.painter.workshop import Workshop
from brushloop.planner.keep import background_first
from brushloop.planner.planner import Planner
from brushloop.record import read_step, step_json
from brushloop.tutorial.making import book_of
from brushloop.vlm import Question, Reply

PROMPT = "a cat and a red ball on a beach"
THINGS = PLAN.elements
MADE = PlanStep(instruction="a cat", expected="a cat on a beach", adds=(0, 1), domain="emoji", frames=4)
PROCESS = PLAN.model_copy(update={"steps": (MADE, PLAN.steps[1])})
GIVEN = Image.new("RGB", (40, 40), (9, 90, 200))


def steps(*strokes: PlanStep) -> Plan:
    return PLAN.model_copy(update={"steps": strokes})


def accepting(number: int = 3) -> Iterator[dict[str, Any]]:
    """A critic that finds everything there."""
    return itertools.repeat(look(*["present"] * number, verdict="accept"))


@dataclass
class AblePainter(ToyPainter):
    """Knows kinds of edit, and reads visual inputs."""

    edits: frozenset[EditType] = frozenset({EditType.ADD, EditType.STYLE, EditType.SKETCH})
    checked: list[PaintRequest] = field(default_factory=list)

    def check(self, request: PaintRequest) -> None:
        self.checked.append(request)


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Toys paint processes; whether each of them read given frames."""
    opened: list[bool] = []

    def open(shop: Workshop, domain: object, reads: bool) -> ToyProcesses:
        opened.append(reads)
        return ToyProcesses()

    monkeypatch.setattr(workshop, "_loaded", {})
    monkeypatch.setattr(Workshop, "open", open)
    monkeypatch.setattr(Workshop, "check", lambda shop, domain, reads: None)
    return opened


def drafts(creation: Creation) -> list[Step]:
    return [step for step in creation.steps if step.kind is StepKind.DRAFT]


def kinds(creation: Creation) -> list[str]:
    return [step.kind.value for step in creation.steps]


# The noun


def test_a_step_that_asks_for_neither_has_the_json_it_had_before() -> None:
    plain = PLAN.steps[0]
    assert set(json.loads(plain.model_dump_json())) == {"instruction", "expected", "adds"}
    assert json.loads(MADE.model_dump_json())["frames"] == 4 and PlanStep.model_validate(MADE.model_dump()) == MADE
    found = 0
    for path in (ROOT / "tests" / "golden" / "v3").rglob("objects/*/*.json"):
        step = read_step(path.read_bytes(), path.name)
        assert step_json(step) == path.read_bytes()
        found += step.plan is not None
    assert found


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"edit": "tone", "domain": "icon"}, "is an edit .tone. or a process .icon.: leave one of them out"),
        ({"frames": 4}, "4 frames are asked for without a domain"),
        ({"domain": "icon", "frames": 1}, "greater than or equal to 2"),
        ({"domain": "icon", "frames": 100}, "less than or equal to 99"),
        ({"edit": "polish"}, "Input should be 'add', 'remove'"),
    ],
)
def test_what_no_step_can_ask_for(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        PlanStep(instruction="a cat", adds=(0,), **asked)


def test_only_a_model_that_reads_instructions_is_asked_for_it() -> None:
    class Taught:
        ref, questions = MODEL, frozenset({"plan", "look"})

        def unknown_words(self, prompt: str) -> tuple[()]:
            return ()

        def ask(self, question: Question) -> Reply:
            asked.append(question)
            return Reply(PLAN.model_dump_json())

    asked: list[Question] = []
    wide, narrow = ToyVLM(), Taught()
    for model in (wide, narrow):
        assert Planner(model).plan(Brief(prompt=PROMPT)).value == PLAN
    told, left = (question.schema["$defs"]["PlanStep"]["properties"] for question in (wide.questions[0], asked[0]))
    assert set(told) - set(left) == {"edit", "domain", "frames"}


def test_an_edit_of_the_background_is_not_put_first() -> None:
    night = PlanStep(instruction="make it night", adds=(0,), edit=EditType.BACKGROUND)
    plan = steps(PlanStep(instruction="a cat", adds=(1, 2)), night)
    assert background_first(plan) == plan


# What cannot be done


@pytest.mark.parametrize(
    ("stroke", "error", "said"),
    [
        ({"domain": "emojy"}, InputError, "no domain 'emojy': use emoji"),
        ({"domain": "sand art"}, WeightsError, "no adapter for sand art is installed for embedded"),
        ({"edit": "tone"}, InputError, "the first plan step is an edit .tone. of an empty canvas"),
    ],
)
def test_a_first_step_that_cannot_be_done_is_refused_before_it_is_recorded(
    stroke: dict[str, Any], error: type[BrushloopError], said: str
) -> None:
    painter = ToyPainter(ref=ModelRef(id="embedded"))
    plan = steps(PlanStep(instruction="a cat", adds=(0, 1), **stroke), PLAN.steps[1])
    room = Studio(painter, ToyVLM())
    waiting = room.paint(PROMPT, pause=["after:plan"])
    with pytest.raises(error, match=said):
        room.answer(waiting.id, plan)
    assert room.open(waiting.id).head == waiting.head
    other = Studio(painter, ToyVLM([plan]))
    with pytest.raises(error, match=said):
        other.paint(PROMPT, id="planned")
    assert kinds(other.open("planned")) == ["brief"] and not painter.requests


@pytest.mark.parametrize(
    ("painter", "edit", "said"),
    [
        (AblePainter(), "depth", "plan step 2 is an edit of the kind depth, which follows a picture that cannot be"),
        (AblePainter(), "scribble", "toy-painter does no edit of the kind scribble: it knows add, sketch, style"),
        (ToyPainter(), "sketch", "toy-painter reads no further pictures"),
    ],
)
def test_an_edit_that_follows_a_picture_which_is_not_there(painter: ToyPainter, edit: str, said: str) -> None:
    plan = steps(PLAN.steps[0], PlanStep(instruction="a ball", adds=(2,), edit=EditType(edit)))
    room = Studio(painter, ToyVLM())
    with pytest.raises(InputError, match=said):
        room.answer(room.paint(PROMPT, pause=["after:plan"]).id, plan)


# Processes


def test_a_step_made_as_a_process_is_one_draft_with_all_its_frames(shop: list[bool], home: Path) -> None:
    room = Studio(ToyPainter(), ToyVLM([PROCESS], looks=accepting()))
    made = room.paint(PROMPT, seed=3)
    assert kinds(made) == ["brief", "plan", "draft", "reflect", "draft", "reflect", "finish"]
    first, second = drafts(made)
    assert len(first.outputs) == 4 and {(frame.width, frame.height) for frame in first.outputs} == {(40, 40)}
    told = {"plan_step": 0, "domain": "emoji", "frames": 4, "denoising_steps": 24, "painted_at": "32x32"}
    assert first.settings == told and first.text == "a cat (emoji, 4 frames)" and first.model == ToyProcesses.ref
    assert second.inputs == first.outputs[-1:], "the last frame is the canvas"
    assert "a cat (emoji, 4 frames)" in made.steps[1].text and shop == [False]
    assert room.state(made.id)["spent"].pixels == 5 * 40 * 40 and made.stop_reason is StopReason.ACCEPTED
    assert room.store.verify(made.id) == []
    again = Studio(ToyPainter(), ToyVLM([PROCESS], looks=accepting()), home / "again").paint(PROMPT, seed=3)
    assert again.hashes == made.hashes, "the same bytes"
    guide = book_of(made).guide
    assert [step.after.frame for step in guide.steps] == [*first.outputs, second.outputs[0]] == list(guide.states)
    assert [step.before.frame for step in guide.steps if step.before] == list(guide.states[:-1])
    assert guide.steps[0].title != guide.steps[1].title
    assert page(made).count('aria-label="frame ') == 4
    assert [image for _, step, image in room.replay(made.id) if step == first] == [
        made.store.get_image(first.outputs[-1])
    ]


def test_one_that_is_cut_off_or_cancelled_ends_with_the_same_bytes(
    shop: list[bool], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def toys(where: Path) -> Studio:
        return Studio(ToyPainter(), ToyVLM([PROCESS], looks=accepting()), where)

    whole, denoised = toys(home / "whole").paint(PROMPT, seed=3), itertools.count()
    stopped = toys(home).paint(PROMPT, seed=3, id="one", cancel=lambda: next(denoised) > 40)
    assert stopped.stop_reason is StopReason.CANCELLED and kinds(stopped) == ["brief", "plan", "finish"]

    class Cut(Exception):
        pass

    room = toys(home)
    moved, times = room.store.set_head, itertools.count()

    def cut(*said: Any) -> None:
        if next(times) == 1:  # the first takes the ending back; now all frames are stored, and the step is not
            raise Cut
        moved(*said)

    with monkeypatch.context() as broken, pytest.raises(Cut):
        broken.setattr(room.store, "set_head", cut)
        room.resume("one")
    assert kinds(room.open("one")) == ["brief", "plan"]
    assert toys(home).resume("one").hashes == whole.hashes


def test_over_a_picture_it_is_what_could_have_led_to_it(shop: list[bool]) -> None:
    redraw = look("present", "present", "present", verdict="redraw")
    looks = iter([look("present", "present", "not_yet", verdict="accept"), redraw, redraw, redraw, redraw])
    room = Studio(ToyPainter(), ToyVLM([steps(PLAN.steps[0], MADE.model_copy(update={"adds": (2,)}))], looks=looks))
    made = room.paint(PROMPT)
    first, second = drafts(made)
    assert second.outputs[-1] == first.outputs[0] == made.frame and len(second.outputs) == 4 and shop == [True]
    assert len(set(second.outputs)) == 4 and second.inputs == first.outputs
    assert kinds(made).count("draft") == 2, "drawn again, it would end with the same picture"
    assert [step.after.frame for step in book_of(made).guide.steps] == [*first.outputs, *second.outputs]
    assert "default-src" in page(made)


# Edits


def test_an_edit_step_is_done_by_its_kind_and_stands(home: Path) -> None:
    style = PlanStep(instruction="make it a watercolour", adds=(), edit=EditType.STYLE)
    there = look("present", "present", "present", verdict="accept")
    worse = look("present", "present", "wrong", verdict="refine", corrections=[add("ball", BALL)])
    painter = AblePainter(spills=True)
    room = Studio(painter, ToyVLM([steps(*PLAN.steps, style)], looks=iter([there, there, worse, there])))
    made = room.paint(PROMPT)
    assert kinds(made)[2:] == [*["draft", "reflect"] * 3, "refine", "reflect", "finish"]
    asked, edited = painter.requests[2], drafts(made)[2]
    assert asked.kind is EditType.STYLE and asked.regions == () and edited.settings["edit"] == "style"
    assert edited.outputs != edited.inputs, "nothing was pasted back"
    assert made.steps[8].inputs[0] == edited.outputs[0], "what was asked for is repaired, not put back"
    assert painter.requests[0].kind is painter.requests[1].kind is None


def test_an_edit_of_one_thing_changes_its_region_only() -> None:
    ball = PlanStep(instruction="add a red ball", adds=(2,), edit=EditType.ADD)
    painter = AblePainter(spills=True)
    made = Studio(painter, ToyVLM([steps(PLAN.steps[0], ball)])).paint(PROMPT)
    first, second = drafts(made)
    assert painter.requests[1].kind is EditType.ADD and painter.requests[1].regions == (BALL,)
    before, after = (made.store.get_image(step.outputs[0]).getpixel((39, 0)) for step in (first, second))
    assert before == after and float(second.settings["drift"]) > 0
    other = ToyPainter()
    Studio(other, ToyVLM([steps(PLAN.steps[0], ball)])).paint(PROMPT)
    assert other.requests[1].kind is None, "a painter that was not taught it takes the general path"


def test_an_edit_that_follows_the_canvas_gets_a_picture_of_it() -> None:
    sketch = PlanStep(instruction="follow the sketch", adds=(2,), edit=EditType.SKETCH)
    painter = AblePainter()
    made = Studio(painter, ToyVLM([steps(PLAN.steps[0], sketch)], looks=accepting())).paint(PROMPT)
    asked, step = painter.requests[1], drafts(made)[1]
    assert asked.kind is EditType.SKETCH and asked.visual is not None and asked.visual.size == (40, 40)
    assert step.settings["visual"] == step.inputs[-1].hash and step.inputs[0] == drafts(made)[0].outputs[0]
    assert made.store.get_image(step.inputs[-1]).tobytes() == asked.visual.tobytes() and chapters(made) and page(made)


def test_over_a_given_picture_edits_and_processes_are_not_thought_to_be_there(shop: list[bool]) -> None:
    style = PlanStep(instruction="make it a watercolour", adds=(0, 1, 2), edit=EditType.STYLE)
    how = MADE.model_copy(update={"adds": ()})
    painter = AblePainter(spills=True)
    room = Studio(painter, ToyVLM([steps(style, how)], looks=accepting()))
    made = room.edit(GIVEN, "a watercolour of a cat and a red ball on a beach")
    assert kinds(made)[2:] == ["draft", "reflect", "draft", "reflect", "finish"]
    assert painter.requests[0].canvas and painter.requests[0].canvas.tobytes() == GIVEN.tobytes()
    assert drafts(made)[1].outputs[-1] == drafts(made)[0].outputs[0]
    more = steps(style, how, PlanStep(instruction="make it evening", adds=(), edit=EditType.TONE))
    forked = room.fork(made.id, edit=more)
    assert [step.text for step in drafts(forked)][2:] == ["make it evening"], "what was done is not done again"
    room = Studio(ToyPainter(), ToyVLM([steps(*PLAN.steps, style)], looks=accepting()))
    made = room.edit(GIVEN, PROMPT)
    assert kinds(made)[2:] == ["reflect", "draft", "reflect", "finish"], "what things there are is looked at first"


def test_a_conversation_goes_on_from_what_was_made(shop: list[bool]) -> None:
    room = Studio(ToyPainter(), ToyVLM([PROCESS], looks=accepting()))
    made = room.paint(PROMPT)
    turned = room.chat("remove the ball", made.id)
    assert turned.finished and len(drafts(turned)) == 2, "it is not made a second time"
    assert turned.plan and not any(stroke.domain for stroke in turned.plan.steps)


# From the command line


def test_a_plan_in_a_file_asks_for_all_of_it(
    shop: list[bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(studio_module, "open_painter", lambda name: AblePainter())
    monkeypatch.setattr(studio_module, "open_vlm", lambda name: ToyVLM(looks=accepting(2)))

    def run(*words: object) -> tuple[int, Any]:
        capsys.readouterr()
        code = main([*map(str, words), "--json"])
        return code, json.loads(capsys.readouterr().out)

    plan, file = {
        "elements": [{"name": "beach", "role": "background"}, {"name": "cat", "boxes": [[10, 10, 40, 40]]}],
        "steps": [
            {"instruction": "a cat", "adds": [0, 1], "domain": "line draw", "frames": 3},
            {"instruction": "make it a watercolour", "adds": [], "edit": "style"},
        ],
    }, tmp_path / "plan.json"  # fmt: skip
    code, waiting = run("paint", PROMPT, "--pause", "after:plan")
    assert code == 0 and waiting["stop_reason"] is None
    file.write_text(json.dumps({**plan, "steps": [{**plan["steps"][0], "frames": 1}]}))
    code, told = run("resume", "--edit", file)
    assert code == 2 and "plan.json is no plan: steps.0.frames: Input should be greater than or equal to 2" in str(told)
    file.write_text(json.dumps(plan))
    code, made = run("resume", "--edit", file)
    assert code == 0 and [step["kind"] for step in made["steps"]][2:] == [
        "human", "draft", "reflect", "draft", "reflect", "finish",
    ]  # fmt: skip
    code, told = run("steps", made["id"])
    draft, edited = (step for step in told["steps"] if step["kind"] == "draft")
    assert len(draft["outputs"]) == 3 and draft["image"].endswith(f"{draft['outputs'][-1]['hash']}.png")
    assert edited["settings"]["edit"] == "style" and told["steps"][2]["plan"]["steps"][0]["domain"] == "line draw"
    code, shown = run("show", made["id"], "--html", tmp_path / "page.html")
    assert code == 0 and shown["plan"]["steps"][1]["edit"] == "style" and Path(shown["html"]).is_file()
