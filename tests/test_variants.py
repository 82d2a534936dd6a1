"""Variants side by side, masks and approvals of a person, and two people at one creation."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from fakes import INK, PLAN, SHORT, ToyPainter, ToyVLM, add
from PIL import Image

import brushloop.agent.studio as studio_module
from brushloop import Creation, Critique, StopReason, Studio
from brushloop.agent import hold as holding
from brushloop.agent.chapters import chapters
from brushloop.agent.hold import hold
from brushloop.agent.nodes import seed_for
from brushloop.agent.page import page
from brushloop.agent.variants import chosen, variants
from brushloop.canvas import EditType, StepKind, Verdict
from brushloop.cli.main import main
from brushloop.errors import ConflictError, InputError, Interrupted, SizeError

PROMPT = "a cat and a red ball on a beach"


def kinds(creation: Creation) -> list[str]:
    return [step.kind.value for step in creation.steps]


def uneven() -> ToyPainter:
    """A painter that fails with some seeds, and leaves a trace of the seed in every picture."""
    return ToyPainter(fails=lambda request: request.seed % 3 == 0, spills=True)


# Variants


def test_variants_share_the_plan_and_all_are_kept() -> None:
    studio = Studio(uneven(), ToyVLM())
    trunk = studio.begin(PROMPT, seed=3, id="shore")
    made = studio.explore(trunk.id, 3)
    paths = variants(studio.store, "shore")
    assert [path.id for path in paths] == ["shore-1", "shore-2", "shore-3"]
    assert len({path.hashes[1] for path in paths}) == 1, "one plan"
    assert len({path.frame for path in paths}) == 3, "three pictures"
    assert [path.brief.seed for path in paths] == [3, 4, 5]
    assert kinds(paths[0])[:3] == ["brief", "plan", "brief"]
    number = chosen(studio.store, "shore")
    assert number and made.frame == paths[number - 1].frame
    assert made.hashes[:-1] == paths[number - 1].hashes
    assert made.steps[-1].text.endswith("chosen by score") and made.stop_reason is paths[number - 1].stop_reason
    for creation in (made, *paths):
        assert studio.store.verify(creation.id) == []
    assert chapters(made) and "chosen by score" in page(made)


def test_the_best_score_wins_whatever_its_place() -> None:
    """Only the second seed can paint the ball: that path is accepted, the others stall."""
    good = seed_for(11, "draft/0/0")
    studio = Studio(ToyPainter(fails=lambda request: request.seed != good), ToyVLM([SHORT]))
    trunk = studio.begin(PROMPT, seed=10, budget={"rounds": 2})
    made = studio.explore(trunk.id, 3)
    assert chosen(studio.store, trunk.id) == 2
    assert made.stop_reason is StopReason.ACCEPTED
    assert [path.stop_reason for path in variants(studio.store, trunk.id)].count(StopReason.ROUNDS) == 2


def test_a_person_chooses_and_may_choose_again() -> None:
    studio = Studio(uneven(), ToyVLM())
    trunk = studio.begin(PROMPT)
    waiting = studio.explore(trunk.id, 3, choosing=False)
    assert not waiting.finished and chosen(studio.store, trunk.id) is None
    one = studio.choose(trunk.id, 3, "the light")
    assert kinds(one)[-2:] == ["human", "finish"]
    assert one.steps[-2].text.endswith("chosen by person: the light")
    assert {*one.steps[-2].inputs} == {path.frame for path in variants(studio.store, trunk.id)}
    two = studio.choose(trunk.id, 1)
    assert two.frame == variants(studio.store, trunk.id)[0].frame != one.frame
    assert studio.store.verify(trunk.id) == [] and "chosen by person" in page(two)
    assert [path.finished for path in variants(studio.store, trunk.id)] == [True] * 3
    forked = studio.fork(trunk.id, seed=77)
    assert [step.kind.value for step in forked.steps[len(two.steps) :]][:2] == ["brief", "draft"], "something new"


def test_variants_that_were_cancelled_are_finished_and_chosen_from() -> None:
    studio, stop = Studio(uneven(), ToyVLM()), threading.Event()
    trunk = studio.begin(PROMPT)

    def hear(event: Any) -> None:
        if event.get("variant") == 2 and event["type"] == "step" and event["kind"] == "draft":
            stop.set()

    made = studio.explore(trunk.id, 3, on_event=hear, cancel=stop.is_set)
    assert StopReason.CANCELLED in [path.stop_reason for path in variants(studio.store, trunk.id)]
    assert made.finished


def test_explored_again_nothing_is_painted_twice() -> None:
    painter = uneven()
    studio = Studio(painter, ToyVLM())
    trunk = studio.begin(PROMPT)
    first = studio.explore(trunk.id, 2)
    painted = len(painter.requests)
    second = studio.explore(trunk.id, 3)
    assert len(painter.requests) > painted
    assert [p.id for p in variants(studio.store, trunk.id)] == [f"{trunk.id}-{n}" for n in (1, 2, 3)]
    assert first.hashes[0] == second.hashes[0]
    painted = len(painter.requests)
    assert studio.explore(trunk.id, 3).head == second.head and len(painter.requests) == painted


def test_ctrl_c_ends_every_variant_with_its_picture() -> None:
    studio = Studio(uneven(), ToyVLM())
    trunk = studio.begin(PROMPT)

    def hear(event: Any) -> None:
        if event.get("variant") and event["type"] == "step" and event["kind"] == "draft":
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="choose"):
        studio.explore(trunk.id, 2, on_event=hear)
    assert all(path.finished for path in variants(studio.store, trunk.id))


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda studio, id: studio.explore(id, 1), "from 2 to"),
        (lambda studio, id: studio.explore(id, 1000), "from 2 to"),
        (lambda studio, id: studio.choose(id), "no variants"),
        (lambda studio, id: studio.explore("a" * 63, 2), "too long"),
    ],
)
def test_what_cannot_be_explored_or_chosen(ask: Callable[[Studio, str], Any], said: str) -> None:
    studio = Studio(ToyPainter(), ToyVLM())
    trunk = studio.begin(PROMPT, id="a" * 63)
    with pytest.raises(InputError, match=said):
        ask(studio, trunk.id)
    assert studio.store.head(trunk.id) == trunk.head


def test_a_variant_that_is_not_there_or_not_finished_cannot_be_chosen() -> None:
    studio = Studio(uneven(), ToyVLM())
    trunk = studio.begin(PROMPT)
    studio.explore(trunk.id, 2)
    with pytest.raises(InputError, match="no variant 3"):
        studio.choose(trunk.id, 3)
    studio.branch(trunk.head, id=f"{trunk.id}-3")
    with pytest.raises(InputError, match="not finished"):
        studio.choose(trunk.id, 3)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.setattr(studio_module, "open_painter", lambda name: uneven())
    monkeypatch.setattr(studio_module, "open_vlm", lambda name: ToyVLM([SHORT]))

    def ran(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(word) for word in words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return ran


def test_variants_from_the_command_line(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    out = tmp_path / "best.png"
    code, said, told = run("paint", PROMPT, "--variants", 3, "--id", "shore", "--out", out, "--json")
    value = json.loads(said)
    assert code == 0 and [row["id"] for row in value["variants"]] == ["shore-1", "shore-2", "shore-3"]
    assert value["chosen"] in (1, 2, 3) and out.exists() and "2: " in told
    assert value["image"] == value["variants"][value["chosen"] - 1]["image"]
    code, said, _ = run("choose", "shore", 2, "--why", "warmer")
    assert code == 0 and "* " in said and "warmer" in said
    rows = json.loads(run("list", "--json")[1])["creations"]
    assert {row["id"]: row.get("variant") for row in rows}["shore"] == 2
    assert run("choose", "shore", 7)[0] == 2


@pytest.mark.parametrize(
    "words",
    [
        ["--variants", 1],
        ["--variants", 0],
        ["--variants", 2, "--choose", "mother"],
        ["--variants", 2, "--pause", "before:draft"],
        ["--variants", 2, "--id", "x" * 64],
    ],
)
def test_bad_variants_on_the_command_line(run: Callable[..., tuple[int, str, str]], words: list[Any]) -> None:
    assert run("paint", PROMPT, *words)[0] == 2
    assert json.loads(run("list", "--json")[1])["creations"] == []


def test_the_choice_is_left_to_a_person(run: Callable[..., tuple[int, str, str]]) -> None:
    _, said, _ = run("paint", PROMPT, "--variants", 2, "--id", "shore", "--choose", "person")
    assert "brushloop choose shore" in said
    assert json.loads(run("choose", "shore", 1, "--json")[1])["chosen"] == 1


# Masks and approvals


def left_half() -> Image.Image:
    mask = Image.new("L", (40, 40), 0)
    mask.paste(255, (0, 0, 20, 40))
    return mask


def test_a_mask_holds_a_correction_to_its_pixels() -> None:
    studio = Studio(ToyPainter(spills=True), ToyVLM([SHORT]))
    waiting = studio.paint(PROMPT, pause=["after:reflect"])
    wide = add("kite", (30, 5, 70, 25))
    made = studio.answer(waiting.id, wide, left_half())
    said = next(step for step in made.steps if step.kind is StepKind.HUMAN)
    assert said.settings == {"mask": True} and len(said.inputs) == 2
    refined = next(step for step in made.steps if step.kind is StepKind.REFINE)
    assert refined.inputs == said.inputs, "the mask travels with the picture"
    before, after = waiting.image, studio.store.get_image(refined.outputs[0])
    assert before and after.getpixel((15, 6)) == INK, "within the mask it was painted"
    right = (20, 0, 40, 40)
    assert after.crop(right).tobytes() == before.crop(right).tobytes(), "outside of it nothing changed"
    assert studio.store.verify(made.id) == []


def test_a_correction_without_a_place_is_held_to_the_mask_and_resumed_with_it() -> None:
    studio = Studio(ToyPainter(spills=True), ToyVLM([SHORT]))
    waiting = studio.paint(PROMPT, pause=["after:reflect"])
    studio.say(waiting.id, add("kite"), left_half())
    made = Studio(ToyPainter(spills=True), ToyVLM([SHORT])).resume(waiting.id)
    refined = next(step for step in made.steps if step.kind is StepKind.REFINE)
    assert refined.settings["regions"] == "0 0 50 100"
    forked = studio.fork(waiting.head, edit=add("kite"), mask=left_half())
    assert next(step for step in forked.steps if step.kind is StepKind.REFINE).settings["regions"] == "0 0 50 100"


def test_a_mask_that_does_not_fit() -> None:
    studio = Studio(ToyPainter(), ToyVLM([SHORT]))
    waiting = studio.paint(PROMPT, pause=["after:reflect"])
    with pytest.raises(SizeError, match="the mask is 8x8"):
        studio.answer(waiting.id, add("kite"), Image.new("L", (8, 8), 255))
    with pytest.raises(InputError, match="without a correction"):
        studio.answer(waiting.id, Critique(verdict=Verdict.ACCEPT), left_half())
    with pytest.raises(InputError, match="nothing change"):
        studio.answer(waiting.id, add("kite"), Image.new("L", (40, 40), 0))
    assert studio.store.head(waiting.id) == waiting.head


def test_a_person_steps_in_from_the_command_line(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    left_half().save(tmp_path / "mask.png")
    asked = tmp_path / "asked.json"
    asked.write_text(add("kite").model_copy(update={"edit": EditType.ADD}).model_dump_json())
    run("paint", PROMPT, "--id", "one", "--pause", "after:reflect")
    assert run("resume", "one", "--mask", tmp_path / "mask.png")[0] == 2
    assert run("resume", "one", "--approve", "--edit", asked)[0] == 2
    assert run("resume", "one", "--edit", asked, "--mask", tmp_path / "mask.png", "--pause", "before:finish")[0] == 0
    assert run("resume", "one", "--approve")[0] == 0
    texts = [step["text"] for step in json.loads(run("steps", "one", "--json")[1])["steps"] if step["kind"] == "human"]
    assert texts == ["asked: add a kite", "approved"]


# Two people at one creation


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "GRACE", 0.1)


@pytest.mark.usefixtures("hasty")
def test_of_two_who_resume_at_once_one_wins() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def during(done: int) -> None:
        begun.set()
        go_on.wait(20)

    first = Studio(ToyPainter(during=during), ToyVLM())
    second = Studio(ToyPainter(), ToyVLM())
    waiting = first.begin(PROMPT)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(first.resume, waiting.id)
        assert begun.wait(20)
        for late in (second.resume, second.answer, second.say, second.go):
            with pytest.raises(ConflictError, match="somebody else works on"):
                late(waiting.id)
        go_on.set()
        assert running.result().stop_reason is StopReason.ACCEPTED
    assert second.resume(waiting.id).finished, "and afterwards it can be had"


def test_one_who_looked_before_somebody_else_went_on_is_told_so() -> None:
    studio = Studio(ToyPainter(), ToyVLM())
    waiting = studio.paint(PROMPT, pause=["after:plan"])
    studio.answer(waiting.id, PLAN, pause=["after:reflect"])
    with pytest.raises(ConflictError, match="somebody else has gone on"), hold(studio.store, waiting.id, waiting.head):
        pass
    with pytest.raises(ConflictError):
        studio.go(waiting.id, head=waiting.head)


def test_many_who_answer_at_once_leave_one_answer() -> None:
    """Of eight answers to the same pause, each of which saw the same picture, exactly one is recorded."""
    studio = Studio(ToyPainter(), ToyVLM([SHORT]))
    waiting = studio.paint(PROMPT, pause=["after:reflect"])
    barrier = threading.Barrier(8)

    def answer(number: int) -> Creation | ConflictError:
        own = Studio(ToyPainter(), ToyVLM([SHORT]))
        barrier.wait()
        try:
            return own.say(waiting.id, add("kite", (number, 5, number + 20, 25)), head=waiting.head)
        except ConflictError as error:
            return error

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(answer, range(8)))
    assert sum(isinstance(result, Creation) for result in results) == 1
    assert kinds(studio.open(waiting.id)).count("human") == 1


def test_another_process_is_kept_out_and_a_killed_one_lets_go(home: Path) -> None:
    studio = Studio(ToyPainter(), ToyVLM())
    waiting = studio.begin(PROMPT)
    code = (
        "import sys, time\n"
        "from brushloop.agent.hold import hold\n"
        "from brushloop import Store\n"
        f"with hold(Store(), {waiting.id!r}):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(60)\n"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert other.stdout and other.stdout.readline() == "held\n"
        with pytest.raises(ConflictError, match="somebody else works on"):
            studio.resume(waiting.id)
    finally:
        other.kill()
        other.wait()
        if other.stdout:
            other.stdout.close()
    assert studio.resume(waiting.id).finished
