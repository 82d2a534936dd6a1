"""One-shot against loop on held-out prompts, judged by the independent judge.

    python -m benchmarks.scenes --number 200 --out runs/bench/scenes.jsonl

Every prompt shows a combination (pair, count, colour, relation …) that training never saw. Both pictures of
a prompt are painted with the same seed. Rows are appended as they are made; a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from brushloop.supervision.judge import Judge, verdict
from brushloop.supervision.world import scenes, words

CATEGORIES = ("single", "two", "counting", "color", "position", "binding")


def prompts(number: int, seed: int = 0) -> list[tuple[str, str, scenes.Scene]]:
    """`number` held-out (category, prompt, scene), the categories in turn."""
    rng = random.Random(f"bench/{seed}")
    out = []
    for index in range(number):
        category = CATEGORIES[index % len(CATEGORIES)]
        scene = scenes.sample_split(rng, False, category)
        out.append((category, words.prompt(scene, rng)[0], scene))
    return out


def paint(number: int, out: Path, part: int = 0, parts: int = 1) -> None:
    """Paint and judge every `parts`-th prompt, from `part` on."""
    import torch

    from brushloop import Studio

    torch.set_num_threads(1)
    out.parent.mkdir(parents=True, exist_ok=True)
    done = {json.loads(line)["index"] for line in out.read_text().splitlines()} if out.exists() else set()
    studio, judge = Studio(home=out.with_suffix(".store")), Judge()
    with out.open("a") as file:
        for index, (category, prompt, scene) in enumerate(prompts(number)):
            if index in done or index % parts != part:
                continue
            row: dict[str, Any] = {"index": index, "category": category, "prompt": prompt}
            single = studio.one_shot(prompt, seed=index)
            start = time.process_time()
            creation = studio.paint(prompt, seed=index)
            row["seconds"] = round(time.process_time() - start, 2)
            row["stop_reason"], row["id"] = str(creation.stop_reason), creation.id
            row["rounds"] = sum(step.kind in ("draft", "refine") for step in creation.steps)
            first = next(step.outputs[0] for step in creation.steps if step.kind == "draft")
            pictures = [single, studio.store.get_image(first), creation.image]
            for name, sight in zip(
                ("one_shot", "first_draft", "loop"), judge.look([p for p in pictures if p]), strict=True
            ):
                score = verdict(sight, scene)
                row[name] = {"correct": score.correct, **vars(score)}
            single.save(out.parent / f"{index:03d}-one-shot.png")
            creation.image.save(out.parent / f"{index:03d}-loop.png")  # type: ignore[union-attr]
            file.write(json.dumps(row) + "\n")
            file.flush()


def wilson(hits: int, number: int) -> tuple[float, float]:
    """The 95% Wilson interval of a share."""
    if number == 0:
        return 0.0, 1.0
    z, p = 1.96, hits / number
    middle, half = p + z * z / (2 * number), z * math.sqrt(p * (1 - p) / number + z * z / (4 * number * number))
    return (middle - half) / (1 + z * z / number), (middle + half) / (1 + z * z / number)


def gain(pairs: Sequence[tuple[bool, bool]], seed: int = 0) -> tuple[float, float, float]:
    """Mean of loop minus one-shot in points, with its 95% paired bootstrap interval."""
    difference = np.array([100.0 * (loop - single) for single, loop in pairs])
    draws = np.random.default_rng(seed).choice(difference, (4000, len(difference))).mean(1)
    return float(difference.mean()), *(float(edge) for edge in np.percentile(draws, [2.5, 97.5]))  # type: ignore[return-value]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The Markdown table of both scores, by category."""
    lines = ["| category | n | one-shot | loop | gain in points |", "|---|---|---|---|---|"]
    for category in (*CATEGORIES, "all"):
        some = [row for row in rows if category in (row["category"], "all")]
        if not some:
            continue
        pairs = [(bool(row["one_shot"]["correct"]), bool(row["loop"]["correct"])) for row in some]
        cells = []
        for which in (0, 1):
            hits = sum(pair[which] for pair in pairs)
            low, high = wilson(hits, len(pairs))
            cells.append(f"{hits / len(pairs):.2f} ({low:.2f}-{high:.2f})")
        mean, low, high = gain(pairs)
        lines.append(
            f"| {category} | {len(some)} | {cells[0]} | {cells[1]} | {mean:+.0f} ({low:+.0f} to {high:+.0f}) |"
        )
    return "\n".join(lines)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("runs/bench/scenes.jsonl"))
    parser.add_argument("--part", default="0/1", help="i/n: only every n-th prompt, from i on")
    arguments = parser.parse_args()
    part, parts = map(int, arguments.part.split("/"))
    paint(arguments.number, arguments.out, part, parts)
    print(table([json.loads(line) for line in arguments.out.read_text().splitlines()]))


if __name__ == "__main__":
    main()
