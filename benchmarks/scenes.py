"""One-shot against loop on held-out prompts, judged by the independent judge.

    python -m benchmarks.scenes --number 200 --out runs/bench/scenes.jsonl
    python -m benchmarks.scenes --number 60 --category groups --out runs/bench/groups/scenes.jsonl
    python -m benchmarks.scenes --world large --painter embedded:large --vlm embedded:large --out OUT

Every prompt shows a combination (pair, count, colour, relation …) that training never saw. Both pictures of
a prompt are painted with the same seed; where no plan comes there is no picture. Rows are appended as they are made; a
run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from brushloop import Studio
from brushloop.errors import ReplyError
from brushloop.supervision.held_out import CATEGORIES, prompts, table
from brushloop.supervision.judge import Judge, verdict, weights_of
from brushloop.supervision.world.scenes import GROUPS
from brushloop.supervision.world.worlds import current, within


def paint(
    studio: Studio, judge: Judge, number: int, out: Path, part: int = 0, parts: int = 1,
    categories: Sequence[str] = CATEGORIES,
) -> None:  # fmt: skip
    """Paint and judge every `parts`-th prompt, from `part` on."""
    judge.must_know(current())
    out.parent.mkdir(parents=True, exist_ok=True)
    done = {json.loads(line)["index"] for line in out.read_text().splitlines()} if out.exists() else set()
    with out.open("a") as file:
        for index, (category, prompt, scene) in enumerate(prompts(number, categories=categories)):
            if index in done or index % parts != part:
                continue
            row: dict[str, Any] = {"index": index, "category": category, "prompt": prompt}
            single = studio.one_shot(prompt, seed=index)
            single.save(out.parent / f"{index:03d}-one-shot.png")
            start = time.process_time()
            pictures = {"one_shot": single}
            try:
                creation = studio.paint(prompt, seed=index)
            except ReplyError:  # no plan, no picture
                row |= {"stop_reason": "error", "rounds": 0}
            else:
                row |= {"stop_reason": str(creation.stop_reason), "id": creation.id}
                row["rounds"] = sum(step.kind in ("draft", "refine") for step in creation.steps)
                first = next(step.outputs[0] for step in creation.steps if step.kind == "draft")
                pictures |= {"first_draft": studio.store.get_image(first), "loop": creation.image}
                creation.image.save(out.parent / f"{index:03d}-loop.png")
            row["seconds"] = round(time.process_time() - start, 2)
            row["first_draft"] = row["loop"] = {"correct": False, "background": False}
            for name, sight in zip(pictures, judge.look(list(pictures.values())), strict=True):
                score = verdict(sight, scene)
                row[name] = {"correct": score.correct, **vars(score)}
            file.write(json.dumps(row) + "\n")
            file.flush()


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("runs/bench/scenes.jsonl"))
    parser.add_argument("--category", choices=(*CATEGORIES, GROUPS), help="prompts of this category only")
    parser.add_argument("--world", default="small", help="what prompts and truth are sampled from")
    parser.add_argument("--painter", default="embedded", help="as for `brushloop paint`")
    parser.add_argument("--vlm", default="embedded", help="likewise")
    parser.add_argument("--judge", type=Path, help="weights of a detector that knows the world; by default its own")
    parser.add_argument("--part", default="0/1", help="i/n: only every n-th prompt, from i on")
    arguments = parser.parse_args()
    part, parts = map(int, arguments.part.split("/"))
    categories = (arguments.category,) if arguments.category else CATEGORIES
    torch.set_num_threads(1)
    with within(arguments.world):
        studio = Studio(arguments.painter, arguments.vlm, arguments.out.with_suffix(".store"))
        judge = Judge(arguments.judge or weights_of(arguments.world))
        paint(studio, judge, arguments.number, arguments.out, part, parts, categories)
    print(table([json.loads(line) for line in arguments.out.read_text().splitlines()]))


if __name__ == "__main__":
    main()
