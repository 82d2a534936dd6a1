"""Building a folder of records: streamed, resumed where it stopped, the same bytes for the same recipe and seed.

Beside the records lie `build.json` (recipe and seed: a folder holds one build), `rejected.jsonl` (what the filters
turned down, and why) and, when it is done, `report.json`. Record i depends on recipe, seed and i alone; a killed
build goes on behind its last whole line.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from brushloop.canvas import Noun
from brushloop.errors import CorruptObjectError, InputError
from brushloop.files import LocalFiles
from brushloop.supervision.build.conflict import alignment, conflict
from brushloop.supervision.build.desk import Builder, Desk, Exhausted
from brushloop.supervision.build.filters import Rejected
from brushloop.supervision.build.growth import growth
from brushloop.supervision.build.layers import sequence
from brushloop.supervision.build.pairs import pair
from brushloop.supervision.build.recipes import DataRecipe
from brushloop.supervision.build.sampled import sampled
from brushloop.supervision.build.whole import whole
from brushloop.supervision.records import Record, RecordFolder
from brushloop.supervision.world.worlds import find, within

TABLE: Mapping[str, Builder] = {
    "growth": growth,
    "conflict": conflict,
    "alignment": alignment,
    "sequence": sequence,
    "edit": pair,
    "sampled": sampled,
    "whole": whole,
}
TRIES = 200
"""Tries for one record before the recipe is called impossible."""

ABOUT, REJECTED, REPORT = "build.json", "rejected.jsonl", "report.json"


class Build(Noun):
    """What a folder of records was built by."""

    recipe: DataRecipe
    seed: int


@dataclass
class Report:
    """What came of a build."""

    records: int = 0
    resumed: int = 0
    """Records that were there when it began."""
    builders: Counter[str] = field(default_factory=Counter)
    tasks: Counter[str] = field(default_factory=Counter)
    pictures: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    """Drafts that a filter turned down, by reason."""
    exhausted: bool = False
    """Whether it ended before the number asked for because the stores held no more."""

    def as_json(self) -> dict[str, object]:
        """Plain JSON, the most frequent reason first."""
        counted = {name: dict(getattr(self, name).most_common()) for name in ("builders", "tasks", "rejected")}
        return {"records": self.records, "pictures": self.pictures, **counted, "exhausted": self.exhausted}


def build(
    recipe: DataRecipe, out: Path, number: int, seed: int = 0, on_record: Callable[[Report], None] | None = None
) -> Report:
    """Build records up to `number` in all into `out`, going on with what is there.

    Raises:
        InputError: the folder holds another build, the recipe names a world that is not there, or filters turn down
            everything it makes.
        UnwritableError: the disk is full, read-only or forbidden; call again and it goes on.
        CorruptObjectError: a record that is there already is broken.
    """
    folder, files = RecordFolder(out), LocalFiles(str(out))
    find(recipe.world)
    _claim(out, files, Build(recipe=recipe, seed=seed))
    report = Report(resumed=folder.mend())
    for record in folder:
        _count(report, record)
    report.rejected = _rejections(out, files, report.resumed)
    while report.records < number:
        try:
            with within(recipe.world):
                record = _record(recipe, seed, report.records, folder, files, report)
        except Exhausted:
            report.exhausted = True
            break
        folder.append(record)
        _count(report, record)
        if on_record:
            on_record(report)
    files.write(REPORT, json.dumps(report.as_json(), indent=2).encode() + b"\n")
    return report


def _record(
    recipe: DataRecipe, seed: int, index: int, folder: RecordFolder, files: LocalFiles, report: Report
) -> Record:
    chance = f"{recipe.name}/{recipe.split}/{seed}"
    shares = recipe.shares
    which = random.Random(f"{chance}/builder/{index // 2}").choices(list(shares), list(shares.values()))[0]
    id = f"{recipe.name}-{recipe.split}-{seed}-{index:06d}"
    for number in range(TRIES):
        desk = Desk(id, index, f"{chance}/{index}/{number}", f"{chance}/pair/{index // 2}/{number}", recipe, folder.put)
        try:
            return TABLE[which](desk)
        except Rejected as reason:
            files.append(REJECTED, json.dumps({"index": index, "reason": str(reason)}).encode())
            report.rejected[str(reason)] += 1
    raise InputError(
        f"recipe {recipe.name}: {TRIES} drafts of record {index} were turned down, the last because of "
        f"{report.rejected.most_common(1)[0][0]!r}; loosen the recipe"
    )


def _claim(out: Path, files: LocalFiles, now: Build) -> None:
    """Write whose folder this is, or make sure that it is this build's."""
    try:
        before = Build.model_validate_json(files.read(ABOUT))
    except FileNotFoundError:
        if out.is_dir() and any(out.iterdir()):
            raise InputError(f"{out} holds something else: name a new or empty folder") from None
        files.write(ABOUT, now.model_dump_json(indent=2).encode() + b"\n")
        return
    except ValueError as error:
        raise CorruptObjectError(f"{out / ABOUT} is damaged: restore it, or build into another folder") from error
    if before != now:
        raise InputError(
            f"{out} holds records of recipe {before.recipe.name} with seed {before.seed}, or other fields: "
            "give the same to go on with it, or name another folder"
        )


def _rejections(out: Path, files: LocalFiles, records: int) -> Counter[str]:
    """What was turned down on the way to the records that are there; later lines are cut off, they come again."""
    reasons, kept = Counter[str](), []
    path = out / REJECTED
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            note = json.loads(line)
        except ValueError:
            continue
        if note["index"] < records:
            kept.append(line)
            reasons[note["reason"]] += 1
    if path.exists():
        files.write(REJECTED, b"".join(line + b"\n" for line in kept))
    return reasons


def _count(report: Report, record: Record) -> None:
    report.records += 1
    report.builders[record.source.name] += 1
    report.tasks[record.task.value] += 1
    report.pictures += len(record.pictures)
