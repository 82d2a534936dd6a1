"""Batches and the HTTP service on a real Ray cluster of two nodes, one of which is killed in the middle."""

from __future__ import annotations

import json
import os
import time
import urllib.request
from collections.abc import Callable, Iterator
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


def deadly(home: str) -> Studio:
    """Toys of which one prompt kills the process."""
    return Studio(ToyPainter(fails=lambda request: request.seed == -1), Killer(), home)


class Killer(ToyVLM):
    def ask(self, question: Any) -> Any:
        if "bomb" in question.text:
            os._exit(1)
        return super().ask(question)


def broken(home: str) -> Studio:
    return Studio(f"flux:{home}", ToyVLM(), home)


def node() -> dict[str, Any]:
    """A small node of two processors."""
    return {"num_cpus": 2, "object_store_memory": 80 * 2**20, "include_dashboard": False}


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
    """Two nodes: the head with two processors, a second one with two."""
    many.needs("ray")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S"] = "90"  # five seconds are too few where others work too
    import ray
    from ray.cluster_utils import Cluster

    # Without the dashboard's packages the processes beside a node are small, and start within Ray's own patience.
    ray._private.utils.get_dashboard_dependency_error = lambda: ImportError("not needed here")
    made = patiently(lambda: Cluster(initialize_head=True, head_node_args=node()))
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture
def second(cluster: Any) -> Any:
    added = patiently(lambda: cluster.add_node(**node()))
    cluster.wait_for_nodes(timeout=120)
    return added


def prompts(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def told(out: Path) -> list[Result]:
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_a_node_killed_in_the_middle_costs_no_line(cluster: Any, second: Any, home: Path, tmp_path: Path) -> None:
    lines = [json.dumps({"prompt": "a cat and a ball", "seed": seed}) for seed in range(24)]
    lines[5] = "no json"
    source, out = prompts(tmp_path / "p.jsonl", *lines), tmp_path / "results.jsonl"
    killed: list[int] = []

    def tell(now: Tally) -> None:
        if now.done >= 6 and not killed:
            killed.append(now.done)
            cluster.remove_node(second, allow_graceful=False)

    work = on_ray(partial(slowly, 0.02, str(home)), Room(cpus=1, replicas=4), cluster.address)
    tally = carry_out(source, out, work, tell=tell)
    results = told(out)
    assert killed and killed[0] < 24, "the node was killed in the middle"
    assert [result["line"] for result in results] == list(range(1, 25))
    assert (tally.lines, tally.done, tally.failed) == (24, 24, 1)
    assert [result["line"] for result in results if not result["ok"]] == [6]
    alone = tmp_path / "alone.jsonl"
    carry_out(source, alone, here(Studio(ToyPainter(), ToyVLM(), tmp_path / "alone")))
    assert [result.get("head") for result in results] == [result.get("head") for result in told(alone)]
    store = Store(str(home))
    assert len(store.heads()) == 23 and all(store.verify(head.id) == [] for head in store.heads())


def test_what_kills_every_replica_is_given_up(cluster: Any, second: Any, home: Path, tmp_path: Path) -> None:
    source = prompts(tmp_path / "p.jsonl", '"a cat"', '"a bomb"', '"a ball"', '"a cat"')
    carry_out(source, tmp_path / "r.jsonl", on_ray(partial(deadly, str(home)), Room(replicas=2), cluster.address))
    results = told(tmp_path / "r.jsonl")
    assert [result["ok"] for result in results] == [True, False, True, True]
    assert results[1]["error"]["code"] == "died" and "3 replicas died" in results[1]["error"]["message"]


def test_what_is_wrong_is_told_in_one_line(cluster: Any, second: Any, tmp_path: Path) -> None:
    source = prompts(tmp_path / "p.jsonl", '"a cat"')
    with pytest.raises(WeightsError, match="lack"):
        carry_out(
            source, tmp_path / "r.jsonl", on_ray(partial(broken, str(tmp_path)), Room(replicas=1), cluster.address)
        )


def asked(url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        value: dict[str, Any] = json.load(answer)
    return value


def test_the_service_on_ray_serve_keeps_what_it_accepted(cluster: Any, home: Path) -> None:
    """A creation is accepted, the process that serves is killed, and the next one finishes it."""
    import ray
    from ray import serve

    from brushloop.scale.deployment import Arguments, deployed

    ray.shutdown()
    ray.init(address=cluster.address, configure_logging=False, log_to_driver=False)
    port = many.free_port()
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(deployed(Arguments(home=str(home)), partial(slowly, 0.02, str(home))))
    base = f"http://127.0.0.1:{port}"
    assert asked(f"{base}/v1/health")["status"] == "ok"
    id = asked(f"{base}/v1/creations", {"prompt": "a cat and a ball", "seed": 3})["id"]
    killed = 0
    for actor in ray.util.list_named_actors(all_namespaces=True):
        if "SERVE_REPLICA" in actor["name"]:
            ray.kill(ray.get_actor(actor["name"], namespace=actor["namespace"]))
            killed += 1
    assert killed == 1
    until = time.monotonic() + 120
    state = ""
    while state != "finished" and time.monotonic() < until:
        time.sleep(1)
        try:
            state = asked(f"{base}/v1/creations/{id}")["state"]
        except OSError:  # no replica yet
            continue
    assert state == "finished"
    alone = Studio(ToyPainter(), ToyVLM(), home.with_name("alone")).paint("a cat and a ball", 3)
    assert Studio(ToyPainter(), ToyVLM(), home).open(id).hashes == alone.hashes
    serve.shutdown()
