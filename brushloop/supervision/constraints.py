"""Constraints on the making of a picture: each one small callable, a number from 0 (broken) to 1 (kept), and its parts.

The same callable serves twice. As a score at run time or a reward it is given pictures and critiques; as a loss
term, `1 - value`, it is given tensors, and the value then has a gradient: `evidence` runs a detector on (decoded)
pixels, and `SpatialConsistency`, `SemanticConsistency` and `PicturePreservation` are differentiable in what they
are given. The constraints on texts are of sets of findings: rewards, without a gradient.

The four are those of dense step-wise supervision: visual states keep spatial and semantic consistency, textual
states preserve prior knowledge and find and correct what violates the prompt (process-driven generation;
Flux-scale results in its paper). The formulas are ours. The small world has no reflections or shadows, so
spatial consistency is of boxes, of relations, and of what must not move.

Shapes: H W pixels, G grid cells a side, C = 1 + 4 + names + tones channels of the detector (`supervision.judge`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from brushloop.canvas import Box, Critique, Element, Fault, Plan, Status
from brushloop.supervision.judge import GRID, Detector
from brushloop.supervision.world.nouns import Names
from brushloop.supervision.world.scenes import CANVAS, Relation, center

VIOLATIONS = ("missing", *(fault.value for fault in Fault))
"""Kinds of violation: a thing is missing, or wrong in one of the ways of `Fault`."""


@dataclass(frozen=True)
class Kept:
    """How far a constraint is kept: `value` 0-1, the mean or product of its parts as the constraint tells."""

    value: Tensor
    """Without shape; with a gradient if what was measured had one."""
    parts: Mapping[str, float] = field(default_factory=dict)

    def __float__(self) -> float:
        return float(self.value.detach())

    @property
    def loss(self) -> Tensor:
        """1 - value: the term to add to a training loss."""
        return 1 - self.value


@dataclass(frozen=True)
class Evidence:
    """What a detector makes of one picture, before any decision: `cells` (C G G) and `scene` logits."""

    cells: Tensor
    scene: Tensor
    names: Names
    """What its outputs mean."""

    def of(self, kind: Literal["objects", "colors", "backgrounds"], name: str) -> Tensor:
        """The probability of a name: (G G) of an object or a colour, without shape of a background.

        Raises:
            ValueError: a name that the detector does not know.
        """
        known: tuple[str, ...] = getattr(self.names, kind)
        if name not in known:
            raise ValueError(f"the detector knows no {name!r} among its {kind}")
        objects = len(self.names.objects)
        logits = {
            "objects": self.cells[5 : 5 + objects], "colors": self.cells[5 + objects :],
            "backgrounds": self.scene[: len(self.names.backgrounds)],
        }[kind]  # fmt: skip
        return logits.softmax(0)[known.index(name)]


class OfState(Protocol):
    """A constraint on one visual state, as a detector sees it."""

    def __call__(self, seen: Evidence) -> Kept:
        """How far it is kept."""
        ...


def evidence(network: Detector, pictures: Tensor | Sequence[Image.Image]) -> list[Evidence]:
    """Run a detector on pixels (B 3 128 128, -1..1; gradients flow through them) or on pictures of any size."""
    if not isinstance(pictures, Tensor):
        with torch.no_grad():
            return evidence(network, torch.stack([pixels_of(picture, CANVAS) for picture in pictures]) * 2 - 1)
    cells, scene = network(pictures)
    return [Evidence(cells[i], scene[i], network.names) for i in range(len(pictures))]


def pixels_of(picture: Image.Image, size: int | None = None) -> Tensor:
    """A picture as (3 H W), 0-1, scaled to `size` pixels a side if that is given."""
    image = picture.convert("RGB")
    if size is not None:
        image = image.resize((size, size))
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


# Visual states --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SemanticConsistency:
    """What should be there so far is there: all elements due after plan step `step`, in their boxes.

    value = mean over due elements e of  mean over boxes b of  h(c) p(name | c) [p(color | c) if e has a colour],
    with c the cell of the centre of b and h, p the detector's probabilities of an object, its name and its colour;
    for the background, p(background). Range 0-1. Parts: one for each due element, `0 beach`, `1 cat`.

    Raises:
        ValueError: a thing is outside the detector's world.
    """

    plan: Plan
    step: int

    def __call__(self, seen: Evidence) -> Kept:
        """Measure one state."""
        scored = {f"{i} {self.plan.elements[i].name}": self._of(self.plan.elements[i], seen) for i in self._due()}
        return _mean(scored)

    def _due(self) -> tuple[int, ...]:
        return self.plan.due(self.step)

    def _of(self, thing: Element, seen: Evidence) -> Tensor:
        if thing.role == "background":
            return seen.of("backgrounds", thing.name)
        scores = []
        for box in thing.boxes:
            at = _cell(box)
            score = _heat(seen)[at] * seen.of("objects", thing.name)[at]
            if thing.color:
                score = score * seen.of("colors", thing.color)[at]
            scores.append(score)
        return torch.stack(scores).mean() if scores else _heat(seen).new_tensor(1.0)


@dataclass(frozen=True)
class SpatialConsistency:
    """What is there stands where it should, in the relation asked for, and what must not move has not.

    boxes    = mean over due objects of IoU(box seen at the cell of its centre, box asked for)
    relation = sigmoid((d - gap) / 4), d the signed distance in percent between where the detector's map of one
               name and of the other are centred (mean cell, weighted by h p(name)); `between` takes the lesser side
    still    = mean over objects of exp(-|shift| / 4), the shift of that centre since `before`, in percent

    value = mean of those parts that apply. Range 0-1. Objects in `moved` (indices of elements) may move.
    """

    plan: Plan
    step: int
    relation: Relation | None = None
    before: Evidence | None = None
    moved: frozenset[int] = frozenset()
    gap: float = 2.0

    def __call__(self, seen: Evidence) -> Kept:
        """Measure one state."""
        due = [i for i in self.plan.due(self.step) if self.plan.elements[i].role == "object"]
        parts: dict[str, Tensor] = {}
        boxes = [_iou(_box(seen, box), box) for i in due for box in self.plan.elements[i].boxes]
        if boxes:
            parts["boxes"] = torch.stack(boxes).mean()
        if self.relation and {self.relation.subject, self.relation.other, self.relation.third} - {None} <= set(due):
            parts["relation"] = self._relation(self.relation, seen)
        if self.before is not None:
            shifts = [self._shift(self.plan.elements[i], seen, self.before) for i in due if i not in self.moved]
            if shifts:
                parts["still"] = torch.stack(shifts).mean()
        return _mean(parts)

    def _relation(self, relation: Relation, seen: Evidence) -> Tensor:
        subject, other = (_place(seen, self.plan.elements[i].name) for i in (relation.subject, relation.other))
        if relation.third is not None:
            third = _place(seen, self.plan.elements[relation.third].name)
            low, high = torch.minimum(other[0], third[0]), torch.maximum(other[0], third[0])
            return torch.sigmoid((torch.minimum(subject[0] - low, high - subject[0]) - self.gap) / 4)
        axis, sign = {"left": (0, 1), "right": (0, -1), "above": (1, 1), "below": (1, -1)}[relation.kind]
        return torch.sigmoid((sign * (other[axis] - subject[axis]) - self.gap) / 4)

    @staticmethod
    def _shift(thing: Element, seen: Evidence, before: Evidence) -> Tensor:
        return torch.exp(-(_place(seen, thing.name) - _place(before, thing.name).detach()).norm() / 4)


@dataclass(frozen=True)
class PicturePreservation:
    """Preserve prior visual knowledge: what lies outside of the regions stays as it was.

    value = exp(-d / 0.02), d the mean absolute difference (0-1) of the channels outside of the regions; 1 without
    regions, when everything may change. Range 0-1. Parts: `drift` (d), `outside` (share of the canvas).
    The loop pastes back what is outside (as MagicBrush measures L1 outside its masks): this measures before that.
    """

    regions: tuple[Box, ...]
    margin: int = 4
    """Percent around the regions that may change too."""

    def __call__(self, before: Tensor | Image.Image, after: Tensor | Image.Image) -> Kept:
        """Measure two pictures of one size, or two tensors (3 H W), 0-1."""
        old = before if isinstance(before, Tensor) else pixels_of(before)
        new = after if isinstance(after, Tensor) else pixels_of(after)
        if old.shape != new.shape:
            raise ValueError(f"pictures of different shapes: {tuple(old.shape)} before, {tuple(new.shape)} after")
        outside = self._outside(old.shape[1], old.shape[2])
        share = float(outside.float().mean())
        if not share:
            return Kept(new.new_tensor(1.0), {"drift": 0.0, "outside": 0.0})
        drift = (new - old).abs()[:, outside].mean()
        return Kept(torch.exp(-drift / 0.02), {"drift": float(drift.detach()), "outside": share})

    def _outside(self, high: int, wide: int) -> Tensor:
        outside = torch.full((high, wide), bool(self.regions))
        for left, top, right, bottom in self.regions:
            rows = slice(max(0, (top - self.margin) * high // 100), -(-(bottom + self.margin) * high // 100))
            columns = slice(max(0, (left - self.margin) * wide // 100), -(-(right + self.margin) * wide // 100))
            outside[rows, columns] = False
        return outside


# Textual states -------------------------------------------------------------------------------------------------


def violations(critique: Critique) -> dict[int, str]:
    """The violation that a critique finds of each element: `missing` or a fault."""
    return {
        finding.element: "missing" if finding.status is Status.MISSING else (finding.fault or Fault.OBJECT).value
        for finding in critique.findings
        if finding.status in (Status.MISSING, Status.WRONG)
    }


def present(critique: Critique) -> set[int]:
    """Elements that a critique calls present."""
    return {finding.element for finding in critique.findings if finding.status is Status.PRESENT}


@dataclass(frozen=True)
class TextPreservation:
    """Preserve prior knowledge in words: what was right is not "corrected", and what was planned is not forgotten.

    left alone = share of truly present elements that the critique calls neither wrong nor missing
    remembered = share of the elements of `plan` that `replanned` still has, with their attributes (1 if not replanned)

    value = left alone x remembered. Range 0-1. 1 - left alone is the over-correction rate.
    """

    truth: Critique
    plan: Plan | None = None

    def __call__(self, said: Critique, replanned: Plan | None = None) -> Kept:
        """Measure one critique, and the plan that was made after it, if any."""
        right = present(self.truth)
        left = len(right - violations(said).keys()) / len(right) if right else 1.0
        kept = 1.0
        if replanned is not None and self.plan is not None:
            wanted = [_attributes(thing) for thing in self.plan.elements]
            known = {_attributes(thing) for thing in replanned.elements}
            kept = sum(thing in known for thing in wanted) / len(wanted)
        return Kept(torch.tensor(left * kept), {"left alone": left, "remembered": kept})


@dataclass(frozen=True)
class ViolationFinding:
    """Find what violates the prompt, and call it by its name.

    precision = right among the violations said, recall = right among the true ones, where right means the same
    element and the same kind; value = F1 = 2 P R / (P + R), 1 if there is nothing to find and nothing was said.
    Range 0-1. Parts: precision, recall, and `detected`, the recall of elements whatever the kind.
    """

    truth: Critique

    def __call__(self, said: Critique) -> Kept:
        """Measure one critique."""
        true, found = violations(self.truth), violations(said)
        right = len(true.items() & found.items())
        precision = right / len(found) if found else 1.0
        recall = right / len(true) if true else 1.0
        detected = len(true.keys() & found.keys()) / len(true) if true else 1.0
        f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        return Kept(torch.tensor(f1), {"precision": precision, "recall": recall, "detected": detected})


@dataclass(frozen=True)
class ViolationCorrection:
    """Correct what violates the prompt, and break nothing else.

    repaired = share of the violations before that are gone after; broken = share of elements present before that
    are violated after; value = repaired (1 - broken), with repaired = 1 if there was nothing to repair. Range 0-1.
    `aimed` narrows it to the elements that a correction was about.
    """

    before: Critique
    aimed: frozenset[int] | None = None

    def __call__(self, after: Critique) -> Kept:
        """Measure the true critique of the state after."""
        bad, now = violations(self.before).keys(), violations(after).keys()
        meant = bad if self.aimed is None else bad & self.aimed
        repaired = len(meant - now) / len(meant) if meant else 1.0
        right = present(self.before)
        broken = len(right & now) / len(right) if right else 0.0
        return Kept(torch.tensor(repaired * (1 - broken)), {"repaired": repaired, "broken": broken})


# Inside -----------------------------------------------------------------------------------------------------------


def _mean(parts: Mapping[str, Tensor]) -> Kept:
    if not parts:
        return Kept(torch.tensor(1.0))
    return Kept(torch.stack(list(parts.values())).mean(), {name: float(part.detach()) for name, part in parts.items()})


def _heat(seen: Evidence) -> Tensor:
    return seen.cells[0].sigmoid()


def _cell(box: Box) -> tuple[int, int]:
    x, y = center(box)
    return min(GRID - 1, int(y * GRID / 100)), min(GRID - 1, int(x * GRID / 100))


def _box(seen: Evidence, box: Box) -> Tensor:
    """The box (percent) that the detector predicts at the centre of another: 4."""
    row, column = _cell(box)
    reach = seen.cells[1:5, row, column].sigmoid() * 50  # half of the canvas on each side at most
    x, y = (column + 0.5) * 100 / GRID, (row + 0.5) * 100 / GRID
    return torch.stack([x - reach[0], y - reach[1], x + reach[2], y + reach[3]])


def _iou(one: Tensor, other: Box) -> Tensor:
    two = one.new_tensor(other)
    wide = (torch.minimum(one[2], two[2]) - torch.maximum(one[0], two[0])).clamp(min=0)
    high = (torch.minimum(one[3], two[3]) - torch.maximum(one[1], two[1])).clamp(min=0)
    area = (one[2] - one[0]) * (one[3] - one[1]) + (two[2] - two[0]) * (two[3] - two[1])
    return wide * high / (area - wide * high).clamp(min=1e-6)


def _place(seen: Evidence, name: str) -> Tensor:
    """Where the detector sees a name, in percent from the left and the top: the mean cell, weighted by h p(name)."""
    weight = _heat(seen) * seen.of("objects", name)
    along = (torch.arange(GRID, device=weight.device) + 0.5) * 100 / GRID
    total = weight.sum().clamp(min=1e-6)
    return torch.stack([(weight.sum(0) * along).sum() / total, (weight.sum(1) * along).sum() / total])


def _attributes(thing: Element) -> tuple[str, str, int, str | None, str | None]:
    return thing.role, thing.name, thing.count, thing.color, thing.size
