"""The arithmetic of the bars in `make bench`: what is held against what."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.limits import disk, makespan, round_share


def test_all_files_of_a_store_are_held_against_its_pictures(tmp_path: Path) -> None:
    for name, size in (("objects/ab/1.png", 900), ("objects/ab/2.json", 60), ("heads/x.jsonl", 30), ("log", 9)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * size)
    found = disk(tmp_path)
    assert found["bytes"] == {"pictures": 900, "objects": 60, "heads": 30, "log": 9}
    assert found["share"] == pytest.approx(1.11)


def test_a_round_is_held_against_both_passes() -> None:
    assert round_share({"draft": 3.0, "refine": 2.0, "text": 8.0, "canvas": 12.0}) == 0.25


def test_creations_at_once_are_held_against_the_busier_engine() -> None:
    alone = {"painter": 10.0, "vlm": 4.0, "wall": 15.0}
    assert makespan(alone, {"wall": 11.0}) == 1.1
    assert makespan({**alone, "vlm": 22.0}, {"wall": 11.0}) == 0.5
