"""Nothing is lost: a run that is killed, cancelled or robbed of its checkpoint ends with the same bytes."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from fakes import ToyPainter, ToyVLM

from brushloop import Creation, Step, StopReason, Store, Studio
from brushloop.canvas import StepKind
from brushloop.errors import Interrupted, StoreError, UnknownCreationError, VersionError

PROMPT = "a cat and a red ball on a beach"
TESTS = Path(__file__).parent

SCRIPT = """
import os, sys
from fakes import ToyPainter, ToyVLM
from brushloop import Studio, Store

at, writes = int(sys.argv[1]), iter(range(1000))
for name in ("put_image", "put_step", "set_head"):
    def dying(self, *args, _real=getattr(Store, name)):
        if next(writes) == at:
            os._exit(9)  # as kill -9 would, before the write
        return _real(self, *args)
    setattr(Store, name, dying)
painter = ToyPainter(fails=lambda request: request.seed % 2 == 0)
Studio(painter, ToyVLM()).paint("a cat and a red ball on a beach", seed=5, id="one")
"""


def toy(**extra: Any) -> Studio:
    """A painter of which half the pictures come to nothing, decided by the seed alone."""
    return Studio(ToyPainter(fails=lambda request: request.seed % 2 == 0, **extra), ToyVLM())


@pytest.fixture
def whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> Creation:
    """The same creation, made without interruption in another home."""
    monkeypatch.setenv("BRUSHLOOP_HOME", str(tmp_path / "other"))
    creation = toy().paint(PROMPT, seed=5)
    monkeypatch.setenv("BRUSHLOOP_HOME", str(home))
    return creation


def objects(store: Store) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(store.url, "objects").rglob("*.*")}


def test_the_same_brief_and_seed_give_the_same_bytes(whole: Creation) -> None:
    again = toy().paint(PROMPT, seed=5)
    assert again.hashes == whole.hashes
    assert objects(again.store) == objects(whole.store)
    assert again.id != whole.id
    other = toy().paint(PROMPT, seed=6)
    assert not set(other.hashes) & set(whole.hashes)


@pytest.mark.parametrize("at", [2, 3, 6, 7, 11, 14])
def test_killed_at_any_write_it_resumes_to_the_same_bytes(at: int, whole: Creation, home: Path) -> None:
    environment = os.environ | {"PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}"}
    assert subprocess.run([sys.executable, "-c", SCRIPT, str(at)], env=environment).returncode == 9
    creation = toy().resume()
    assert creation.hashes == whole.hashes
    assert objects(creation.store) == objects(whole.store), "no step is written twice"


@pytest.mark.parametrize("node", ["plan", "draft", "reflect", "refine"])
def test_a_node_that_fails_is_done_again(node: str, whole: Creation, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Store.put_step

    def full(self: Store, step: Step) -> str:
        if step.kind is StepKind(node):
            raise OSError(28, "No space left on device")
        return real(self, step)

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(Store, "put_step", full)
        toy().paint(PROMPT, seed=5)
    assert toy().resume().hashes == whole.hashes


def test_the_checkpoint_is_not_needed(whole: Creation, home: Path) -> None:
    waiting = toy().paint(PROMPT, seed=5, pause=["after:reflect"])
    for path in home.glob("checkpoints.sqlite*"):
        path.unlink()
    assert toy().resume(waiting.id).hashes == whole.hashes


def test_a_checkpoint_of_something_else_is_not_believed(whole: Creation, home: Path) -> None:
    waiting = toy().paint(PROMPT, seed=5, pause=["after:reflect"])
    with sqlite3.connect(home / "checkpoints.sqlite") as connection:
        connection.execute("update checkpoints set checkpoint = x'c1c1c1'")
    connection.close()
    assert toy().resume(waiting.id).hashes == whole.hashes


def test_a_damaged_checkpoint_file_is_one_line(home: Path) -> None:
    home.mkdir()
    (home / "checkpoints.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match=r"checkpoints\.sqlite is damaged .*delete it"):
        toy().paint(PROMPT)


def test_a_finished_creation_leaves_no_checkpoint(home: Path) -> None:
    toy().paint(PROMPT)
    with sqlite3.connect(home / "checkpoints.sqlite") as connection:
        assert connection.execute("select count(*) from checkpoints").fetchone() == (0,)
    connection.close()


def test_a_step_of_a_later_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    studio = toy()
    waiting = studio.paint(PROMPT, pause=["after:plan"])
    later = waiting.steps[-1].model_copy(update={"version": 99, "parent": waiting.head})
    digest = studio.store.put_step(later)
    monkeypatch.setattr(Store, "head", lambda self, id: digest)
    with pytest.raises(VersionError, match="upgrade brushloop"):
        toy().resume(waiting.id)


def test_a_cancelled_creation_resumes_to_the_same_bytes(whole: Creation) -> None:
    painter_sees = iter(range(100))
    studio = toy(during=lambda done: next(painter_sees, None))
    cancelled = studio.paint(PROMPT, seed=5, cancel=lambda: next(painter_sees) > 40)
    assert cancelled.stop_reason is StopReason.CANCELLED and cancelled.image
    assert toy().resume(cancelled.id).hashes == whole.hashes


def test_a_cancel_before_the_first_picture_is_kept_too(whole: Creation) -> None:
    cancelled = toy().paint(PROMPT, seed=5, cancel=lambda: True)
    assert cancelled.stop_reason is StopReason.CANCELLED and cancelled.image is None
    assert toy().resume(cancelled.id).hashes == whole.hashes


@pytest.mark.parametrize("denoising_step", [1, 12, 30])
def test_ctrl_c_stops_between_denoising_steps(denoising_step: int, whole: Creation) -> None:
    steps = iter(range(1, 1000))
    reached, went_on = threading.Event(), []

    def during(done: int) -> None:
        number = next(steps)
        if number == denoising_step:
            reached.set()
            os.kill(os.getpid(), signal.SIGINT)
        if reached.is_set():
            went_on.append(number)
            threading.Event().wait(0.05)  # long enough for the main thread to hear of it

    with pytest.raises(Interrupted, match=r"brushloop resume \S+"):
        toy(during=during).paint(PROMPT, seed=5)
    assert len(went_on) <= 3
    stopped = toy().open(toy().store.heads()[0].id)
    assert stopped.stop_reason is StopReason.CANCELLED
    assert toy().resume().hashes == whole.hashes


def test_an_error_in_a_listener_stops_the_run() -> None:
    def listener(event: Any) -> None:
        raise RuntimeError("no more room on the screen")

    studio = toy()
    with pytest.raises(RuntimeError, match="no more room"):
        studio.paint(PROMPT, on_event=listener)
    assert studio.open(studio.store.heads()[0].id).stop_reason is StopReason.CANCELLED


def test_a_finished_creation_is_returned_as_it_is() -> None:
    studio = toy()
    creation = studio.paint(PROMPT)
    assert studio.resume(creation.id) == studio.resume() == creation


def test_painting_under_the_same_name_again_is_no_second_creation() -> None:
    studio = toy()
    creation = studio.paint(PROMPT, id="one")
    assert studio.paint(PROMPT, id="one") == creation


def test_nothing_to_resume() -> None:
    with pytest.raises(UnknownCreationError, match="paint one first"):
        toy().resume()
