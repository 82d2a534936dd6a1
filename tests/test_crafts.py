"""Processes as creations: recorded, told as guides, cancelled, cut off, resumed and forked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes import SHORT, ToyPainter, ToyProcesses, ToyVLM
from PIL import Image

from brushloop import Creation, StopReason, Studio
from brushloop.agent import crafts
from brushloop.canvas import StepKind, Task
from brushloop.errors import InputError
from brushloop.painter import workshop
from brushloop.painter.workshop import Workshop
from brushloop.tutorial.making import book_of


@pytest.fixture
def studio(home: Path, monkeypatch: pytest.MonkeyPatch) -> Studio:
    monkeypatch.setattr(workshop, "_loaded", {})
    monkeypatch.setattr(Workshop, "open", lambda shop, domain, reads: ToyProcesses())
    monkeypatch.setattr(Workshop, "check", lambda shop, domain, reads: None)
    return Studio(ToyPainter(), ToyVLM(), home)


def made(studio: Studio, **asked: Any) -> Creation:
    return studio.go(crafts.begin(studio, "a cat", "emoji", **asked).id)


def test_a_process_is_a_creation(studio: Studio, home: Path) -> None:
    one = made(studio, frames=4, seed=3)
    assert [step.kind for step in one.steps] == [StepKind.BRIEF, StepKind.PLAN, *[StepKind.DRAFT] * 4, StepKind.FINISH]
    drafts = [step for step in one.steps if step.kind is StepKind.DRAFT]
    assert one.brief.task is Task.PROCESS and one.frame == drafts[-1].outputs[0]
    assert [step.inputs for step in drafts[1:]] == [step.outputs for step in drafts[:-1]], "each over the one before"
    assert one.plan and one.plan.domain == "emoji" and one.plan.tools and studio.store.verify(one.id) == []
    again = Studio(ToyPainter(), ToyVLM(), home / "again")
    assert made(again, frames=4, seed=3).hashes == one.hashes, "the same bytes"
    guide = book_of(one).guide
    assert [step.after.frame for step in guide.steps] == crafts.frames(one) and guide.materials == one.plan.materials
    assert guide.steps[0].title != guide.steps[1].title and guide.source and guide.source.id == one.id


def test_what_is_cancelled_is_resumed_and_what_is_forked_is_painted_by_the_loop(studio: Studio, home: Path) -> None:
    begun = crafts.begin(studio, "a cat", "emoji", seed=3)
    stopped = studio.go(begun.id, cancel=lambda: True)
    assert stopped.stop_reason is StopReason.CANCELLED and stopped.frame is None
    done = studio.resume(begun.id)
    assert done.stop_reason is StopReason.ROUNDS
    assert done.hashes == made(Studio(ToyPainter(), ToyVLM(), home / "again"), seed=3).hashes
    toys = Studio(ToyPainter(), ToyVLM([SHORT]), home)
    fork = toys.fork(done.id, "a cat and a red ball on a beach", edit=Image.new("RGB", (40, 40), (9, 9, 200)))
    assert fork.finished and crafts.frames(fork) == [] and StepKind.REFLECT in {step.kind for step in fork.steps}


def test_one_that_was_cut_off_between_two_frames_is_painted_again_and_told_once(
    studio: Studio, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, moved = crafts.begin(studio, "a cat", "emoji", seed=3), studio.store.set_head

    class Cut(Exception):
        pass

    def cut(id: str, *step: Any) -> None:
        if len(studio.store.moves(id)) == 4:
            raise Cut
        moved(id, *step)

    with monkeypatch.context() as broken, pytest.raises(Cut):
        broken.setattr(studio.store, "set_head", cut)
        studio.go(begun.id)
    told: list[str] = []
    done = studio.go(begun.id, on_event=lambda event: told.append(event["hash"]) if event["type"] == "step" else None)
    assert done.hashes == made(Studio(ToyPainter(), ToyVLM(), home / "again"), seed=3).hashes
    assert told == done.hashes[4:] and len(studio.store.moves(begun.id)) == len(done.hashes)


def test_what_cannot_be_asked_for_is_not_recorded(studio: Studio) -> None:
    given = Image.new("RGB", (32, 32))
    for domain, frames, picture in (
        ("emojy", None, None),
        ("emoji", 0, None),
        ("emoji", 100, None),
        ("icon", 1, given),
    ):
        with pytest.raises(InputError):
            crafts.begin(studio, "a cat", domain, picture, frames)
    assert studio.store.heads() == []
