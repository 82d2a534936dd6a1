"""Full disks, broken disks and flipped bits: it goes on, or says in one line what is wrong and which object."""

from __future__ import annotations

import errno
import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes import ToyPainter, ToyVLM
from langgraph.checkpoint.sqlite import SqliteSaver

from brushloop import Creation, Store, Studio
from brushloop.agent.checkpoints import forget
from brushloop.errors import BrushloopError, CorruptObjectError, StoreError, UnknownCreationError
from brushloop.files import LocalFiles
from brushloop.upkeep import collect, repair

PROMPT = "a cat and a red ball on a beach"


def toy(home: Path | None = None) -> Studio:
    return Studio(ToyPainter(fails=lambda request: request.seed % 2 == 0), ToyVLM(), home)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Creation:
    """Made without trouble, in a home that no test changes."""
    return toy(tmp_path_factory.mktemp("whole") / "home").paint(PROMPT, seed=5, id="one")


# Writes that fail


def failing(monkeypatch: pytest.MonkeyPatch, at: int, code: int) -> Callable[[], int]:
    """The write number `at` fails, whether to a file or to the database; returns how many there were."""
    count = -1

    def fails(real: Callable[..., Any], disk: bool) -> Callable[..., Any]:
        def write(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            if count != at:
                return real(*args, **kwargs)
            if disk:
                raise UnwritableFile(code)
            raise sqlite3.OperationalError("database or disk is full" if code == errno.ENOSPC else "disk I/O error")

        return write

    def UnwritableFile(code: int) -> Exception:
        from brushloop.files import _unwritable

        return _unwritable("somewhere", OSError(code, "the disk says no"))

    for name in ("write", "append", "sync"):
        monkeypatch.setattr(LocalFiles, name, fails(getattr(LocalFiles, name), True))
    for name in ("put", "put_writes", "delete_thread"):
        monkeypatch.setattr(SqliteSaver, name, fails(getattr(SqliteSaver, name), False))
    return lambda: count + 1


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_whichever_write_fails_it_can_be_resumed(
    code: int, whole: Creation, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at, silent = 0, 0
    while True:
        with monkeypatch.context() as patch:
            count = failing(patch, at, code)
            try:
                toy().paint(PROMPT, seed=5, id="one")
                silent += at < count()
            except BrushloopError as error:
                assert isinstance(error, StoreError) and "\n" not in str(error)
            if at >= count():
                break
        again = toy()
        try:
            made = again.resume("one")
        except UnknownCreationError:
            made = again.paint(PROMPT, seed=5, id="one")
        assert made.hashes == whole.hashes, f"write {at}"
        assert again.store.verify("one") == []
        shutil.rmtree(home, ignore_errors=True)  # SQLite may be taking its own files away just now
        at += 1
    assert at > 40 and silent == 0, "no write may fail without a word"


# Stores that are damaged


def damage(home: Path, chance: random.Random) -> tuple[str, Path]:
    """Cut a file short or flip a bit of it."""
    files = sorted(path for part in ("objects", "heads") for path in (home / part).rglob("*.*"))
    path = chance.choice(files)
    data = path.read_bytes()
    if chance.random() < 0.5:
        path.write_bytes(data[: chance.randrange(len(data))])
        return "truncated", path
    at = chance.randrange(len(data))
    path.write_bytes(data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :])
    return "flipped", path


@pytest.mark.parametrize("number", [30, pytest.param(200, marks=pytest.mark.trust)])
def test_the_object_is_named_and_the_rest_is_kept(number: int, whole: Creation, tmp_path: Path) -> None:
    chance = random.Random(3)
    named = resumed = 0
    for case in range(number):
        home = tmp_path / f"{case}"
        shutil.copytree(whole.store.url, home, ignore=shutil.ignore_patterns("checkpoints*"))
        what, path = damage(home, chance)
        store = Store(home)
        sound = [name for name, digest in store.stored() if store.sound(name, digest)]
        problems = store.verify("one")
        if path.suffix == ".jsonl":
            if not problems:  # a date that another date became, or a line that is not the last: nothing hangs on it
                shutil.rmtree(home, ignore_errors=True)  # SQLite may be taking its own files away just now
                continue
            assert "one" in {problem.object for problem in problems} or {p.kind for p in problems} <= {
                "root",
                "missing_object",
                "head",
            }
        else:
            assert path.stem in {problem.object for problem in problems}, (what, path)
            assert any(path.stem in problem.message for problem in problems)
        named += 1
        done = repair(store, "one")
        assert all(store.sound(name, name.rpartition("/")[2].partition(".")[0]) for name in sound), "all that is whole"
        if path.stem == whole.hashes[0]:
            assert done.head is None, "without its brief nothing can go on"
        else:
            assert done.head in whole.hashes
            assert [problem for problem in store.verify("one") if problem.kind != "root"] == []
            assert toy(home).resume("one").hashes == whole.hashes
            resumed += 1
        shutil.rmtree(home, ignore_errors=True)  # SQLite may be taking its own files away just now
    assert named > 0.8 * number and resumed > 0.6 * number


def test_repair_of_what_is_whole_changes_nothing(whole: Creation) -> None:
    before = {path: path.read_bytes() for path in Path(whole.store.url).rglob("*") if path.is_file()}
    done = repair(whole.store, "one")
    assert (done.head, done.before, done.damaged) == (whole.head, whole.head, [])
    assert {path: path.read_bytes() for path in Path(whole.store.url).rglob("*") if path.is_file()} == before


def test_what_came_after_the_damage_can_be_opened_by_its_hash(whole: Creation, tmp_path: Path) -> None:
    home = tmp_path / "copy"
    shutil.copytree(whole.store.url, home, ignore=shutil.ignore_patterns("checkpoints*"))
    store = Store(home)
    drawn = next(step for step in whole.steps if step.outputs and step.kind == "draft")
    Path(store.image_path(drawn.outputs[0])).write_bytes(b"gone")
    done = repair(store, "one")
    assert done.damaged == [drawn.outputs[0].hash]
    assert (home / "damaged" / f"{drawn.outputs[0].hash}.png").read_bytes() == b"gone"
    assert store.resolve(whole.head) == ("one", whole.head)
    collect(store, older=0)
    assert store.resolve(whole.head) == ("one", whole.head), "and it is not collected"


# Collecting


def test_garbage_is_collected_and_all_that_is_reachable_kept(home: Path) -> None:
    studio = toy()
    one = studio.paint(PROMPT, seed=5)
    forked = studio.fork(one.hashes[3], seed=9)
    waiting = studio.paint(PROMPT, seed=8, pause=["after:reflect"])
    cancelled = studio.paint(PROMPT, seed=12, cancel=lambda: True)
    studio.resume(cancelled.id)
    store = studio.store
    lost = store.put_step(one.steps[0].model_copy(update={"text": "nobody"}))
    whole = {path for name in ("objects", "notes") for path in (home / name).rglob("*.*")}
    whole.remove(Path(store.step_path(lost)))
    store.measure(lost, seconds=1.0)
    (note,) = (home / "notes").rglob(f"{lost}*")
    (home / "objects" / "00").mkdir(exist_ok=True)
    (home / "objects" / "00" / ".0123.tmp").write_bytes(b"half a pict")
    size = len(b"half a pict") + note.stat().st_size + Path(store.step_path(lost)).stat().st_size
    assert collect(store).taken == [], "what is young may be in the making"
    assert len(collect(store, older=0, dry=True).taken) == 3
    found = collect(store, older=0)
    assert {Path(name).name for name in found.taken} == {f"{lost}.json", note.name, ".0123.tmp"}
    assert found.bytes == size and found.kept == len(whole) > 20
    assert collect(store, older=0).taken == []
    assert {path for name in ("objects", "notes") for path in (home / name).rglob("*.*")} == whole
    for id in (one.id, forked.id, waiting.id, cancelled.id):
        assert store.verify(id) == []
    assert store.resolve(cancelled.head)[1] == cancelled.head, "where a head once was counts, too"
    assert studio.resume(waiting.id).finished


def test_nothing_is_collected_while_a_head_cannot_be_read(home: Path) -> None:
    studio = toy()
    one = studio.paint(PROMPT, seed=5, id="one")
    studio.paint(PROMPT, seed=6, id="two")
    (home / "heads" / "one.jsonl").write_bytes(b"")
    with pytest.raises(CorruptObjectError, match="head of creation one"):
        collect(studio.store, older=0)
    assert [head.id for head in studio.store.heads()] == ["two"], "one damaged head hides no other"
    (told,) = studio.store.damaged()
    assert (told.kind, told.object, told.path) == ("corrupt_object", "one", str(home / "heads" / "one.jsonl"))
    done = repair(studio.store, "one")
    assert done.head == one.head and studio.store.verify("one") == []
    assert collect(studio.store, older=0).taken == []


def test_old_objects_are_new_again_when_they_are_put_again(home: Path) -> None:
    import os

    studio = toy()
    one = studio.paint(PROMPT, seed=5, id="one")
    path = studio.store.step_path(one.head)
    os.utime(path, (1e9, 1e9))
    studio.store.put_step(one.steps[-1])
    assert os.stat(path).st_mtime > 1e9


def test_the_memory_of_finished_creations_is_dropped(home: Path) -> None:
    studio = toy()
    waiting = studio.paint(PROMPT, seed=8, pause=["after:reflect"], id="waiting")
    for id in ("gone", "done"):
        studio.paint(PROMPT, seed=9, pause=["after:reflect"], id=id)
    toy().store.set_head("done", studio.paint(PROMPT, seed=9).head)
    (home / "heads" / "gone.jsonl").unlink()
    assert forget(studio.store) == 2 and forget(studio.store) == 0
    assert toy().resume(waiting.id).finished
