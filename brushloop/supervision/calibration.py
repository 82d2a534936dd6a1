"""How far a critic's scores can be believed: of the things it is 80% sure of, four in five should be so.

Expected calibration error (Guo et al. 2017, "On Calibration of Modern Neural Networks", eq. 3): predictions are put
into M bins of equal width by their confidence; ECE = sum over bins of (n_m / n) |share that is so - mean confidence|.
"""

from __future__ import annotations

from collections.abc import Iterable
from statistics import fmean

from brushloop.canvas import Critique, Noun, Score, Status


class Bin(Noun):
    """Predictions of about the same confidence."""

    low: Score
    high: Score
    number: int
    sure: Score = 0.0
    """Mean probability that was given."""
    so: Score = 0.0
    """Share that was so."""


class Calibration(Noun):
    """How scores and truth agree."""

    error: Score
    """Expected calibration error."""
    worst: Score
    """The largest gap of any bin that holds something (maximum calibration error)."""
    brier: Score
    """Mean squared difference of score and truth; it also sees how sharp the scores are."""
    number: int
    bins: tuple[Bin, ...]


def calibration(pairs: Iterable[tuple[float, bool]], bins: int = 10) -> Calibration:
    """Calibration of (probability that something is so, whether it is so).

    Raises:
        ValueError: there are no pairs, or a probability is not within 0-1.
    """
    rows = [(float(sure), bool(so)) for sure, so in pairs]
    if not rows or not all(0 <= sure <= 1 for sure, _ in rows):
        raise ValueError(f"calibration needs probabilities from 0 to 1, and at least one; {len(rows)} were given")
    sorted_in: list[list[tuple[float, bool]]] = [[] for _ in range(bins)]
    for sure, so in rows:
        sorted_in[min(bins - 1, int(sure * bins))].append((sure, so))
    found = tuple(
        Bin(
            low=at / bins,
            high=(at + 1) / bins,
            number=len(inside),
            sure=round(fmean(sure for sure, _ in inside), 6) if inside else 0.0,
            so=round(fmean(so for _, so in inside), 6) if inside else 0.0,
        )
        for at, inside in enumerate(sorted_in)
    )
    gaps = [(one.number / len(rows), abs(one.so - one.sure)) for one in found if one.number]
    return Calibration(
        error=round(sum(share * gap for share, gap in gaps), 6),
        worst=round(max(gap for _, gap in gaps), 6),
        brier=round(fmean((sure - so) ** 2 for sure, so in rows), 6),
        number=len(rows),
        bins=found,
    )


def scored(critique: Critique, truth: dict[int, Status]) -> list[tuple[float, bool]]:
    """Pairs of a critique: for each element that is due, the score it got and whether it is present in truth.

    Args:
        critique: what the critic said.
        truth: the true status of each element.
    """
    return [
        (finding.score, truth[finding.element] is Status.PRESENT)
        for finding in critique.findings
        if finding.score is not None and truth.get(finding.element, Status.NOT_YET) is not Status.NOT_YET
    ]
