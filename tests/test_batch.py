"""Batches in one process: one result a line in the order of the lines, whatever fails and wherever it is killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from fakes import PLAN, ToyPainter, ToyVLM
from filelock import FileLock
from PIL import Image

from brushloop import Studio
from brushloop.cli import main as cli
from brushloop.errors import BackendError, ConflictError, InputError, Interrupted, ServerError, WeightsError
from brushloop.painter.base import OnDenoise, PaintRequest
from brushloop.scale import cluster
from brushloop.scale.batch import Item, Result, Results, carry_out, here, items, make
from brushloop.scale.cluster import Crew, Room
from brushloop.scale.together import Together
from brushloop.vlm import Question, Reply

GOOD = ('{"prompt": "a cat and a ball", "seed": 3}', '"a ball"', '{"prompt": "a cat", "budget": {"rounds": 2}}')
BAD = ("", "no json", '{"prompt": ""}', '{"seed": 1}', '{"prompt": "a cat", "size": [41, 41]}', "[1]", "\udce9")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Good and bad lines by turns, ten in all."""
    path = tmp_path / "Some prompts.jsonl"
    lines = [line for pair in zip(BAD, (*GOOD, *GOOD, GOOD[0]), strict=True) for line in pair][:10]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="surrogateescape")
    return path


def told(out: Path) -> list[Result]:
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_one_result_a_line_in_order_and_the_bad_stop_nobody(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "results.jsonl"
    tally = carry_out(source, out, here(Studio(ToyPainter(), ToyVLM()), at_once=3))
    results = told(out)
    assert [result["line"] for result in results] == list(range(1, 11))
    assert [result["ok"] for result in results] == [False, True] * 5
    assert (tally.lines, tally.done, tally.failed, tally.before) == (10, 10, 5, 0)
    assert {result["error"]["code"] for result in results if not result["ok"]} == {"input", "prompt", "size"}
    for result in results[1::2]:
        with Image.open(result["image"]) as picture:
            assert picture.size == (40, 40)
        assert Studio(ToyPainter(), ToyVLM()).open(result["id"]).head == result["head"]
    assert results[1]["id"].startswith("some-prompts-2-") and len({result["id"] for result in results}) == 10


def test_again_is_nothing_and_a_lost_file_of_results_costs_no_painting(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    carry_out(source, out, here(Studio(ToyPainter(), ToyVLM())))
    before = told(out)
    painter = ToyPainter()
    assert carry_out(source, out, here(Studio(painter, ToyVLM()))).before == 10
    out.unlink()
    carry_out(source, out, here(Studio(painter, ToyVLM())))
    assert painter.requests == []
    assert [result["id"] for result in told(out)] == [result["id"] for result in before]
    assert [result.get("head") for result in told(out)] == [result.get("head") for result in before]


def test_killed_anywhere_it_goes_on(source: Path, tmp_path: Path) -> None:
    """Killed after each of its durable writes in turn, the file always ends as that of an undisturbed run."""
    out, whole = tmp_path / "results.jsonl", tmp_path / "whole.jsonl"
    carry_out(source, whole, here(Studio(ToyPainter(), ToyVLM(), tmp_path / "other")))
    deaths = 0
    for done in range(12):
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)

            def dying(request: PaintRequest, *, left: list[int] = [2 if done % 2 else 1]) -> bool:  # noqa: B006
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return False

            carry_out(source, out, here(Studio(ToyPainter(fails=dying), ToyVLM())))
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        if os.WIFSIGNALED(status):
            deaths += 1
            if out.exists() and out.stat().st_size > 40:  # and a line cut short
                os.truncate(out, out.stat().st_size - 25)
        else:
            break
    assert deaths > 3 and os.WIFEXITED(status)
    fixed = ("line", "id", "ok", "head", "stop_reason", "error")
    assert [[result.get(name) for name in fixed] for result in told(out)] == [
        [result.get(name) for name in fixed] for result in told(whole)
    ]


def test_results_of_something_else_are_not_added_to(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    work = here(Studio(ToyPainter(), ToyVLM()))
    carry_out(source, out, work, "one painter")
    with pytest.raises(InputError, match=r"line 1 of .* is the result of another line, painter or model"):
        carry_out(source, out, work, "another painter")
    notes = tmp_path / "notes.txt"
    notes.write_text("mine\nnot yours\n")
    with pytest.raises(InputError, match="something else than results"):
        carry_out(source, notes, work)
    assert notes.read_text() == "mine\nnot yours\n"
    with pytest.raises(InputError, match="cannot read"):
        carry_out(tmp_path / "none.jsonl", out, work)
    with FileLock(f"{out}.lock"), pytest.raises(ConflictError, match="another batch writes"):
        carry_out(source, out, work, "one painter")


def test_what_is_wrong_with_a_model_is_told_once(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    with pytest.raises(WeightsError):
        carry_out(source, out, here(Studio(f"flux:{tmp_path}", ToyVLM())))
    assert out.read_bytes() == b""


def test_ctrl_c_keeps_what_is_done(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"

    def pressed(done: int) -> None:
        if len(painter.requests) == 4:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)

    painter = ToyPainter(during=pressed)
    with pytest.raises(Interrupted, match=r"stopped after \d of 10 lines: the same again goes on"):
        carry_out(source, out, here(Studio(painter, ToyVLM())))
    assert 2 <= len(told(out)) < 10
    carry_out(source, out, here(Studio(ToyPainter(), ToyVLM())))
    assert [result["ok"] for result in told(out)] == [False, True] * 5
    assert all(result["stop_reason"] != "cancelled" for result in told(out)[1::2])


def test_results_wait_for_those_before_them(tmp_path: Path) -> None:
    results = Results(tmp_path / "results.jsonl")
    for line, early in ((3, 1), (2, 2), (5, 3)):
        results.add({"line": line, "id": f"x-{line}", "ok": True})
        assert results.early == early and results.ids == []
    results.add({"line": 1, "id": "x-1", "ok": False})
    assert results.ids == ["x-1", "x-2", "x-3"] and results.early == 1 and results.failed == 1
    results.close()
    again = Results(tmp_path / "results.jsonl")
    assert again.ids == ["x-1", "x-2", "x-3"] and again.failed == 1
    again.close()


@dataclass
class Diary:
    """A painter and a model that take their time and note when: start and end of each picture and of each question."""

    pictures: list[tuple[float, float]] = field(default_factory=list)
    questions: list[tuple[float, float]] = field(default_factory=list)
    seconds: float = 0.1

    def studio(self, home: Path) -> Studio:
        diary = self

        class Painter(ToyPainter):
            def paint(self, request: PaintRequest, on_denoise: OnDenoise | None = None) -> Image.Image:
                with noted(diary.pictures, diary.seconds):
                    return super().paint(request, on_denoise)

        class Model(ToyVLM):
            def ask(self, question: Question) -> Reply:
                with noted(diary.questions, diary.seconds):
                    return super().ask(question)

        return Studio(Painter(), Model(), home)

    def beside(self) -> int:
        """How many questions were asked while a picture was painted."""
        return sum(any(a < end and start < b for a, b in self.pictures) for start, end in self.questions)

    def one_by_one(self) -> bool:
        """Whether no two pictures were painted at once."""
        spans = sorted(self.pictures)
        return all(a[1] <= b[0] for a, b in pairwise(spans))


@contextmanager
def noted(spans: list[tuple[float, float]], seconds: float) -> Iterator[None]:
    begin = time.monotonic()
    yield
    time.sleep(seconds)
    spans.append((begin, time.monotonic()))


def test_one_line_is_planned_and_judged_while_another_is_painted(tmp_path: Path) -> None:
    source = tmp_path / "many.jsonl"
    source.write_text("".join(json.dumps({"prompt": "a cat and a ball", "seed": seed}) + "\n" for seed in range(6)))
    alone, side = Diary(), Diary()
    carry_out(source, tmp_path / "alone.jsonl", here(alone.studio(tmp_path / "a")))
    carry_out(source, tmp_path / "side.jsonl", here(side.studio(tmp_path / "b"), at_once=3))
    assert alone.beside() == 0 and side.beside() >= len(side.questions) // 2
    assert side.one_by_one(), "a painter is one machine: it paints one picture at a time"
    heads = [[result["head"] for result in told(tmp_path / f"{name}.jsonl")] for name in ("alone", "side")]
    assert heads[0] == heads[1]


def test_streams_of_one_studio_overlap_in_asyncio(tmp_path: Path) -> None:
    diary = Diary()
    studio = diary.studio(tmp_path / "home")

    async def one(seed: int) -> str:
        last: Any = None
        async for event in studio.stream("a cat and a ball", seed):
            last = event
        return str(last["creation"]["stop_reason"])

    async def all_of_them() -> list[str]:
        return await asyncio.gather(*(one(seed) for seed in range(3)))

    assert asyncio.run(all_of_them()) == ["accepted"] * 3
    assert diary.beside() >= len(diary.questions) // 2 and diary.one_by_one()


class Pairs(ToyPainter):
    """Paints several at once, and takes its time."""

    def paint_many(self, requests: list[PaintRequest], on_denoise: OnDenoise | None = None) -> list[Image.Image]:
        time.sleep(0.2)
        return [self.paint(request) for request in requests]


def test_drafts_of_several_creations_are_painted_together(tmp_path: Path) -> None:
    source = tmp_path / "many.jsonl"
    source.write_text("".join(json.dumps({"prompt": "a cat and a ball", "seed": seed}) + "\n" for seed in range(8)))
    painter = Together(Pairs(), most=4, wait=1.0)
    carry_out(source, tmp_path / "together.jsonl", here(Studio(painter, ToyVLM(), tmp_path / "a"), at_once=4))
    carry_out(source, tmp_path / "alone.jsonl", here(Studio(ToyPainter(), ToyVLM(), tmp_path / "b")))
    assert sum(painter.sizes) == 8 and max(painter.sizes) == 4, "later drafts work on a canvas, and go alone"
    heads = [[result["head"] for result in told(tmp_path / f"{name}.jsonl")] for name in ("together", "alone")]
    assert heads[0] == heads[1]


def test_a_batch_that_fails_fails_for_all_of_it() -> None:
    class Broken(ToyPainter):
        def paint_many(self, requests: list[PaintRequest], on_denoise: OnDenoise | None = None) -> list[Image.Image]:
            raise MemoryError("too many")

    painter, errors = Together(Broken(), most=2, wait=5.0), list[BaseException]()

    def ask(seed: int) -> None:
        try:
            painter.paint(PaintRequest("a cat", seed, (40, 40)))
        except MemoryError as error:
            errors.append(error)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(errors) == 2 and painter.sizes == [2]


def test_an_error_not_foreseen_is_a_result_too() -> None:
    def gone(request: PaintRequest) -> bool:
        raise ServerError("gone")

    studio = Studio(ToyPainter(fails=gone), ToyVLM(plans=(PLAN,)))
    result = make(studio, Item(1, "x-1", b'"a cat"'))
    assert result == {"line": 1, "id": "x-1", "ok": False, "error": {"code": "server", "message": "gone"}}


def test_room_on_a_cluster() -> None:
    assert cluster._fitting({"CPU": 8, "GPU": 2}, Room(gpus=0.5, cpus=1)) == 4
    assert cluster._fitting({"CPU": 3, "GPU": 2}, Room(gpus=0.5, cpus=1)) == 3
    with pytest.raises(InputError, match=r"the cluster has 0 GPU, 8 CPU, and a replica would take 0.5 GPU"):
        cluster._fitting({"CPU": 8}, Room(gpus=0.5))


def test_a_line_that_a_replica_died_with_works_alone() -> None:
    one, two = object(), object()
    crew = Crew(Room(at_once=2), start=object, ready=[one, two])
    first, second, suspect = (Item(line, f"x-{line}", b"") for line in (1, 2, 3))
    crew.deaths[suspect.id] = 1
    crew.at_work["a"] = one, first
    assert crew.idle(second) is two and crew.idle(suspect) is two, "the one with the fewest"
    crew.at_work["b"] = two, suspect
    assert crew.idle(second) is one, "it has no company"
    crew.at_work = {"a": (one, first), "b": (two, second)}
    assert crew.idle(first) is one and crew.idle(suspect) is None, "and takes none"


def test_no_cluster_is_told_at_once() -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    with pytest.raises(BackendError, match=r"no Ray cluster at 127\.0\.0\.1:1: "):
        cluster.connect("127.0.0.1:1")


def test_the_command(source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def toys(painter: str, vlm: str, home: str, together: int, at_once: int = 1) -> Studio:
        return Studio(ToyPainter(), ToyVLM(), home)

    monkeypatch.setattr("brushloop.scale.together.studio_of", toys)
    run = partial(cli.main, ["batch", str(source), "--json"])
    assert run() == 0
    printed = capsys.readouterr()
    value: dict[str, Any] = json.loads(printed.out)
    assert (value["lines"], value["ok"], value["failed"], value["before"]) == (10, 5, 5, 0)
    assert Path(value["out"]) == source.with_suffix(".results.jsonl") and "10 of 10 done, 5 failed" in printed.err
    assert cli.main(["batch", str(source), "--on", "moon"]) == 2
    assert cli.main(["batch", str(source.with_name("none"))]) == 2
    assert "error[input]" in capsys.readouterr().err


def test_ids_follow_from_the_line(tmp_path: Path) -> None:
    def ids(text: str, makers: str = "") -> Iterator[str]:
        path = tmp_path / "p.jsonl"
        path.write_text(text)
        return iter([item.id for item in items(path, makers)])

    one = list(ids('"a"\n"a"\n"b"'))
    assert one == list(ids('"a"\n"a"\n"b"\n')) and len(set(one)) == 3
    assert list(ids('"a"\n"a"\n"c"'))[:2] == one[:2] and next(ids('"a"', "other")) != one[0]
