"""How far the critic's scores can be believed, on held-out states; and how often a second opinion disagrees.

python -m benchmarks.calibration --number 400
"""

from __future__ import annotations

import argparse
import random
from typing import Any

from brushloop.canvas import Brief, Status
from brushloop.critic.critic import Critic
from brushloop.supervision import faults
from brushloop.supervision.calibration import calibration, scored
from brushloop.supervision.judge import Judge
from brushloop.supervision.second import SecondOpinion
from brushloop.vlm import open_vlm


def measure(critic: Critic, number: int) -> dict[str, Any]:
    """On rendered held-out states: calibration, and of the disagreements with the judge, who was right."""
    rng, pairs, asked = random.Random("calibration-test"), [], SecondOpinion(Judge())
    disputed, critic_wrong, elements = 0, 0, 0
    for _ in range(number):
        state = faults.sample(rng, training=False)
        said = critic.reflect(Brief(prompt=state.prompt), state.plan, state.step, state.picture).value
        truth = {seen.element: seen.status for seen in state.look.findings}
        found = scored(said, truth)
        pairs += found
        elements += len(found)
        for one in asked.disagreements(state.plan, state.step, state.picture, said):
            if one.opinion.element is not None:
                disputed += 1
                so = truth[one.opinion.element] is Status.PRESENT
                critic_wrong += so is (one.opinion.status is Status.PRESENT)
    return {
        **calibration(pairs).model_dump(),
        "disputed": disputed / max(1, elements),
        "second right": critic_wrong / max(1, disputed),
    }


def table(figures: dict[str, Any]) -> str:
    """The reliability table as Markdown: bins that hold something."""
    lines = ["| score | elements | mean score | as planned |", "|---|---|---|---|"]
    for one in figures["bins"]:
        if one["number"]:
            cells = f"{one['low']:.1f}-{one['high']:.1f} | {one['number']} | {one['sure']:.2f} | {one['so']:.2f}"
            lines.append(f"| {cells} |")
    return "\n".join(lines)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=400)
    parser.add_argument("--vlm", default="embedded")
    arguments = parser.parse_args()
    figures = measure(Critic(open_vlm(arguments.vlm)), arguments.number)
    print(table(figures))
    for name in ("error", "worst", "brier", "number", "disputed", "second right"):
        print(f"{name:24} {figures[name]:.3f}")


if __name__ == "__main__":
    main()
