"""SIGKILL at every node, before, in the middle of and after each durable write: nothing is lost, nothing done twice.

The short form, in `make test`, kills at every kind of write of every kind of node. The whole matrix, in
`make test-trust`, kills at every write of the run, loses either record afterwards, and kills the recoveries.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from forking import Asked

PHASES = ("before", "during", "after")
Case = dict[str, Any]


class Killer(Asked):
    """The server of `killing.py`."""

    def __init__(self, folder: Path) -> None:
        super().__init__("killing.py", folder)
        self.whole = self.ask({"kills": []})

    def faults(self, case: Case) -> list[str]:
        """What is wrong after a case, in words."""
        told, whole, found = self.ask(case), self.whole, []
        if told["killed"] != len(case["kills"]):
            found.append(f"was killed {told['killed']} times")
        for part in ("hashes", "image", "objects"):
            if told.get(part) != whole[part]:
                found.append(f"other {part}")
        if told.get("duplicates") or told.get("problems") or told.get("checkpoints"):
            found.append(f"{told['duplicates']} duplicates, {told['problems']}, {told['checkpoints']} checkpoints left")
        again = len(told.get("nodes", ())) - len(whole["nodes"])
        if again > len(case["kills"]):
            found.append(f"{again} nodes run again")
        return [f"{case}: {fault}" for fault in found]


@pytest.fixture(scope="module")
def killer() -> Iterator[Killer]:
    memory = Path("/dev/shm")  # a kill does not ask for a disk, and a disk costs most of the time
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        killer = Killer(Path(folder) / "case")
        yield killer
        killer.close()


def each_kind(writes: list[list[str]]) -> list[int]:
    """The first write of every kind, in every kind of node."""
    seen: dict[tuple[str, str, int], int] = {}
    start = 0
    for number, (node, kind) in enumerate(writes):
        if number and node != writes[number - 1][0]:
            start = number
        nth = [other for _, other in writes[start:number]].count(kind)
        seen.setdefault((node, kind, nth), number)
    return sorted(seen.values())


def all_faults(killer: Killer, cases: Iterable[Case]) -> str:
    return "\n".join(fault for case in cases for fault in killer.faults(case))


def once(writes: Iterable[int]) -> list[Case]:
    return [{"kills": [[number, phase]]} for number in writes for phase in PHASES]


def either_lost(writes: list[list[str]], at: Iterable[int]) -> list[Case]:
    """Killed around a checkpoint; then the head that it followed is lost, or the checkpoint itself."""
    saved = [number for number in at if writes[number][1] == "checkpoint" and 3 < number < len(writes) - 3]
    return [
        {"kills": [[number, phase]], "lost": lost}
        for number in saved
        for phase in PHASES
        for lost in ("head", "checkpoint")
    ]


def test_the_run_has_all_kinds_of_nodes_and_writes(killer: Killer) -> None:
    assert set(killer.whole["nodes"]) == {"plan", "draft", "reflect", "refine", "finish"}
    assert {kind for _, kind in killer.whole["writes"]} == {"image", "step", "note", "head", "checkpoint"}
    assert killer.whole["duplicates"] == 0 and killer.whole["problems"] == []


def test_killed_at_every_kind_of_write(killer: Killer) -> None:
    cases = once(each_kind(killer.whole["writes"]))
    assert len(cases) >= 60
    assert not (faults := all_faults(killer, cases)), faults


def test_either_record_may_be_behind_the_other(killer: Killer) -> None:
    writes = killer.whole["writes"]
    cases = either_lost(writes, each_kind(writes)[:12])
    assert {case["lost"] for case in cases} == {"head", "checkpoint"}
    assert not (faults := all_faults(killer, cases)), faults


def test_killed_while_it_recovers(killer: Killer) -> None:
    cases = [{"kills": [[number, phase], [1, phase], [2, phase]]} for number in (5, 17) for phase in PHASES]
    assert not (faults := all_faults(killer, cases)), faults


@pytest.mark.trust
def test_the_whole_matrix(killer: Killer) -> None:
    writes = killer.whole["writes"]
    cases = once(range(len(writes))) + either_lost(writes, range(len(writes)))
    chance = random.Random(7)
    for _ in range(110):
        first, second, third = chance.randrange(4, 40), chance.randrange(6), chance.randrange(4)
        cases.append({"kills": [[at, chance.choice(PHASES)] for at in (first, second, third)]})
    assert len(cases) >= 300
    assert not (faults := all_faults(killer, cases)), faults
