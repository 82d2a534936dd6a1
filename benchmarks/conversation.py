"""Thirty turns of conversation with the shipped models: what drifts, and how much of what was asked is seen.

    python -m benchmarks.conversation --seeds 2

A turn may change the pixels in its mask and no others. `outside` is the largest change of any pixel anywhere else
(of 255); `painter` is how much the painter itself changed there, on average, before that was put back; `kept` says
whether a thing that is in the picture from the first turn on and is never spoken of is the same to the last bit. What
is seen is the judge's word: of things that the last plan names, and of what each turn asked for.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import fmean

import numpy as np

from brushloop import Creation, Studio
from brushloop.agent.chat import Picture, pictures
from brushloop.canvas import Box, Element, Plan, StepKind
from brushloop.supervision.judge import Judge, Sight

FIRST = "a house and a red apple on a beach"
KEPT = "house"
"""Stands in the first picture, and no turn speaks of it."""
THINGS = ("balloon", "car", "book", "cup", "umbrella", "ball")
COLORS = ("blue", "green", "purple", "yellow")


def script(turns: int) -> list[str]:
    """A conversation: five turns about each thing, the apple in between."""
    said = [FIRST]
    for number in range(turns - 1):
        thing, color = THINGS[number // 5], COLORS[number % 4]
        said.append(
            (
                f"add a {thing}",
                f"make the {thing} {color}",
                f"make the apple {color}",
                f"move the {thing} to the {('left', 'right')[number // 5 % 2]}",
                f"remove the {thing}",
            )[number % 5]
        )
    return said


@dataclass
class Talk:
    """What was measured in one conversation."""

    turns: int = 1
    refused: list[str] = field(default_factory=list)
    """Turns that could not be carried out as said, such as a thing that is at the edge already."""
    outside: int = 0
    painter: list[float] = field(default_factory=list)
    free: list[float] = field(default_factory=list)
    """Share of the canvas outside of the mask of each turn."""
    kept: bool = False
    done: list[bool] = field(default_factory=list)
    """Whether the judge sees what each turn asked for."""
    seen: float = 0.0
    """Share of the last plan's things that the judge sees."""
    sound: bool = False
    """Whether every hash of the chain is right."""


def hold(studio: Studio, judge: Judge, seed: int, turns: int = 30) -> Talk:
    """Talk for that many turns, and measure."""
    from brushloop.errors import InputError

    first, *rest = script(turns)
    made, talk = studio.chat(first, seed=seed), Talk()
    for said in rest:
        try:
            made = studio.chat(said, made.id)
            talk.turns += 1
        except InputError as error:
            talk.refused.append(f"{said}: {error}")
    shown, looks = pictures(made), judge.look([studio.store.get_image(p.frame) for p in pictures(made)])
    arrays = [np.asarray(studio.store.get_image(p.frame).convert("RGB")).astype(int) for p in shown]
    for (old, new), may in zip(pairwise(arrays), _masks(studio, made), strict=True):
        talk.free.append(float((~may).mean()))
        talk.outside = max(talk.outside, int(np.abs(new - old)[~may].max(initial=0)))
    talk.painter = [float(s.settings["drift"]) for s in made.steps if s.kind is StepKind.REFINE]
    box = next(e for e in shown[0].plan.elements if e.name == KEPT).boxes[0]
    talk.kept = bool((_cut(arrays[0], box) == _cut(arrays[-1], box)).all())
    talk.done = [_done(old, new, sight) for (old, new), sight in zip(pairwise(shown), looks[1:], strict=True)]
    things = [e for e in shown[-1].plan.elements if e.role == "object"]
    talk.seen = fmean(_there(thing, looks[-1]) for thing in things)
    talk.sound = studio.store.verify(made.id) == []
    return talk


def _masks(studio: Studio, made: Creation) -> Iterator[np.ndarray]:
    """What each turn after the first was allowed to change."""
    for step in made.steps[1:]:
        if step.brief is not None:
            mask = step.brief.units[-1].images[0].mask
            assert mask is not None
            yield np.asarray(studio.store.get_image(mask).convert("L")) > 0


def _cut(array: np.ndarray, box: Box) -> np.ndarray:
    left, top, right, bottom = (edge * array.shape[0] // 100 for edge in box)
    return array[top:bottom, left:right]


def _done(old: Picture, new: Picture, sight: Sight) -> bool:
    """Whether everything that the turn changed in the plan is seen as it is planned now."""
    changed = [element for element in new.plan.elements if element not in old.plan.elements]
    gone = [element for element in old.plan.elements if element.name not in _names(new.plan)]
    return all(_there(e, sight) for e in changed) and not any(_there(e, sight) for e in gone)


def _names(plan: Plan) -> set[str]:
    return {element.name for element in plan.elements}


def _there(thing: Element, sight: Sight) -> bool:
    """Whether the judge sees a thing of that name and colour in each of its boxes (its middle lies in them)."""
    return all(
        any(
            seen.name == thing.name and thing.color in (None, seen.color) and _within(box, seen.box)
            for seen in sight.objects
        )
        for box in thing.boxes
    )


def _within(box: Box, seen: Box) -> bool:
    left, top, right, bottom = box
    return left <= (seen[0] + seen[2]) / 2 <= right and top <= (seen[1] + seen[3]) / 2 <= bottom


def table(talks: list[Talk]) -> str:
    """The figures as Markdown."""
    lines = [
        "| seed | turns | changed outside of a mask | the painter alone | canvas outside of a mask | "
        f"the {KEPT} | asked and seen | of the last plan seen |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for seed, talk in enumerate(talks):
        cells = [
            f"{seed}", f"{talk.turns}", f"{talk.outside} of 255", f"{255 * fmean(talk.painter or [0.0]):.1f} of 255",
            f"{fmean(talk.free):.2f}", "the same bits" if talk.kept else "changed",
            f"{sum(talk.done)} of {len(talk.done)}", f"{talk.seen:.2f}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Entry point."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2, help="conversations")
    parser.add_argument("--turns", type=int, default=30)
    given = parser.parse_args()
    torch.set_num_threads(1)
    judge = Judge()
    with tempfile.TemporaryDirectory() as home:
        studio = Studio(home=home)
        talks = [hold(studio, judge, seed, given.turns) for seed in range(given.seeds)]
    print(table(talks))
    for talk in talks:
        print("\n".join(f"refused: {why}" for why in talk.refused))


if __name__ == "__main__":
    main()
