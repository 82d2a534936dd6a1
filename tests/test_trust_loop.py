"""The loop keeps its word: old creations replay, equal seeds give equal bytes, budgets stop it, many share a store."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fakes import CAT, SHORT, ToyPainter, ToyVLM, add, look
from langgraph.checkpoint.memory import InMemorySaver

from brushloop import Creation, Store, Studio
from brushloop.agent.chapters import chapters
from brushloop.agent.memory import held
from brushloop.agent.page import page
from brushloop.canvas import SCHEMA_VERSION, StepKind

TESTS = Path(__file__).parent
GOLDEN = TESTS / "golden"
PROMPT = "a cat and a red ball on a beach"

# Old creations


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION + 1))
def test_golden_creations_replay_byte_by_byte(version: int) -> None:
    folder = GOLDEN / f"v{version}"
    expected = json.loads((folder / "expected.json").read_text())
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    studio = Studio(home=folder / "home")
    assert {head.id for head in studio.store.heads()} == set(expected) == {"whole", "forked", "answered"}
    for id, told in expected.items():
        assert studio.store.verify(id) == []
        replayed = [
            [digest, step.kind.value, hashlib.sha256(image.tobytes()).hexdigest() if image else None]
            for digest, step, image in studio.replay(id)
        ]
        assert replayed == told["steps"]
        made = studio.open(id)
        assert {step.version for step in made.steps} == {version}
        assert str(made.stop_reason) == told["stop_reason"]
        assert chapters(made) and "default-src" in page(made)
        assert made.summary()["head"] == told["steps"][-1][0]
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_there_is_a_golden_creation_of_this_version() -> None:
    assert {path.name for path in GOLDEN.iterdir() if path.is_dir()} == {f"v{n}" for n in range(1, SCHEMA_VERSION + 1)}


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION + 1))
def test_an_old_creation_can_be_gone_on_from(version: int, home: Path) -> None:
    shutil.copytree(GOLDEN / f"v{version}" / "home", home)
    studio = Studio(ToyPainter(), ToyVLM())
    assert studio.fork("whole", seed=11).finished
    assert studio.resume("answered").finished


# The same again


def test_twenty_of_twenty_are_the_same(tmp_path: Path) -> None:
    seen = set()
    for number in range(20):
        painter = ToyPainter(fails=lambda request: request.seed % 2 == 0)
        made = Studio(painter, ToyVLM(), f"memory://same-{number}", checkpointer=InMemorySaver()).paint(PROMPT, seed=5)
        assert made.frame
        seen.add((made.head, made.frame.hash))
    assert len(seen) == 1


# Budgets


def stubborn(clock: Any = None) -> Studio:
    """Nothing that it paints is ever as it should be, and the critic always knows something to do."""
    said = look("present", "missing", "missing", corrections=[add("cat", CAT)])
    more = {"clock": clock} if clock else {}
    return Studio(ToyPainter(fails=lambda request: True), ToyVLM([SHORT], looks=[said] * 99), **more)


@pytest.mark.parametrize(
    ("budget", "painted"),
    [
        ({"rounds": 3}, 3),
        ({"pixels": 40 * 40 * 2 + 1}, 3),
        ({"tokens": 60}, None),
        ({"seconds": 9.0}, None),
        ({"memory": 1}, 1),
    ],
)
def test_each_budget_stops_within_one_step(budget: dict[str, float], painted: int | None) -> None:
    (name, limit) = next(iter(budget.items()))
    ticks = iter(range(10**6))
    made = stubborn(clock=lambda: float(next(ticks))).paint(PROMPT, budget={"stall": 99, "rounds": 50} | budget)
    assert made.stop_reason == name
    assert made.image is not None and made.frame == made.steps[-1].outputs[0]
    pictures = [step for step in made.steps if step.kind in (StepKind.DRAFT, StepKind.REFINE)]
    assert painted is None or len(pictures) == painted
    spent = [made.store.measurements(digest) for digest in made.hashes]
    if name in ("tokens", "seconds"):
        total, over = 0.0, None
        for number, figures in enumerate(spent):
            total += figures.get(name, 0)
            if total >= limit and over is None:
                over = number
        assert over is not None
        after = [step.kind for step in made.steps[over + 1 :]]
        assert [kind for kind in after if kind in (StepKind.DRAFT, StepKind.REFINE)] == [], "nothing more is painted"
        assert len(after) <= 2, "what was painted is judged, and the best is chosen"


def test_best_so_far_is_what_a_budget_leaves() -> None:
    looks = [
        look("present", status, "missing", corrections=[add("cat", CAT)])
        for status in ("missing", "present", "missing")
    ]
    made = Studio(ToyPainter(), ToyVLM([SHORT], looks=looks)).paint(PROMPT, budget={"rounds": 3, "stall": 9})
    pictures = [step for step in made.steps if step.kind in (StepKind.DRAFT, StepKind.REFINE)]
    assert made.stop_reason == "rounds" and made.frame == pictures[1].outputs[0]


def test_memory_is_measured() -> None:
    before = held()
    with mmap.mmap(-1, 64 * 2**20) as block:  # a mapping of its own: no pages that an allocator has left over
        for page in range(0, len(block), mmap.PAGESIZE):
            block[page] = 1
        assert before > 10 and 50 <= held() - before <= 90
    made = Studio(ToyPainter(), ToyVLM()).paint(PROMPT)
    assert all(made.store.measurements(digest)["memory"] >= 60 for digest in made.hashes[1:])


# Many at one store

WORKER = """
import gc, os, sys, time
from fakes import SHORT, CAT, ToyPainter, ToyVLM, add, look
from brushloop import Studio
import brushloop.agent.studio, langgraph.checkpoint.sqlite
gc.freeze()
processes, rounds = int(sys.argv[1]), int(sys.argv[2])
children = []
for number in range(processes):
    child = os.fork()
    if child == 0:
        status = 1
        try:
            said = look("present", "missing", "missing", corrections=[add("cat", CAT)])
            studio = Studio(ToyPainter(fails=lambda request: True), ToyVLM([SHORT], looks=[said] * 99))
            made = studio.paint("a cat", seed=number, budget={"rounds": rounds, "stall": 999}, id=f"n{number}",
                                pause=["before:finish"])
            status = 0 if len(made.steps) == 2 + 2 * rounds else 2
        except BaseException as error:
            print(number, type(error).__name__, error, flush=True)
        finally:
            os._exit(status)
    children.append(child)
sys.exit(sum(os.waitpid(child, 0)[1] != 0 for child in children))
"""


@pytest.mark.parametrize(("processes", "rounds"), [(8, 4), pytest.param(32, 10, marks=pytest.mark.trust)])
def test_many_processes_share_a_store(processes: int, rounds: int, home: Path) -> None:
    """They wait before they finish, so that the database is as large as it ever becomes."""
    done = subprocess.run(
        [sys.executable, "-c", WORKER, str(processes), str(rounds)],
        capture_output=True, text=True, env=os.environ | {"PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}"},
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    store = Store()
    assert len(store.heads()) == processes
    assert all(store.verify(head.id) == [] for head in store.heads())
    database, log = (home / f"checkpoints.sqlite{part}" for part in ("", "-wal"))
    size = database.stat().st_size
    print(f"{size} bytes for {processes * rounds} rounds, log {log.stat().st_size if log.exists() else 0}")
    assert size <= 20e6 * processes * rounds / 1000
    assert not log.exists() or log.stat().st_size <= 6e6
    made = [Creation.open(store, head.id) for head in store.heads()]
    assert {len(creation.steps) for creation in made} == {2 + 2 * rounds}
