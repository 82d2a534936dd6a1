"""Guidance over three conditions: the picture that is edited, the text, and the visual prompt.

    ẽ = e(∅,∅,∅) + s_I [e(c_I,∅,∅) − e(∅,∅,∅)] + s_T [e(c_I,c_T,∅) − e(c_I,∅,∅)] + s_V [e(c_I,c_T,c_V) − e(c_I,c_T,∅)]

(AnyEdit, equation 5). Gathered by evaluations it is Σ aₖ eₖ with a = (1 − s_I, s_I − s_T, s_T − s_V, s_V), so that
an evaluation whose factor is zero need not be made: with s_I = 1 and s_V = s_T there are two, as in ordinary guidance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


class Given(NamedTuple):
    """Which conditions an evaluation is given."""

    picture: bool
    text: bool
    visual: bool


@dataclass(frozen=True)
class Scales:
    """How strongly each condition guides."""

    picture: float = 1.0
    text: float = 2.0
    visual: float | None = None
    """None: as strongly as the text."""

    def factors(self, has_visual: bool) -> dict[Given, float]:
        """The evaluations that are needed, and their factors, which sum to one."""
        visual = (self.text if self.visual is None else self.visual) if has_visual else 0.0
        told = {
            Given(False, False, False): 1 - self.picture,
            Given(True, False, False): self.picture - self.text,
            Given(True, True, False): self.text - visual,
            Given(True, True, True): visual,
        }
        return {given: factor for given, factor in told.items() if factor}


def guided(scales: Scales, has_visual: bool, evaluate: Callable[[Given], Tensor]) -> Tensor:
    """The guided velocity; `evaluate` gives the velocity under some of the conditions."""
    return sum(factor * evaluate(given) for given, factor in scales.factors(has_visual).items())  # type: ignore[return-value]
