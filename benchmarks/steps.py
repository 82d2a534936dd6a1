"""How many denoising steps the shipped painter needs: held-out prompts, with so many for every draft and refinement.

    python -m benchmarks.steps [--number 200] [--steps 16 8 6 4]

It learned flow matching (Lipman et al. 2023) in the rectified form (Liu et al. 2022), whose paths are nearly straight,
so that Euler's method needs few steps; it was not distilled.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from typing import Any

from brushloop.agent.effort import Effort
from brushloop.canvas import StepKind
from brushloop.supervision.held_out import prompts, wilson
from brushloop.supervision.judge import Judge, verdict

STEPS = (16, 8, 6, 4)


def measure(number: int = 200, steps: Sequence[int] = STEPS) -> dict[str, dict[str, Any]]:
    """For each number of denoising steps: how many came out right, and the pictures painted for a creation."""
    import torch

    from brushloop import Studio

    torch.set_num_threads(1)
    judge, shipped, found = Judge(), Studio(), dict[str, dict[str, Any]]()
    for each in steps:
        effort = Effort(alone_steps=each, draft_steps=each, refine_steps=each, per_thing=0, per_try=0)
        right, pictures = 0, 0
        with tempfile.TemporaryDirectory() as home:
            studio = Studio(shipped.painter, shipped.vlm, home, effort=effort)
            for seed, (_, prompt, scene) in enumerate(prompts(number)):
                made = studio.paint(prompt, seed=seed)
                pictures += sum(step.kind in (StepKind.DRAFT, StepKind.REFINE) for step in made.steps)
                right += made.image is not None and verdict(judge.look([made.image])[0], scene).correct
        found[str(each)] = {"number": number, "right": right, "pictures": pictures / number}
    return found


def table(found: dict[str, dict[str, Any]]) -> str:
    """The figures as Markdown."""
    lines = ["| denoising steps of each picture | right | pictures |", "|---|---|---|"]
    for steps, row in found.items():
        low, high = wilson(row["right"], row["number"])
        share = f"{row['right'] / row['number']:.3f} ({low:.2f}-{high:.2f})"
        lines.append(f"| {steps} | {share} | {row['pictures']:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=200)
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS)
    given = parser.parse_args()
    print(table(measure(given.number, given.steps)))


if __name__ == "__main__":
    main()
