"""Anything at all sent to every operation of the API: no answer is a server error, and each is as described.

The short form runs with the other tests; `make test-api` sends a thousand cases and more.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    status_code_conformance,
)
from serving import running, toy_studio

from brushloop.serve.app import create_app

# schemathesis's own: its strategies draw from the module `random`
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")

# That a body is as described is FastAPI's own check: it answers 500 otherwise.
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance]
Served = tuple[Any, list[str], list[str]]
PROMPT = "a cat and a red ball on a beach"


@pytest.fixture
def served(home: Path) -> Iterator[Served]:
    """The API of a running server, its creations (one is finished, one waits), and hashes of steps and pictures."""
    studio = toy_studio(home)
    done, waits = studio.paint(PROMPT, id="done"), studio.paint(PROMPT, id="waits", pause=["after:reflect"])
    hashes = [*done.hashes, *(step.outputs[-1].hash for step in done.steps if step.outputs)]
    with running(create_app(studio, stream_seconds=0.2)) as url:
        yield schemathesis.openapi.from_url(f"{url}/openapi.json"), [done.id, waits.id], hashes


def fuzz(served: Served, cases: int) -> Counter[int]:
    """Send so many cases to each operation, half of them about what is there; counts the statuses that came back."""
    schema, ids, hashes = served
    seen: Counter[int] = Counter()
    turns = itertools.count()
    for result in schema.get_all_operations():
        operation = result.ok()

        @seed(1)
        @settings(
            max_examples=cases,
            deadline=None,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def send(case: Any) -> None:
            turn = next(turns)
            if turn % 2:
                there = {"id": ids[turn // 2 % len(ids)], "hash": hashes[turn // 2 % len(hashes)]}
                case.path_parameters |= {name: there[name] for name in case.path_parameters}
            response = case.call(timeout=60)
            seen[response.status_code] += 1
            case.validate_response(response, checks=CHECKS)

        send()
    return seen


def test_anything_may_be_sent(served: Served) -> None:
    seen = fuzz(served, 3)
    assert sum(seen.values()) >= 50 and not [status for status in seen if status >= 500], seen


@pytest.mark.api
@pytest.mark.timeout(1800)
def test_a_thousand_things_may_be_sent(served: Served) -> None:
    seen = fuzz(served, 80)
    print("answers by status:", dict(sorted(seen.items())))
    assert sum(seen.values()) >= 1_000 and not [status for status in seen if status >= 500], seen
    assert {200, 202, 204, 400, 404, 409, 422} <= set(seen), "the cases reach more than the validation"
