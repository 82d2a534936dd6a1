"""Effort follows need: levels, denoising steps, small drafts, room for replies; forecasts before and while it runs."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from fakes import SHORT, ToyPainter, ToyVLM, look
from PIL import Image

import brushloop.agent.studio as studio_module
from brushloop import Creation, Effort, StopReason, Studio
from brushloop.agent.briefs import brief_from
from brushloop.agent.effort import Bounded
from brushloop.agent.expect import Left, expected, things
from brushloop.agent.names import effort_of
from brushloop.canvas import Plan, PlanStep, StepKind
from brushloop.cli.console import progress
from brushloop.cli.main import main
from brushloop.errors import InputError
from brushloop.painter.base import PaintRequest
from brushloop.vlm import Question, Reply

PROMPT = "a cat and a red ball on a beach"


def never(request: PaintRequest) -> bool:
    return True


def steps_of(painter: ToyPainter) -> list[int]:
    return [request.denoising_steps for request in painter.requests]


# What is painted


def test_levels_spend_more_and_more() -> None:
    spent = {}
    for name in ("low", "normal", "high"):
        painter = ToyPainter(fails=never)
        creation = Studio(painter, ToyVLM([SHORT]), effort=name).paint(PROMPT, budget={"rounds": 100}, id=name)
        assert creation.stop_reason is StopReason.STALLED and effort_of(creation) == name
        spent[name] = len(painter.requests), sum(steps_of(painter))
    assert spent["low"] < spent["normal"] < spent["high"]


def test_an_easy_prompt_takes_the_one_round_path() -> None:
    easy, hard = ToyPainter(), ToyPainter(fails=lambda request: request.seed % 2 == 0)
    simple = Plan(elements=SHORT.elements[:2], steps=(PlanStep(instruction="a cat", adds=(0, 1)),))
    one = Studio(easy, ToyVLM([simple]))
    creation = one.paint("a cat on a beach")
    assert [step.kind.value for step in creation.steps] == ["brief", "plan", "draft", "reflect", "finish"]
    Studio(hard, ToyVLM()).paint(PROMPT, seed=5)
    assert steps_of(easy) == [Effort().alone_steps] and sum(steps_of(easy)) <= 0.4 * sum(steps_of(hard))
    for name in ("low", "normal", "high"):
        effort = Effort.named(name)
        assert effort.of_draft(1, alone=True) <= 0.5 * effort.of_draft(1) and effort.of_draft(2, alone=True) > 4


def test_the_short_path_is_left_after_one_try() -> None:
    """A fresh draft of one thing gets the usual denoising steps: what was enough for most was not enough here."""
    simple = Plan(elements=SHORT.elements[:2], steps=(PlanStep(instruction="a cat", adds=(0, 1)),))
    again = look("wrong", "missing", verdict="redraw")
    painter = ToyPainter()
    creation = Studio(painter, ToyVLM([simple], looks=[again, None])).paint("a cat on a beach")
    assert [step.kind.value for step in creation.steps[2:]] == ["draft", "reflect", "draft", "reflect", "finish"]
    assert steps_of(painter) == [Effort().alone_steps, Effort().draft_steps]


def test_a_correction_that_did_not_help_gets_more_denoising_steps() -> None:
    painter = ToyPainter(fails=never)
    Studio(painter, ToyVLM([SHORT])).paint(PROMPT, budget={"stall": 5})
    refined = steps_of(painter)[1:]
    assert refined == sorted(refined) and refined[0] == 12 < refined[-1] <= 24
    assert Effort().of_refine(100) == 24 and Effort.named("low").of_refine(0) == 8


@dataclass
class Scaling(ToyPainter):
    """A painter that can paint half its size."""

    def check_size(self, size: tuple[int, int]) -> None:
        if size != (20, 20):
            super().check_size(size)

    def paint(self, request: PaintRequest, on_denoise: Any = None) -> Image.Image:
        return super().paint(request, on_denoise).resize(request.size, Image.Resampling.NEAREST)


def test_a_first_draft_of_few_things_may_be_small() -> None:
    painter = Scaling()
    creation = Studio(painter, ToyVLM([SHORT]), effort="low").paint(PROMPT)
    assert painter.requests[0].size == (20, 20)
    assert creation.steps[2].settings["painted_at"] == "20x20"
    assert creation.image and creation.image.size == (40, 40)
    unable = ToyPainter()
    Studio(unable, ToyVLM([SHORT]), effort="low").paint(PROMPT, seed=2)
    assert unable.requests[0].size == (40, 40), "where the painter cannot, the draft has the full size"
    assert Effort.named("low").draft_size((40, 40), 3, painter) == (40, 40), "many things need room"


def test_the_budget_wins_over_the_effort() -> None:
    studio = Studio(ToyPainter(), ToyVLM([SHORT]), effort="low")
    assert studio.begin(PROMPT).brief.budget.rounds == 6
    assert studio.begin(PROMPT, budget={"rounds": 9}).brief.budget.rounds == 9
    assert studio.begin(PROMPT, budget={"rounds": 9}).brief.budget.stall == 1
    with pytest.raises(InputError, match="low, normal, high"):
        Studio(ToyPainter(), ToyVLM(), effort="heroic")


def test_normal_effort_leaves_no_mark_in_the_record() -> None:
    plain = Studio(ToyPainter(), ToyVLM()).paint(PROMPT, id="a")
    named = Studio(ToyPainter(), ToyVLM(), effort="normal").paint(PROMPT, id="b")
    assert plain.hashes == named.hashes and "effort" not in plain.steps[0].settings


# Room for replies


@dataclass
class Wordy:
    """A model whose reply takes `needs` tokens."""

    needs: int
    ref: Any = ToyVLM.ref
    asked: tuple[int, ...] = ()

    def ask(self, question: Question) -> Reply:
        self.asked += (question.max_tokens,)
        room = question.max_tokens
        return Reply("{}", tokens_in=3, tokens_out=min(room, self.needs), cut=room < self.needs)

    def unknown_words(self, prompt: str) -> tuple[()]:
        return ()


def test_room_follows_what_was_needed() -> None:
    model = Wordy(300)
    bounded, question = Bounded(model, 100), Question("look: x", {}, max_tokens=1024)
    reply = bounded.ask(question)
    assert model.asked == (100, 1024) and not reply.cut, "cut once, then asked with all the room"
    assert (reply.tokens_in, reply.tokens_out) == (6, 400), "both replies were paid for"
    bounded.ask(question)
    assert model.asked[2] == 800 and len(model.asked) == 3
    bounded.ask(Question("plan: x", {}, max_tokens=1024))
    assert model.asked[3:] == (100, 1024), "plans and reflections are told apart"


def test_a_reply_that_never_ends_is_cut_all_the_same() -> None:
    reply = Bounded(Wordy(10**6), 100).ask(Question("look: x", {}, max_tokens=1024))
    assert reply.cut and reply.tokens_out == 1124


class Busy(Wordy):
    """A model that waits in each reply for a second question, and notes how many it had at most."""

    def __init__(self, shared: bool) -> None:
        super().__init__(1)
        self.shared, self.most, self._inside, self._second = shared, 0, 0, threading.Event()

    def ask(self, question: Question) -> Reply:
        self._inside += 1
        self.most = max(self.most, self._inside)
        if self._inside == 2:
            self._second.set()
        self._second.wait(0.2)
        self._inside -= 1
        return super().ask(question)


@pytest.mark.parametrize("shared", [False, True])
def test_a_model_in_this_process_is_asked_one_question_at_a_time(shared: bool) -> None:
    model = Busy(shared)
    bounded = Bounded(model, 100)
    with ThreadPoolExecutor(2) as pool:
        for reply in [pool.submit(bounded.ask, Question("look: x", {})) for _ in range(2)]:
            reply.result()
    assert (model.most, len(model.asked)) == (2 if shared else 1, 2)


# Forecasts


@pytest.mark.parametrize(
    ("prompt", "number"),
    [
        ("a cat", 1),
        ("a cat on a beach", 1),
        ("a red mushroom, a cat and a rocket on a beach", 3),
        ("at night, two small cactuses in soft style", 2),
        ("three dogs left of a house", 4),
        ("on a beach", 1),
        ("12 birds", 12),
    ],
)
def test_things_are_counted(prompt: str, number: int) -> None:
    assert things(prompt) == number


def ticking(step: float = 0.5) -> Callable[[], float]:
    now = iter(range(10**9))
    return lambda: next(now) * step


def test_a_forecast_comes_from_what_was_measured() -> None:
    studio = Studio(ToyPainter(fails=lambda request: request.seed % 3 == 0), ToyVLM(), clock=ticking())
    before = studio.expect(PROMPT)
    assert before.based_on == 0 and before.seconds is None and before.rounds > 0, "an unknown model has no figures"
    made = [studio.paint(PROMPT, seed=seed) for seed in range(8)]
    truth = [costs(creation) for creation in made]
    after = studio.expect(PROMPT)
    assert after.based_on == 8
    for said, name in ((after.rounds, "rounds"), (after.seconds, "seconds"), (after.tokens, "tokens")):
        mean = sum(cost[name] for cost in truth) / len(truth)
        assert said == pytest.approx(mean, rel=0.1), name
    assert after.pixels == pytest.approx(after.rounds * 1600, rel=0.1) and after.memory
    assert studio.expect(PROMPT, budget={"rounds": 1}).rounds == 1, "a budget caps it"
    assert Studio(ToyPainter(), ToyVLM(), effort="high").expect(PROMPT).based_on == 0, "other efforts cost other sums"
    assert "8 earlier creations" in after.said()


def costs(creation: Creation) -> dict[str, float]:
    measured = [creation.store.measurements(digest) for digest in creation.hashes]
    rounds = sum(step.kind in (StepKind.DRAFT, StepKind.REFINE) for step in creation.steps)
    return {"rounds": rounds} | {n: sum(float(m.get(n, 0)) for m in measured) for n in ("seconds", "tokens")}


def test_more_things_are_expected_to_take_more() -> None:
    store = Studio(ToyPainter(), ToyVLM()).store
    names = ("embedded", "embedded")
    one = expected(store, brief_from("a cat"), (128, 128), names)
    many = expected(store, brief_from("a cat, a dog, a bird and three fish"), (128, 128), names)
    assert one.seconds and many.seconds and one.tokens and many.tokens
    assert one.rounds < many.rounds and one.seconds < many.seconds and one.tokens < many.tokens
    assert one.memory and one.pixels == pytest.approx(one.rounds * 128 * 128, rel=0.05)


def test_seconds_left_fall_to_nothing() -> None:
    now = [0.0]
    studio = Studio(ToyPainter(during=lambda done: now.__setitem__(0, now[0] + 0.5)), ToyVLM(), clock=lambda: now[0])
    creation = studio.paint(PROMPT)
    left, at, told = Left(studio.store), 0.0, []
    for digest in creation.hashes:
        at += float(studio.store.measurements(digest).get("seconds", 0))
        told.append((at, left.after({"type": "step", "hash": digest, "kind": "", "text": "", "image": None})))
    steps = [(at, seconds) for at, seconds in told if seconds is not None]
    assert creation.finished and steps[-1][1] == 0.0
    first, said = steps[0]
    assert said == pytest.approx(now[0] - first, rel=0.25), "after the first round it knows what the second costs"
    assert [seconds for _, seconds in steps] == sorted((seconds for _, seconds in steps), reverse=True)


# The command line


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.setattr(studio_module, "open_painter", lambda name: ToyPainter())
    monkeypatch.setattr(studio_module, "open_vlm", lambda name: ToyVLM())

    def ran(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(word) for word in words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return ran


def test_a_dry_run_tells_and_paints_nothing(run: Callable[..., tuple[int, str, str]]) -> None:
    code, said, _ = run("paint", PROMPT, "--dry-run", "--json")
    value = json.loads(said)["expected"]
    assert code == 0 and {"rounds", "seconds", "tokens", "pixels", "memory", "based_on"} == set(value)
    assert all(value[name] for name in ("rounds", "seconds", "tokens", "pixels", "memory"))
    assert json.loads(run("list", "--json")[1])["creations"] == []
    twice = json.loads(run("paint", PROMPT, "--dry-run", "--variants", 2, "--json")[1])["expected"]
    assert twice["pixels"] == 2 * value["pixels"]
    assert "nothing was painted" in run("paint", PROMPT, "--dry-run")[1]


def test_effort_is_kept_for_resume_and_fork(run: Callable[..., tuple[int, str, str]]) -> None:
    assert run("paint", PROMPT, "--effort", "low", "--id", "one", "--pause", "after:plan")[0] == 0
    run("resume", "one")
    step = json.loads(run("steps", "one", "--json")[1])["steps"][2]
    assert step["kind"] == "draft" and step["settings"]["denoising_steps"] == 6
    run("fork", "one", "--seed", 9, "--id", "two")
    assert json.loads(run("steps", "two", "--json")[1])["steps"][-4]["settings"]["effort"] == "low"
    assert run("paint", PROMPT, "--effort", "heroic")[0] == 2


def test_a_terminal_shows_the_seconds_left(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    with progress(lambda event: 42.0) as tell:
        tell({"type": "step", "hash": "0" * 64, "kind": "draft", "text": "a cat", "image": None})
    assert "about 42 s left" in screen.getvalue()
