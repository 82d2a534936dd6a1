"""What easy and hard prompts cost at each effort, and how right the pictures are.

    python -m benchmarks.effort --number 30

Easy prompts name one object, hard ones two with a relation, a number or two colours. All are held out. Effort is
counted in denoising steps, which do not depend on how busy the machine is.
"""

from __future__ import annotations

import argparse
import tempfile
from statistics import fmean
from typing import Any

from benchmarks.scenes import prompts
from brushloop.canvas import StepKind
from brushloop.supervision.judge import Judge, verdict

HARD = ("counting", "position", "binding")


def measure(number: int, levels: tuple[str, ...] = ("low", "normal", "high")) -> dict[str, dict[str, Any]]:
    """Figures of each level: mean denoising steps, tokens, seconds and share right, of easy and of hard prompts."""
    import torch

    from brushloop import Studio

    torch.set_num_threads(1)
    asked = [(kind, text, scene) for kind, text, scene in prompts(6 * number) if kind == "single"][:number]
    asked += [(kind, text, scene) for kind, text, scene in prompts(6 * number) if kind in HARD][: len(asked)]
    judge, figures = Judge(), {}
    with tempfile.TemporaryDirectory() as home:
        for level in levels:
            studio, rows = Studio(home=home, effort=level), []
            for seed, (kind, text, scene) in enumerate(asked):
                made = studio.paint(text, seed=seed)
                costs = [studio.store.measurements(digest) for digest in made.hashes]
                painted = [step for step in made.steps if step.kind in (StepKind.DRAFT, StepKind.REFINE)]
                assert made.image
                rows.append(
                    {
                        "easy": kind == "single",
                        "steps": sum(int(step.settings["denoising_steps"]) for step in painted),
                        "tokens": sum(cost.get("tokens", 0) for cost in costs),
                        "seconds": sum(cost.get("seconds", 0.0) for cost in costs),
                        "right": verdict(judge.look([made.image])[0], scene).correct,
                    }
                )
            figures[level] = {
                kind: {
                    name: fmean(float(row[name]) for row in rows if row["easy"] is easy)
                    for name in ("steps", "tokens", "seconds", "right")
                }
                for kind, easy in (("easy", True), ("hard", False))
            }
    return figures


def table(figures: dict[str, dict[str, Any]]) -> str:
    """The figures as Markdown."""
    lines = ["| effort | prompts | denoising steps | tokens | seconds | right |", "|---|---|---|---|---|---|"]
    for level, kinds in figures.items():
        for kind, f in kinds.items():
            cells = f"{f['steps']:.1f} | {f['tokens']:.0f} | {f['seconds']:.2f} | {f['right']:.2f}"
            lines.append(f"| {level} | {kind} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=30, help="easy prompts, and as many hard ones")
    print(table(measure(parser.parse_args().number)))


if __name__ == "__main__":
    main()
