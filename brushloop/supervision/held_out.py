"""The scene benchmark: held-out prompts, painted one-shot and in the loop with the same seeds, judged by the judge.

Every prompt shows a combination (pair, count, colour, relation …) that training never saw. A picture is right if all
that the prompt names of its objects is there: kind, number, colour, relation (GenEval's measure).
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from brushloop.supervision.world import scenes, words

CATEGORIES = ("single", "two", "counting", "color", "position", "binding")


def prompts(number: int, seed: int = 0, categories: Sequence[str] = CATEGORIES) -> list[tuple[str, str, scenes.Scene]]:
    """`number` held-out (category, prompt, scene), the categories in turn.

    Of groups of things half of the prompts have the background after the first group.
    """
    rng = random.Random(f"bench/{seed}")
    out = []
    for index in range(number):
        category = categories[index % len(categories)]
        scene = scenes.sample_split(rng, False, category)
        amid = category == scenes.GROUPS and rng.random() < 0.5
        out.append((category, words.prompt(scene, rng, training=False, amid=amid)[0], scene))
    return out


def wilson(hits: int, number: int) -> tuple[float, float]:
    """The 95% Wilson interval of a share."""
    if number == 0:
        return 0.0, 1.0
    z, p = 1.96, hits / number
    middle, half = p + z * z / (2 * number), z * math.sqrt(p * (1 - p) / number + z * z / (4 * number * number))
    return max(0.0, (middle - half) / (1 + z * z / number)), (middle + half) / (1 + z * z / number)


def gain(pairs: Sequence[tuple[bool, bool]], seed: int = 0) -> tuple[float, float, float]:
    """Mean of the second minus the first in points, with its 95% paired bootstrap interval."""
    difference = np.array([100.0 * (second - first) for first, second in pairs])
    draws = np.random.default_rng(seed).choice(difference, (4000, len(difference))).mean(1)
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(difference.mean()), float(low), float(high)


def by_category(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """For each category and `all`: how many, the shares right with their intervals, and the gain in points.

    A row has `category`, and under `one_shot` and `loop` whether the picture was `correct`.
    """
    found: dict[str, dict[str, Any]] = {}
    for category in (*CATEGORIES, scenes.GROUPS, "all"):
        some = [row for row in rows if category in (row["category"], "all")]
        if not some:
            continue
        pairs = [(bool(row["one_shot"]["correct"]), bool(row["loop"]["correct"])) for row in some]
        told: dict[str, Any] = {"n": len(pairs)}
        for name, hits in (("one_shot", sum(one for one, _ in pairs)), ("loop", sum(two for _, two in pairs))):
            low, high = wilson(hits, len(pairs))
            told[name] = {"right": hits / len(pairs), "low": low, "high": high}
        told["gain"] = dict(zip(("points", "low", "high"), gain(pairs), strict=True))
        found[category] = told
    return found


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The Markdown table of both scores, by category."""
    lines = ["| category | n | one-shot | loop | gain in points |", "|---|---|---|---|---|"]
    for category, told in by_category(rows).items():
        cells = [
            f"{told[name]['right']:.2f} ({told[name]['low']:.2f}-{told[name]['high']:.2f})"
            for name in ("one_shot", "loop")
        ]
        change = "{points:+.0f} ({low:+.0f} to {high:+.0f})".format(**told["gain"])
        lines.append(f"| {category} | {told['n']} | {cells[0]} | {cells[1]} | {change} |")
    return "\n".join(lines)
