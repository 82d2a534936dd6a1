"""Checkpoints in a real Postgres, creations on a real S3 server: the same bytes as on one disk, after kills too."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import many
import pytest
from fakes import ToyPainter, ToyVLM
from fastapi.testclient import TestClient

from brushloop import Creation, Store, Studio
from brushloop.agent import postgres
from brushloop.agent.checkpoints import forget
from brushloop.agent.hold import hold
from brushloop.errors import BackendError, ConflictError, UnwritableError
from brushloop.serve.app import create_app
from brushloop.upkeep import collect

pytestmark = pytest.mark.scale
PROMPT = "a cat and a red ball on a beach"

KILLED = """
import os, signal, sys
from fakes import ToyPainter, ToyVLM
from brushloop import Studio
from brushloop.agent import nodes
at, seen, real = int(sys.argv[1]), [0], nodes._record
def record(*given):
    made = real(*given)
    seen[0] += 1
    if seen[0] == at:
        os.kill(os.getpid(), signal.SIGKILL)
    return made
nodes._record = record
Studio(ToyPainter(), ToyVLM()).paint(sys.argv[2], 5, id=sys.argv[3])
"""

SERVED = """
import os, signal, sys, time
from fakes import ToyPainter, ToyVLM
from fastapi.testclient import TestClient
from brushloop import Studio
from brushloop.serve.app import create_app
def during(done):
    if done == 5:
        os.kill(os.getpid(), signal.SIGKILL)
with TestClient(create_app(Studio(ToyPainter(during=during), ToyVLM())), base_url="http://localhost") as client:
    for seed in (5, 6):
        answer = client.post("/v1/creations", json={"prompt": sys.argv[1], "seed": seed})
        print(answer.status_code, answer.json()["id"], flush=True)
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with many.postgres() as url:
        yield url


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with many.s3(tmp_path_factory.mktemp("s3")) as url:
        yield url


@pytest.fixture
def there(database: str, bucket: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """Both, and a folder of the bucket for this test as home."""
    home = f"{bucket}/{request.node.name.translate(str.maketrans('[]', '--'))}"
    monkeypatch.setenv("BRUSHLOOP_HOME", home)
    monkeypatch.setenv(postgres.VARIABLE, database)
    return home


def rows(database: str, table: str = "checkpoints") -> int:
    with postgres._session(database) as session:
        count: int = session.execute(f"select count(*) from {table}").fetchone()[0]
    return count


def near(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Creation:
    """The same creation on a disk, with SQLite."""
    with monkeypatch.context() as patched:
        patched.delenv(postgres.VARIABLE)
        return Studio(ToyPainter(), ToyVLM(), tmp_path / "near").paint(PROMPT, 5, id="one")


def test_the_same_steps_as_on_a_disk(
    there: str, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = Studio(ToyPainter(), ToyVLM()).paint(PROMPT, 5, id="one")
    assert far.store.url == there and far.hashes == near(tmp_path, monkeypatch).hashes
    assert Store(there).verify("one") == [] and [head.id for head in Store(there).heads()] == ["one"]
    assert (far.image and far.image.size) == (40, 40)
    assert rows(database) == rows(database, "checkpoint_writes") == 0, "a finished creation leaves nothing behind"


@pytest.mark.parametrize("at", range(1, 7))
def test_killed_after_any_node_it_goes_on_to_the_same_bytes(
    at: int, there: str, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    done = subprocess.run([sys.executable, "-c", KILLED, str(at), PROMPT, "one"], timeout=120)
    assert done.returncode == -9
    steps_kept = len(Studio(ToyPainter(), ToyVLM()).open("one").hashes)
    assert steps_kept == 1 + at
    assert rows(database) <= 1
    resumed = Studio(ToyPainter(), ToyVLM()).resume("one")
    assert resumed.hashes == near(tmp_path, monkeypatch).hashes
    forget(resumed.store)  # whoever was killed in the very last node could not clean up; `brushloop gc` does
    assert rows(database) == 0 and Store(there).verify("one") == []


def test_another_service_goes_on_with_what_a_killed_one_accepted(
    there: str, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On another machine, too: it knows nothing but the bucket and the database."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    done = subprocess.run([sys.executable, "-c", SERVED, PROMPT], capture_output=True, text=True, timeout=120)
    assert done.returncode == -9, done.stderr[-2000:]
    accepted = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("202 ")]
    assert accepted
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another machine"))
    with TestClient(create_app(Studio(ToyPainter(), ToyVLM())), base_url="http://localhost") as client:
        for id in accepted:
            until = time.monotonic() + 60
            while client.get(f"/v1/creations/{id}").json()["state"] != "finished" and time.monotonic() < until:
                time.sleep(0.1)
            assert client.get(f"/v1/creations/{id}").json()["state"] == "finished"
    assert Studio(ToyPainter(), ToyVLM()).open(accepted[0]).hashes == near(tmp_path, monkeypatch).hashes
    assert all(Store(there).verify(id) == [] for id in accepted) and rows(database) == 0


def test_several_at_once_share_one_database(there: str, database: str) -> None:
    ends: list[Any] = []

    def work(number: int) -> None:
        ends.append(Studio(ToyPainter(), ToyVLM()).paint(PROMPT, number, id=f"at-once-{number}").stop_reason)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [str(end) for end in ends] == ["accepted"] * 6 and rows(database) == 0


def test_who_works_on_it_holds_it_on_every_machine(there: str, database: str) -> None:
    id = Studio(ToyPainter(), ToyVLM()).begin(PROMPT, id="held").id
    store = Store(there)
    with hold(store, id), pytest.raises(ConflictError, match="somebody else works on creation held"), hold(store, id):
        pass
    with hold(store, id):  # whoever had it has let go
        pass


def test_what_is_left_of_the_finished_is_collected(there: str, database: str) -> None:
    studio = Studio(ToyPainter(), ToyVLM())
    studio.paint(PROMPT, 1, id="left")
    other = Studio(ToyPainter(), ToyVLM()).begin(PROMPT, id="going")
    saver: Any = postgres.open_saver(database)
    for id in ("left", "going"):
        state = studio.state(other.id) | {"id": id}
        studio.graph.update_state({"configurable": {"thread_id": id}}, state, as_node="__start__")
    assert rows(database) == 2
    assert forget(studio.store) == 1 and rows(database) == 1
    saver.prune(["going"], strategy="delete")


def test_objects_that_nothing_leads_to_are_collected_from_the_bucket(there: str) -> None:
    studio = Studio(ToyPainter(), ToyVLM())
    made = studio.paint(PROMPT, 2, id="kept")
    assert made.image
    stray = studio.store.put_image(made.image.rotate(90).resize((7, 7)))
    done = collect(studio.store, older=0)
    assert [name.rpartition("/")[2] for name in done.taken] == [f"{stray.hash}.png"]
    assert studio.store.verify("kept") == []


def test_what_cannot_be_reached_is_told_without_the_password(
    database: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(postgres.VARIABLE, f"postgresql://me:secret@127.0.0.1:{many.free_port()}/none")
    with pytest.raises(UnwritableError, match=r"cannot use postgresql://me@127\.0\.0\.1:\d+/none") as told:
        Studio(ToyPainter(), ToyVLM()).paint(PROMPT)
    assert "secret" not in str(told.value) and "\n" not in str(told.value)
    monkeypatch.setenv(postgres.VARIABLE, "mysql://nowhere")
    with pytest.raises(BackendError, match="no Postgres URL"):
        Studio(ToyPainter(), ToyVLM()).paint(PROMPT)
