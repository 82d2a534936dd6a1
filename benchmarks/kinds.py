"""How often the planner tells which of the 26 kinds of edit is asked for, in phrasings that training never said.

    python -m benchmarks.kinds --number 20

`number` wishes for each kind, and as many that ask for no edit.
"""

from __future__ import annotations

import argparse
import random
from typing import Any

from brushloop.canvas import EditType
from brushloop.errors import InputError
from brushloop.planner.kinds import kind_of
from brushloop.supervision.world.wishes import KINDS, wish
from brushloop.vlm import VLM, open_vlm


def measure(vlm: VLM, number: int = 20) -> dict[str, Any]:
    """Accuracy over all wishes and for each kind; how often what was sure was right, and what was mistaken for what."""
    rng, right, mistaken = random.Random("kinds-test"), {}, []
    sure = sure_right = 0
    for kind in KINDS:
        hits = 0
        for _ in range(number):
            text = wish(rng, kind, training=False)
            said, certain = _told(vlm, text)
            hits += said == kind
            sure, sure_right = sure + certain, sure_right + (certain and said == kind)
            if said != kind:
                mistaken.append(f"{text!r}: {said or 'none'} instead of {kind or 'none'}")
        right[kind.value if kind else "none"] = hits / number
    return {
        "accuracy": sum(right.values()) / len(right), "kinds": right, "sure": sure / (number * len(KINDS)),
        "right if sure": sure_right / max(1, sure), "number": number * len(KINDS), "mistaken": mistaken,
    }  # fmt: skip


def _told(vlm: VLM, text: str) -> tuple[EditType | None, bool]:
    try:
        kind = kind_of(vlm, text).value
    except InputError:
        return None, True
    return kind.edit, kind.sure is not None


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=20)
    parser.add_argument("--vlm", default="embedded")
    arguments = parser.parse_args()
    figures = measure(open_vlm(arguments.vlm), arguments.number)
    for line in figures.pop("mistaken"):
        print(line)
    for name, figure in (figures | figures.pop("kinds")).items():
        print(f"{name:20} {figure:.3f}")


if __name__ == "__main__":
    main()
