"""What easy and hard prompts cost at each effort, and how right the pictures are.

    python -m benchmarks.effort --number 30 --levels normal

Easy prompts name one object, hard ones two with a relation, a number or two colours. All are held out. Effort is the
arithmetic that painter, planner and critic do for a creation, retries and all, in GFLOP as torch counts it (in every
fourth creation: counting takes as long as computing). It does not depend on how busy the machine is, and has one
measure for a denoising step and a token.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean
from typing import Any, TypeVar

from brushloop.canvas import StepKind
from brushloop.supervision.held_out import prompts
from brushloop.supervision.judge import Judge, verdict

HARD = ("counting", "position", "binding")
LEVELS = ("low", "normal", "high")
COLUMNS = ("flop", "steps", "tokens", "pictures", "seconds", "right")
COUNTED = 4

T = TypeVar("T")


class Counted:
    """A painter or a vision-language model, and the floating-point operations that it has done."""

    def __init__(self, model: Any) -> None:
        self.model, self.flop, self.counts = model, 0, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def paint(self, *given: Any) -> Any:
        """As the painter's."""
        return self._counting(lambda: self.model.paint(*given))

    def ask(self, *given: Any) -> Any:
        """As the model's."""
        return self._counting(lambda: self.model.ask(*given))

    def _counting(self, work: Callable[[], T]) -> T:
        if not self.counts:
            return work()
        from torch.utils.flop_counter import FlopCounterMode

        with FlopCounterMode(display=False) as counter:
            made = work()
        self.flop += counter.get_total_flops()
        return made


def measure(number: int, levels: Sequence[str] = LEVELS) -> dict[str, dict[str, Any]]:
    """Mean figures (`COLUMNS`) of each level, of easy and of hard prompts."""
    import torch

    from brushloop import Studio

    torch.set_num_threads(1)
    asked = [(kind, text, scene) for kind, text, scene in prompts(6 * number) if kind == "single"][:number]
    asked += [(kind, text, scene) for kind, text, scene in prompts(6 * number) if kind in HARD][: len(asked)]
    judge, figures, shipped = Judge(), {}, Studio()
    makers = Counted(shipped.painter), Counted(shipped.vlm)
    with tempfile.TemporaryDirectory() as home:
        for level in levels:
            studio, rows = Studio(*makers, home=home, effort=level), []
            for seed, (kind, text, scene) in enumerate(asked):
                for maker in makers:
                    maker.flop, maker.counts = 0, seed % COUNTED == 0
                began = time.process_time()
                made = studio.paint(text, seed=seed)
                seconds = time.process_time() - began
                costs = [studio.store.measurements(digest) for digest in made.hashes]
                painted = [step for step in made.steps if step.kind in (StepKind.DRAFT, StepKind.REFINE)]
                assert made.image
                rows.append(
                    {
                        "easy": kind == "single",
                        "flop": sum(maker.flop for maker in makers) / 1e9 or None,
                        "seconds": None if makers[0].counts else seconds,
                        "steps": sum(int(step.settings["denoising_steps"]) for step in painted),
                        "tokens": sum(cost.get("tokens", 0) for cost in costs),
                        "pictures": len(painted),
                        "right": verdict(judge.look([made.image])[0], scene).correct,
                    }
                )
            figures[level] = {
                kind: {name: _mean(row[name] for row in rows if row["easy"] is easy) for name in COLUMNS}
                for kind, easy in (("easy", True), ("hard", False))
            }
    return figures


def _mean(values: Iterable[Any]) -> float:
    """Of those that were measured."""
    return fmean(float(value) for value in values if value is not None)


def share(figures: dict[str, dict[str, Any]], name: str = "flop", level: str = "normal") -> float:
    """What an easy prompt takes of what a hard one takes."""
    return float(figures[level]["easy"][name] / figures[level]["hard"][name])


def table(figures: dict[str, dict[str, Any]]) -> str:
    """The figures as Markdown."""
    lines = [
        "| effort | prompts | GFLOP | denoising steps | tokens | pictures | seconds of a core | right |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for level, kinds in figures.items():
        for kind, f in kinds.items():
            cells = f"{f['flop']:.0f} | {f['steps']:.1f} | {f['tokens']:.0f} | {f['pictures']:.1f}"
            lines.append(f"| {level} | {kind} | {cells} | {f['seconds']:.2f} | {f['right']:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=30, help="easy prompts, and as many hard ones")
    parser.add_argument("--levels", nargs="+", default=LEVELS, choices=LEVELS)
    given = parser.parse_args()
    figures = measure(given.number, given.levels)
    print(table(figures))
    print("\n".join(f"{level}: {share(figures, level=level):.2f} of the arithmetic" for level in figures))


if __name__ == "__main__":
    main()
