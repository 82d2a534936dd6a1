"""How well the critic reflects on held-out states: rendered ones with known faults, and ones the painter made.

    python -m benchmarks.critic --number 400
    python -m benchmarks.critic --store runs/bench/scenes.store
    python -m benchmarks.critic --number 400 --world large --vlm embedded:large

Half of the rendered states are faulty, and half of the sound ones unfinished. States from a store are
labelled by the judge, every second one against a plan that asks for something else than was painted.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from brushloop.canvas import Brief, Critique, Status
from brushloop.critic.critic import Critic
from brushloop.critic.prompt import Seen
from brushloop.store import Store
from brushloop.supervision import faults
from brushloop.supervision.judge import Judge, weights_of
from brushloop.supervision.labels import certainty, label
from brushloop.supervision.world.worlds import within
from brushloop.train.states import made, otherwise
from brushloop.vlm import open_vlm

SURE = 0.9
"""Probability of a name from which the judge counts as sure of it."""


class Tally:
    """Counts of (true status, said status) over elements."""

    def __init__(self) -> None:
        self.pairs: Counter[tuple[Status, Status]] = Counter()

    def add(self, truth: Sequence[Seen], said: Critique) -> None:
        """Take one critique into account."""
        answers = {finding.element: finding.status for finding in said.findings}
        for seen in truth:
            self.pairs[seen.status, answers.get(seen.element, Status.MISSING)] += 1

    def figures(self) -> dict[str, float]:
        """Precision and recall of "wrong" and "missing", and how often "not yet" was called wrong."""
        out = {}
        for status in (Status.WRONG, Status.MISSING):
            hits = self.pairs[status, status]
            said = sum(count for (_, answer), count in self.pairs.items() if answer is status)
            true = sum(count for (truth, _), count in self.pairs.items() if truth is status)
            out[f"{status} precision"], out[f"{status} recall"] = hits / max(1, said), hits / max(1, true)
            out[f"{status} n"] = true
        bad = (Status.WRONG, Status.MISSING)
        faulty = sum(count for (truth, _), count in self.pairs.items() if truth in bad)
        told = sum(count for (_, answer), count in self.pairs.items() if answer in bad)
        both = sum(count for (truth, answer), count in self.pairs.items() if truth in bad and answer in bad)
        out["fault precision"], out["fault recall"] = both / max(1, told), both / max(1, faulty)
        early = sum(count for (truth, _), count in self.pairs.items() if truth is Status.NOT_YET)
        wronged = sum(count for (truth, said), count in self.pairs.items() if truth is Status.NOT_YET and said in bad)
        out["not yet called wrong"] = wronged / max(1, early)
        out["elements"] = self.pairs.total()
        return out


def rendered(critic: Critic, number: int) -> dict[str, float]:
    """On rendered held-out states."""
    rng, tally = random.Random("critic-test"), Tally()
    for _ in range(number):
        state = faults.sample(rng, training=False)
        said = critic.reflect(Brief(prompt=state.prompt), state.plan, state.step, state.picture).value
        tally.add(state.look.findings, said)
    return tally.figures()


def painted(critic: Critic, store: Store, judge: Judge, number: int) -> dict[str, Any]:
    """On states from the creations of a store, also one plan step ahead of the painter, as the judge sees them.

    Every second one is held against a plan that asks for one thing otherwise, so that about half are faulty. `sure`
    has the figures of those elements alone that the judge names with certainty: a painted thing may be half a star.
    """
    rng, states = random.Random("otherwise-test"), list(islice(made(store), number))
    tally, sure = Tally(), Tally()
    for index, state in enumerate(states):
        brief, plan, step, picture = (otherwise(rng, state, training=False) if index % 4 > 1 else None) or state
        sight = judge.look([picture])[0]
        truth, said = label(sight, plan, step, picture).findings, critic.reflect(brief, plan, step, picture).value
        tally.add(truth, said)
        sure.add([seen for seen in truth if certainty(sight, plan.elements[seen.element]) >= SURE], said)
    return {**tally.figures(), "states": len(states), "sure": sure.figures()}


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=400)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--vlm", default="embedded")
    parser.add_argument("--world", default="small", help="what states are sampled from and the judge knows")
    arguments = parser.parse_args()
    critic = Critic(open_vlm(arguments.vlm))
    with within(arguments.world) as world:
        if arguments.store:
            judge = Judge(weights_of(world.name))
            figures = painted(critic, Store(arguments.store), judge, arguments.number)
        else:
            figures = rendered(critic, arguments.number)
    sure = figures.pop("sure", {})
    for name, figure in figures.items():
        print(f"{name:24} {figure:.3f}" + (f" {sure[name]:.3f} where the judge is sure" if name in sure else ""))


if __name__ == "__main__":
    main()
