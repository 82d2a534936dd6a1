"""SIGKILL around submissions: whatever a server said yes to is done, once, however it died."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from forking import Asked

PHASES = ("before", "during", "after")


class Killer(Asked):
    """The process of `submitting.py`."""

    def __init__(self, folder: Path) -> None:
        super().__init__("submitting.py", folder)
        self.whole = self.ask({})


@pytest.fixture(scope="module")
def killer() -> Iterator[Killer]:
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        killer = Killer(Path(folder) / "case")
        yield killer
        killer.close()


def faults(told: dict[str, Any], whole: dict[str, Any]) -> list[str]:
    """What is wrong after a kill, in words. `whole` is what an undisturbed server made."""
    found = [
        f"{id} was accepted and is lost" for id in told["accepted"].values() if told["before"].get(id) != "finished"
    ]
    if told["again"] != whole["again"] or not set(told["accepted"].items()) <= set(told["again"].items()):
        found.append(f"asked again, the answer was {told['again']}")
    if told["heads"] != whole["heads"]:
        found.append(f"other creations: {told['heads']}")
    return found + told["problems"]


def test_an_undisturbed_server_makes_all_of_them(killer: Killer) -> None:
    whole = killer.whole
    assert not whole["killed"] and whole["again"] == whole["accepted"] and len(whole["heads"]) == 3
    assert {"step", "head", "sync", "note", "checkpoint"} <= set(whole["writes"])
    assert faults(whole, whole) == []


@pytest.mark.trust
@pytest.mark.parametrize("number", [24, 200])
def test_nothing_that_was_accepted_is_lost(number: int, killer: Killer) -> None:
    chance, many = random.Random(number), len(killer.whole["writes"])
    first = [(at, phase) for at in range(min(16, many)) for phase in PHASES]
    cases = [*first, *((chance.randrange(many), chance.choice(PHASES)) for _ in range(number))]
    if number < len(first):
        cases = chance.sample(first, number)
    lost, killed, accepted = [], 0, 0
    for at, phase in cases[:number]:
        told = killer.ask({"at": at, "phase": phase})
        killed += told["killed"]
        accepted += len(told["accepted"])
        lost += [f"{at} {phase}: {fault}" for fault in faults(told, killer.whole)]
    print(f"{number} servers, {killed} killed, {accepted} accepted before, {len(lost)} faults")
    assert not lost, "\n".join(lost)
    assert killed >= 0.9 * number and 0 < accepted < 3 * number
