"""Kills a server around submissions and starts it anew: a process that forks, so that a case costs no new interpreter.

Reads cases from stdin, a JSON object a line: `at` and `phase` as in `killing.py`, counted over the durable writes of a
server that is asked for three creations while it works on them. Answers with what it had accepted when it was killed,
and with what there is after a second server has done all that it found. A case without `at` tells of the writes.
"""

from __future__ import annotations

import gc
import json
import shutil
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from fakes import ToyPainter, ToyVLM
from forking import forked
from killing import Writes
from starlette.testclient import TestClient

from brushloop import Studio
from brushloop.files import LocalFiles
from brushloop.serve.app import create_app
from brushloop.serve.jobs import Jobs

PROMPT, SEEDS, SECONDS = "a cat and a red ball on a beach", (3, 4, 5), 240.0


class Server(Writes):
    """The writes of a server, those of waiting for the disk among them."""

    def install(self) -> None:
        super().install()
        real = LocalFiles.sync

        def dying_sync(files: LocalFiles, names: Any) -> None:
            with self._around("sync"):
                real(files, names)

        LocalFiles.sync = dying_sync  # type: ignore[method-assign]


def ask(home: Path, case: dict[str, Any], told: Any) -> None:
    """Ask a server for creations by HTTP, and tell of each as soon as it answers."""
    writes = Server(home.parent / "nodes.log", case.get("at"), case.get("phase", ""))
    writes.install()
    with TestClient(create_app(Studio(ToyPainter(), ToyVLM(), home)), base_url="http://localhost") as client:
        for seed in SEEDS:
            answer = client.post(
                "/v1/creations", json={"prompt": PROMPT, "seed": seed}, headers={"Idempotency-Key": f"order-{seed}"}
            )
            assert answer.status_code == 202, answer.text
            print(json.dumps({"seed": seed, "id": answer.json()["id"]}), file=told, flush=True)
        for seed in SEEDS:
            wait(client, f"key-{seed}", client.app.state.jobs)  # type: ignore[attr-defined]
    print(json.dumps({"writes": [kind for _, kind in writes.seen]}), file=told, flush=True)


def wait(client: TestClient, name: str, jobs: Jobs) -> None:
    until = time.monotonic() + SECONDS
    while any(jobs.log.job(id).state in ("queued", "running") for id in jobs.log.ids()):
        assert time.monotonic() < until, name
        time.sleep(0.005)


def recover(home: Path, told: Any) -> None:
    """Start anew, ask for the same again with the same keys, and tell of everything there is."""
    studio = Studio(ToyPainter(), ToyVLM(), home)
    with TestClient(create_app(studio), base_url="http://localhost") as client:
        jobs: Jobs = client.app.state.jobs  # type: ignore[attr-defined]
        wait(client, "what was accepted", jobs)
        before = {id: jobs.log.job(id).state for id in jobs.log.ids()}
        again = {}
        for seed in SEEDS:
            answer = client.post(
                "/v1/creations", json={"prompt": PROMPT, "seed": seed}, headers={"Idempotency-Key": f"order-{seed}"}
            )
            again[seed] = answer.json().get("id", answer.text)
        wait(client, "what was asked for again", jobs)
        heads = {head.id: head.head for head in studio.store.heads()}
        problems = [problem.message for id in heads for problem in studio.store.verify(id)]
    print(json.dumps({"before": before, "again": again, "heads": heads, "problems": problems}), file=told, flush=True)


def main() -> None:
    home = Path(sys.argv[1]) / "home"
    with tempfile.TemporaryDirectory() as folder:  # whatever is imported late is imported now, once for all cases
        Studio(ToyPainter(), ToyVLM(), folder).paint(PROMPT)
    gc.freeze()
    for line in sys.stdin:
        case = json.loads(line)
        shutil.rmtree(home.parent, ignore_errors=True)
        home.parent.mkdir(parents=True)
        lines, killed = forked(partial(ask, home, case))
        accepted = {str(line["seed"]): line["id"] for line in lines if "id" in line}
        writes = next((line["writes"] for line in lines if "writes" in line), [])
        ((after,), _) = forked(partial(recover, home))
        print(json.dumps({"killed": killed, "accepted": accepted, "writes": writes, **after}), flush=True)


if __name__ == "__main__":
    main()
