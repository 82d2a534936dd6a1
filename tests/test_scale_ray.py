"""Batches and the HTTP service on a real Ray cluster of two nodes, one of which is killed in the middle."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import many
import pytest
from fakes import ToyPainter, ToyVLM

from brushloop import Store, Studio
from brushloop.errors import WeightsError
from brushloop.scale.batch import Result, Tally, carry_out, here
from brushloop.scale.cluster import Room, on_ray

pytestmark = [pytest.mark.scale, pytest.mark.filterwarnings("default")]


def slowly(seconds: float, home: str) -> Studio:
    """Toys that take their time. Made on the node that works."""
    return Studio(ToyPainter(during=lambda done: time.sleep(seconds)), ToyVLM(), home)


def signing(seconds: float, home: str, book: str) -> Studio:
    """Toys that take their time, and sign with the name of their node in every denoising step."""
    import ray

    page = Path(book) / ray.get_runtime_context().get_node_id()

    def during(done: int) -> None:
        page.touch()
        time.sleep(seconds)

    return Studio(ToyPainter(during=during), ToyVLM(), home)


def deadly(home: str) -> Studio:
    """Toys that take their time, of which one prompt kills the process."""
    return Studio(ToyPainter(during=lambda done: time.sleep(0.1)), Killer(), home)


class Killer(ToyVLM):
    def ask(self, question: Any) -> Any:
        if "bomb" in question.text:
            time.sleep(0.5)  # for its company to be at work
            os._exit(1)
        return super().ask(question)


def broken(home: str) -> Studio:
    return Studio(f"flux:{home}", ToyVLM(), home)


def node(cpus: int = 2, gpus: int = 0) -> dict[str, Any]:
    """A small node; Ray takes the number of processors and GPUs on trust."""
    return {"num_cpus": cpus, "num_gpus": gpus, "object_store_memory": 80 * 2**20, "include_dashboard": False}


def patiently(start: Callable[[], Any]) -> Any:
    """A node; where the machine is busy, Ray's own half minute for it is too short, and it is tried again."""
    for _ in range(4):
        try:
            return start()
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
    return start()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """The head of a cluster, with two processors and a GPU in name only."""
    many.needs("ray")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112  (by default 15: all else that runs here comes first)
    os.environ["RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S"] = "90"  # five seconds are too few where others work too
    import ray
    from ray.cluster_utils import Cluster

    # Without the dashboard's packages the processes beside a node are small, and start within Ray's own patience.
    ray._private.utils.get_dashboard_dependency_error = lambda: ImportError("not needed here")
    made = patiently(lambda: Cluster(initialize_head=True, head_node_args=node(gpus=1)))
    yield made
    ray.shutdown()
    made.shutdown()


@contextmanager
def another(cluster: Any, cpus: int = 2) -> Iterator[Any]:
    """One more node, as long as it lives."""
    added = patiently(lambda: cluster.add_node(**node(cpus)))
    try:
        cluster.wait_for_nodes(timeout=120)
        yield added
    finally:
        if added in cluster.list_all_nodes():
            cluster.remove_node(added, allow_graceful=False)


@pytest.fixture
def second(cluster: Any) -> Iterator[Any]:
    with another(cluster) as added:
        yield added


def prompts(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def told(out: Path) -> list[Result]:
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_a_node_killed_in_the_middle_costs_no_line(cluster: Any, second: Any, home: Path, tmp_path: Path) -> None:
    lines = [json.dumps({"prompt": "a cat and a ball", "seed": seed}) for seed in range(24)]
    lines[5] = "no json"
    source, out = prompts(tmp_path / "p.jsonl", *lines), tmp_path / "results.jsonl"
    book = tmp_path / "book"
    book.mkdir()
    killed: list[int] = []

    def tell(now: Tally) -> None:
        if now.done >= 6 and not killed and (book / second.node_id).exists():
            killed.append(now.done)
            cluster.remove_node(second, allow_graceful=False)

    work = on_ray(partial(signing, 0.1, str(home), str(book)), Room(cpus=1, replicas=4), cluster.address)
    tally = carry_out(source, out, work, tell=tell)
    results = told(out)
    assert killed and killed[0] < 20, "the node was killed in the middle, while it painted"
    assert [result["line"] for result in results] == list(range(1, 25))
    assert (tally.lines, tally.done, tally.failed) == (24, 24, 1)
    assert [result["line"] for result in results if not result["ok"]] == [6]
    alone = tmp_path / "alone.jsonl"
    carry_out(source, alone, here(Studio(ToyPainter(), ToyVLM(), tmp_path / "alone")))
    assert [result.get("head") for result in results] == [result.get("head") for result in told(alone)]
    store = Store(str(home))
    assert len(store.heads()) == 23 and all(store.verify(head.id) == [] for head in store.heads())


def test_what_kills_every_replica_is_given_up(cluster: Any, second: Any, home: Path, tmp_path: Path) -> None:
    """Lines that share a replica with it die with it, and are made all the same."""
    source = prompts(tmp_path / "p.jsonl", '"a cat"', '"a bomb"', '"a ball"', '"a cat"', '"a ball"', '"a cat"')
    room = Room(replicas=2, at_once=2)
    carry_out(source, tmp_path / "r.jsonl", on_ray(partial(deadly, str(home)), room, cluster.address))
    results = told(tmp_path / "r.jsonl")
    assert [result["ok"] for result in results] == [True, False, True, True, True, True]
    assert results[1]["error"]["code"] == "died" and "3 replicas died" in results[1]["error"]["message"]


def test_what_is_wrong_is_told_in_one_line(cluster: Any, second: Any, tmp_path: Path) -> None:
    source = prompts(tmp_path / "p.jsonl", '"a cat"')
    with pytest.raises(WeightsError, match="lack"):
        carry_out(
            source, tmp_path / "r.jsonl", on_ray(partial(broken, str(tmp_path)), Room(replicas=1), cluster.address)
        )


def test_the_command_killed_and_given_again(cluster: Any, home: Path, tmp_path: Path) -> None:
    """The models that ship, half a GPU each, by `brushloop batch --on ray`; what is done is not done again."""
    lines = [json.dumps({"prompt": "a red mushroom", "seed": seed, "budget": {"rounds": 2}}) for seed in range(6)]
    source, out = prompts(tmp_path / "p.jsonl", *lines), tmp_path / "p.results.jsonl"
    words = ["batch", str(source), "--on", f"ray:{cluster.address}", "--gpus", "0.5", "--json"]
    with (tmp_path / "said").open("wb") as said:
        first = subprocess.Popen([sys.executable, "-m", "brushloop", *words], stdout=said, stderr=said)
        until = time.monotonic() + 240
        while not (out.exists() and told(out)) and first.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        assert first.poll() is None and out.exists(), (tmp_path / "said").read_text()[-2000:]
        first.kill()
        first.wait()
    before = told(out)
    assert 1 <= len(before) < 6
    done = subprocess.run([sys.executable, "-m", "brushloop", *words], capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    value = json.loads(done.stdout)
    assert (value["lines"], value["ok"], value["failed"], value["before"]) == (6, 6, 0, len(before))
    assert b"6 of 6 done, 0 failed" in done.stderr
    results = told(out)
    assert results[: len(before)] == before and [result["line"] for result in results] == list(range(1, 7))
    assert len(Store(str(home)).heads()) == 6


def asked(url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        value: dict[str, Any] = json.load(answer)
    return value


def until_state(url: str, wanted: str, seconds: float = 300) -> str:
    """The state of a creation, once it is the wanted one or the time is over."""
    until, state = time.monotonic() + seconds, ""
    while state != wanted and time.monotonic() < until:
        with suppress(OSError):  # no replica yet
            state = str(asked(url)["state"])
        time.sleep(0.2)
    return state


def test_the_service_on_ray_serve_keeps_what_it_accepted(cluster: Any, home: Path) -> None:
    """The process that serves is killed while it paints, then its node: both times the next one finishes it."""
    import ray
    from ray import serve

    from brushloop.scale.deployment import Arguments, deployed

    ray.shutdown()
    with another(cluster, cpus=3) as first:  # the replica takes three processors, which the head does not have
        ray.init(address=cluster.address, configure_logging=False, log_to_driver=False)
        port = many.free_port()
        serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
        serve.run(deployed(Arguments(home=str(home), cpus=3), partial(slowly, 0.3, str(home))))
        base = f"http://127.0.0.1:{port}/v1"
        assert asked(f"{base}/health")["status"] == "ok"

        one = asked(f"{base}/creations", {"prompt": "a cat and a ball", "seed": 3})["id"]
        assert until_state(f"{base}/creations/{one}", "running") == "running"
        actors = ray.util.list_named_actors(all_namespaces=True)
        (replica,) = [actor for actor in actors if "SERVE_REPLICA" in actor["name"]]
        ray.kill(ray.get_actor(replica["name"], namespace=replica["namespace"]))
        assert not Studio(ToyPainter(), ToyVLM(), home).open(one).finished
        assert until_state(f"{base}/creations/{one}", "finished") == "finished"

        two = asked(f"{base}/creations", {"prompt": "a cat and a ball", "seed": 4})["id"]
        assert until_state(f"{base}/creations/{two}", "running") == "running"
        cluster.remove_node(first, allow_graceful=False)
        assert not Studio(ToyPainter(), ToyVLM(), home).open(two).finished
    with another(cluster, cpus=3):
        assert until_state(f"{base}/creations/{two}", "finished") == "finished"
        serve.shutdown()
    for id, seed in ((one, 3), (two, 4)):
        alone = Studio(ToyPainter(), ToyVLM(), home.with_name("alone")).paint("a cat and a ball", seed)
        assert Studio(ToyPainter(), ToyVLM(), home).open(id).hashes == alone.hashes
