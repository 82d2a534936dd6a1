"""The editor on edits that were held out from training, kind by kind.

    python -m benchmarks.editing paint --number 50                    every row whose files are there; goes on
    python -m benchmarks.editing table

Rows: the picture before as it is; the first stage alone (a LoRA that reads instructions, told no kind); the editor; and
editors trained as long without the learned router or without task embeddings:

    python -m brushloop.train instruct && python -m brushloop.train editor
    python -m benchmarks.editing train --without router               (and --without task)

Figures against the true picture after the edit, means over the cases of a kind: L1 (0-1); SSIM (Wang et al. 2004, over
grey values); cosine between the features that the judge's network has of both (in the manner of CLIP's, which knows no
drawn icons as well); and outside the edit's regions the mean absolute difference from the picture before, as painted
and after pasting back.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from brushloop.agent.effort import Effort
from brushloop.agent.paste import paste_back, region_mask
from brushloop.painter.adapters import files
from brushloop.painter.base import PaintRequest
from brushloop.painter.editor.model import read
from brushloop.painter.editor.painter import EditorPainter
from brushloop.supervision.judge import Judge
from brushloop.supervision.world.cases import WORLD, Case, case
from brushloop.weights import find

RUNS = Path("runs")
OUT = RUNS / "editing" / "cases.jsonl"
PARTS = ("router", "task")
"""What an ablated editor lacks: fields of its configuration (the learned router, the task embeddings)."""
ROWS = {
    "as it was": None, "first stage": RUNS / "editor", "editor": RUNS / "editor",
    **{f"without {part}": RUNS / "editing" / f"without-{part}" for part in PARTS},
}  # fmt: skip
FIGURES = ("l1", "ssim", "features", "drift", "outside")


def held_out(number: int) -> list[Case]:
    """So many cases of each kind, none of which training saw."""
    return [
        case(random.Random(f"editing/{kind.value}/{index}"), kind, training=False)
        for kind in WORLD
        for index in range(number)
    ]


class Ruler:
    """Measures a painted picture against the true one."""

    def __init__(self) -> None:
        self.network, self.margin = Judge().network, Effort().margin

    def figures(self, one: Case, painted: Image.Image) -> dict[str, float]:
        """See the head of this file. `painted` is pasted back first where the edit has regions."""
        from skimage.metrics import structural_similarity

        found: dict[str, float] = {}
        kept = painted
        if one.regions:
            kept, found["drift"] = paste_back(one.before, painted, one.regions, self.margin)
            outside = region_mask(one.regions, one.before.size, self.margin) == 0
            if outside.any():
                found["outside"] = float(np.abs(_array(kept) - _array(one.before))[outside].mean())
        ours, truth = _array(kept), _array(one.after)
        found["l1"] = float(np.abs(ours - truth).mean())
        found["ssim"] = float(structural_similarity(ours.mean(-1), truth.mean(-1), data_range=1.0))
        found["features"] = float(torch.cosine_similarity(*self._features(kept, one.after), dim=0))
        return found

    @torch.no_grad()
    def _features(self, *pictures: Image.Image) -> torch.Tensor:
        batch = torch.stack(
            [torch.from_numpy(_array(picture)).permute(2, 0, 1).float() * 2 - 1 for picture in pictures]
        )
        made: torch.Tensor = self.network.body(batch).mean((2, 3))
        return made


def _array(picture: Image.Image) -> np.ndarray:  # type: ignore[type-arg]
    return np.asarray(picture.convert("RGB"), np.float64) / 255


def paint(number: int, steps: int, rows: list[str]) -> None:
    """Paint and measure what is not measured yet."""
    OUT.parent.mkdir(parents=True, exist_ok=True)
    known = [json.loads(line) for line in OUT.read_text().splitlines()] if OUT.exists() else []
    done, ruler = {(each["row"], each["case"]) for each in known}, Ruler()
    cases = held_out(number)
    with OUT.open("a") as out:
        for row in rows:
            painter = _painter(ROWS[row])
            for at, one in enumerate(cases):
                name = f"{one.kind.value}-{at % number:02}"
                if (row, name) in done:
                    continue
                made = one.before
                if painter is not None:
                    kind = None if row == "first stage" else one.kind
                    made = painter.paint(PaintRequest(
                        one.text, at, one.before.size, one.before, one.regions, denoising_steps=steps, kind=kind,
                        visual=one.visual,
                    ))  # fmt: skip
                    if at % number < 3:
                        _sheet(row, name, one, made)
                found = {key: round(value, 5) for key, value in ruler.figures(one, made).items()}
                out.write(json.dumps({"row": row, "case": name, "kind": one.kind.value, **found}) + "\n")
                out.flush()


def _painter(folder: Path | None) -> EditorPainter | None:
    if folder is None:
        return None
    return EditorPainter(None, read(folder / "editor.safetensors"), files.read(RUNS / "instruct" / "edit.safetensors"))


def _sheet(row: str, name: str, one: Case, made: Image.Image) -> None:
    """Keep what there was, what the edit followed, what was painted, and what was wanted, side by side."""
    shown = [one.before, one.visual or Image.new("RGB", one.before.size, "white"), made, one.after]
    sheet = Image.new("RGB", (sum(each.width + 4 for each in shown), max(each.height for each in shown)), "white")
    left = 0
    for each in shown:
        sheet.paste(each.convert("RGB"), (left, 0))
        left += each.width + 4
    where = OUT.parent / "pictures" / row.replace(" ", "-")
    where.mkdir(parents=True, exist_ok=True)
    sheet.save(where / f"{name}.png")


def train(without: str, steps: int | None) -> None:
    """An editor that lacks a part, trained as the whole one was."""
    from brushloop.train import editing

    recipe = editing.EDITOR if steps is None else replace(editing.EDITOR, steps=steps)
    base = find("painter", None, ("model_index.json",)).folder
    first = RUNS / "instruct" / "edit.safetensors"
    editing.train(RUNS / "editing" / f"without-{without}", base, first, recipe, sizes={without: False})


def table() -> str:
    """Figures by kind and by row in Markdown."""
    found: dict[str, dict[str, list[Mapping[str, float]]]] = defaultdict(lambda: defaultdict(list))
    for line in OUT.read_text().splitlines():
        each = json.loads(line)
        found[each["row"]][each["kind"]].append(each)
    lines = [
        "| row | cases | L1 | SSIM | features | drift outside | after pasting back |",
        "|---|---|---|---|---|---|---|",
    ]
    for row, kinds in found.items():
        lines.append(_line(row, [each for some in kinds.values() for each in some]))
    rows = [row for row in ROWS if row in found]
    head = ["kind", *(f"L1, {row}" for row in rows), "SSIM", "features", "drift outside", "after pasting back"]
    lines += ["", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for kind, some in found["editor"].items():
        cells = [*(_mean(found[row][kind], "l1") for row in rows), *(_mean(some, figure) for figure in FIGURES[1:])]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _line(name: str, some: list[Mapping[str, float]]) -> str:
    return f"| {name} | {len(some)} | {' | '.join(_mean(some, figure) for figure in FIGURES)} |"


def _mean(some: list[Mapping[str, float]], figure: str) -> str:
    values = [each[figure] for each in some if figure in each]
    return f"{np.mean(values):.3f}" if values else ""


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "paint", "table"))
    parser.add_argument("--without", choices=PARTS, default=PARTS[0])
    parser.add_argument("--number", type=int, default=50, help="cases of each kind")
    parser.add_argument("--steps", type=int, help="denoising steps (8), or training steps (the recipe's)")
    parser.add_argument("--rows", nargs="+", choices=ROWS, help="by default all whose files are there")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.what == "train":
        train(given.without, given.steps)
    elif given.what == "paint":
        there = [name for name, folder in ROWS.items() if not folder or (folder / "editor.safetensors").is_file()]
        paint(given.number, given.steps or 8, given.rows or there)
    else:
        print(table())


if __name__ == "__main__":
    main()
