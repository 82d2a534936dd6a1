"""Process metrics: not how good the last picture is, but how well the loop worked on the way to it.

Everything is counted over the records of creations (`supervision.export`), with a detector as the witness of what is
really in each picture. Rates come with Wilson's 95% interval. Pictures of plans outside the detector's world are
left out, and counted.

    inspection         per kind of violation: right among those the critic named, and named among the true ones
    over-correction    truly present elements that the critic called wrong or missing
    repair             refinements of a true violation after which it is gone
    drift              what the painter changed outside of its regions, by round, before it was pasted back
    cost               pictures painted (rounds) and denoising steps of a creation
    never worse        the picture kept at least as good as the first draft of the last plan step
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Protocol

from PIL.Image import Image

from brushloop.canvas import Critique, EditType, Frame, Plan
from brushloop.critic.prompt import Look
from brushloop.supervision.build.desk import critique
from brushloop.supervision.constraints import VIOLATIONS, present, violations
from brushloop.supervision.detector import known
from brushloop.supervision.export import critique_of
from brushloop.supervision.records import Record, Turn, TurnKind


class Witness(Protocol):
    """Says what is really in a picture: a detector."""

    def look(self, picture: Image, plan: Plan, step: int) -> Look:
        """What a critic should say of a picture once plan step `step` is painted."""
        ...


See = Callable[[Frame], Image]
"""How a picture of a record is read."""


@dataclass
class Rate:
    """How many of how many."""

    hits: int = 0
    of: int = 0

    def add(self, hits: int, of: int) -> None:
        """Count some more."""
        self.hits += hits
        self.of += of

    def as_json(self) -> dict[str, float | int | None]:
        """The rate with Wilson's 95% interval; None where nothing was counted."""
        if not self.of:
            return {"rate": None, "low": None, "high": None, "hits": 0, "of": 0}
        p, n, z = self.hits / self.of, self.of, 1.959964
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        low, high = max(0.0, middle - half), min(1.0, middle + half)
        return {"rate": round(p, 4), "low": round(low, 4), "high": round(high, 4), "hits": self.hits, "of": n}


@dataclass
class Process:
    """What was counted over all creations."""

    creations: int = 0
    left_out: int = 0
    """Creations without a plan, or with one that the detector cannot judge."""
    precision: Mapping[str, Rate] = field(default_factory=lambda: defaultdict(Rate))
    recall: Mapping[str, Rate] = field(default_factory=lambda: defaultdict(Rate))
    detected: Rate = field(default_factory=Rate)
    """Violated elements that the critic called violated, by whatever name."""
    over_correction: Rate = field(default_factory=Rate)
    repair: Rate = field(default_factory=Rate)
    needless: Rate = field(default_factory=Rate)
    """Refinements that aimed at nothing that was wrong."""
    broke: Rate = field(default_factory=Rate)
    """Refinements after which something else was violated that had been right."""
    drift: Mapping[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    rounds: list[int] = field(default_factory=list)
    denoising_steps: list[int] = field(default_factory=list)
    never_worse_by_critic: Rate = field(default_factory=Rate)
    never_worse_by_detector: Rate = field(default_factory=Rate)
    as_planned: Rate = field(default_factory=Rate)
    """Finished pictures in which the detector finds every element due as planned."""

    def as_json(self) -> dict[str, object]:
        """Plain JSON."""
        kinds = [kind for kind in ("any", *VIOLATIONS) if self.precision[kind].of or self.recall[kind].of]
        return {
            "creations": self.creations,
            "left_out": self.left_out,
            "inspection": {
                kind: {"precision": self.precision[kind].as_json(), "recall": self.recall[kind].as_json()}
                for kind in kinds
            },
            "detected": self.detected.as_json(),
            "over_correction": self.over_correction.as_json(),
            "repair": self.repair.as_json(),
            "needless": self.needless.as_json(),
            "broke": self.broke.as_json(),
            "drift_by_round": {str(number): round(fmean(found), 6) for number, found in sorted(self.drift.items())},
            "rounds": _spread(self.rounds),
            "denoising_steps": _spread(self.denoising_steps),
            "never_worse_by_critic": self.never_worse_by_critic.as_json(),
            "never_worse_by_detector": self.never_worse_by_detector.as_json(),
            "as_planned": self.as_planned.as_json(),
        }


def measure(records: Iterable[tuple[Record, See]], witness: Witness) -> Process:
    """Count over records of creations.

    Raises:
        StoreError: a picture is missing or changed.
    """
    process = Process()
    for record, see in records:
        process.creations += 1
        plans = [turn.plan for turn in record.turns if turn.plan]
        if not plans or not all(map(known, plans)):
            process.left_out += 1
        else:
            _Walk(record, see, witness, process).count()
    return process


class _Walk:
    """One record, from the first turn to the last."""

    def __init__(self, record: Record, see: See, witness: Witness, process: Process) -> None:
        self.turns, self.see, self.witness, self.process = list(record.turns), see, witness, process
        self.plans: list[Plan | None] = []
        plan: Plan | None = None
        for turn in self.turns:
            plan = turn.plan or plan
            self.plans.append(plan)
        self._known: dict[tuple[str, int, int], Critique] = {}

    def count(self) -> None:
        painted = 0
        for number, turn in enumerate(self.turns):
            if turn.by != "model":
                continue
            if turn.kind is TurnKind.REFLECTION:
                self._inspected(number, turn)
            elif turn.kind in (TurnKind.STATE, TurnKind.REFINEMENT):
                if turn.drift is not None:
                    self.process.drift[painted].append(turn.drift)
                painted += 1
                if turn.kind is TurnKind.REFINEMENT:
                    self._repaired(number, turn)
        self.process.rounds.append(painted)
        self.process.denoising_steps.append(sum(turn.denoising_steps or 0 for turn in self.turns))
        self._ended()

    def _truth(self, picture: Frame, number: int, step: int) -> Critique:
        """What is true of a picture, held against the plan in force at a turn."""
        plan = self.plans[number]
        assert plan is not None
        key = picture.hash, id(plan), step
        if key not in self._known:
            self._known[key] = critique(self.witness.look(self.see(picture), plan, step))
        return self._known[key]

    def _inspected(self, number: int, turn: Turn) -> None:
        picture = self._picture(turn.of)
        if picture is None or turn.critique is None or turn.plan_step is None:
            return
        truth = self._truth(picture, number, turn.plan_step)
        true, said = violations(truth), violations(turn.critique)
        right = true.items() & said.items()
        for kind in VIOLATIONS:
            hits = sum(found == kind for _, found in right)
            self.process.precision[kind].add(hits, sum(found == kind for found in said.values()))
            self.process.recall[kind].add(hits, sum(found == kind for found in true.values()))
        self.process.precision["any"].add(len(right), len(said))
        self.process.recall["any"].add(len(right), len(true))
        self.process.detected.add(len(true.keys() & said.keys()), len(true))
        well = present(truth)
        self.process.over_correction.add(len(well & said.keys()), len(well))

    def _repaired(self, number: int, turn: Turn) -> None:
        before, plan = self._picture(turn.of), self.plans[number]
        if before is None or turn.picture is None or turn.plan_step is None or plan is None:
            return
        was, now = (self._truth(picture, number, turn.plan_step) for picture in (before, turn.picture))
        bad, still = violations(was).keys(), violations(now).keys()
        aimed = _aimed(turn, plan) & set(plan.due(turn.plan_step))
        self.process.needless.add(not aimed & bad, 1)
        if aimed & bad:
            self.process.repair.add(not aimed & bad & still, 1)
        well = present(was) - aimed
        self.process.broke.add(bool(well & still), 1)

    def _ended(self) -> None:
        """Compare what was kept with the first draft of the last plan step."""
        last = self.turns[-1]
        drafts = [(i, t) for i, t in enumerate(self.turns) if t.kind is TurnKind.STATE and t.plan_step is not None]
        if last.kind is not TurnKind.FINISH or last.picture is None or not drafts:
            return
        plan, step = self.plans[-1], drafts[-1][1].plan_step
        first = next((t for i, t in drafts if self.plans[i] is plan and t.plan_step == step), drafts[-1][1])
        assert step is not None and first.picture is not None
        began, ended = (critique_of(self.turns, picture) for picture in (first.picture, last.picture))
        ended = last.critique or ended
        if began and ended:
            self.process.never_worse_by_critic.add(ended.score >= began.score, 1)
        at = len(self.turns) - 1
        was, now = (self._truth(picture, at, step) for picture in (first.picture, last.picture))
        self.process.never_worse_by_detector.add(now.score >= was.score, 1)
        self.process.as_planned.add(not violations(now) and now.score == 1, 1)

    def _picture(self, of: int | None) -> Frame | None:
        return self.turns[of].picture if of is not None else None


def _aimed(turn: Turn, plan: Plan) -> set[int]:
    """Elements that a refinement is about: those with a box among its regions, or the background."""
    if turn.correction and turn.correction.edit is EditType.BACKGROUND:
        return {index for index, thing in enumerate(plan.elements) if thing.role == "background"}
    regions = set(turn.correction.regions if turn.correction else turn.regions)
    return {index for index, thing in enumerate(plan.elements) if regions & set(thing.boxes)}


def _spread(numbers: list[int]) -> dict[str, float | int | None]:
    if not numbers:
        return {"mean": None, "least": None, "most": None, "all": 0}
    return {"mean": round(fmean(numbers), 3), "least": min(numbers), "most": max(numbers), "all": sum(numbers)}
