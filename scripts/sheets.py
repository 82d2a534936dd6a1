"""Draw the sheets in docs/img: what the world looks like, and what the painter makes of it.

python scripts/sheets.py world
python scripts/sheets.py painter [FOLDER]
python scripts/sheets.py hundred           the first hundred of the scene benchmark, as it left them in runs/bench
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

from PIL import Image

from brushloop.canvas import EditType
from brushloop.supervision.world import art, edits, scenes, words
from brushloop.supervision.world.worlds import SMALL

OUT = Path("docs/img")


def grid(pictures: list[Image.Image], columns: int, gap: int = 4) -> Image.Image:
    """Pictures of one size, row by row."""
    width, height = pictures[0].size
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * (width + gap) + gap, rows * (height + gap) + gap), "white")
    for index, picture in enumerate(pictures):
        sheet.paste(picture, (gap + index % columns * (width + gap), gap + index // columns * (height + gap)))
    return sheet


def world() -> None:
    """Every object in both styles, every colour, and scenes with their prompts."""
    things = []
    for style in SMALL.styles:
        for thing in SMALL.things:
            ratio = art.aspect(thing.name, style)
            wide, high = (44, round(44 / ratio)) if ratio >= 1 else (round(44 * ratio), 44)
            cell = Image.new("RGB", (48, 48), "white")
            drawn = art.sprite(thing.name, style, None, wide, high)
            cell.paste(drawn, ((48 - wide) // 2, (48 - high) // 2), drawn)
            things.append(cell)
    grid(things, 22, 0).save(OUT / "world-objects.png")
    rng = random.Random(1)
    shown = [scenes.sample_split(rng, True, scenes.CATEGORIES[i % 7]) for i in range(24)]
    grid([scenes.render(s.elements, s.style, s.variant) for s in shown], 8).save(OUT / "world-scenes.png")


def painter(folder: str | None) -> None:
    """Held-out prompts painted in one shot; then held-out edits: canvas, edit, and what was asked for."""
    import torch

    from brushloop.painter.base import PaintRequest
    from brushloop.painter.flux import FluxPainter

    torch.set_num_threads(1)
    made = FluxPainter(folder)
    rng = random.Random(2)
    asks, places = [], []
    for index in range(16):
        scene = scenes.sample_split(rng, False, scenes.CATEGORIES[index % 7])
        asks.append(PaintRequest(words.prompt(scene, rng)[0], index, made.size))
        step = words.plan(scene).steps[0]
        thing = words.plan(scene).elements[1]
        places.append(PaintRequest(step.instruction, index, made.size, regions=thing.boxes))
    for ask in asks:
        print(ask.prompt)
    pictures = made.paint_many(asks) + made.paint_many(places)
    grid(pictures, 8).save(OUT / "painter-prompts.png")
    kinds = [*(EditType(maker.__name__) for maker in edits.KINDS), EditType.ADD, EditType.ADD, EditType.REPLACE]
    wanted = [edits.sample(rng, False, kind) for kind in kinds for _ in (0, 1)]
    before = [scenes.render(edit.before, edit.style, edit.variant) for edit in wanted]
    after = [scenes.render(edit.after, edit.style, edit.variant) for edit in wanted]
    requests = [
        PaintRequest(edit.text, i, made.size, canvas, edit.regions)
        for i, (edit, canvas) in enumerate(zip(wanted, before, strict=True))
    ]
    for edit in wanted:
        print(edit.kind, "|", edit.text)
    painted = made.paint_many(requests)
    columns = 10
    rows = [
        row
        for i in range(0, len(wanted), columns)
        for part in (before, painted, after)
        for row in part[i : i + columns]
    ]
    grid(rows, columns).save(OUT / "painter-edits.png")


def hundred(runs: Path = Path("runs/bench")) -> None:
    """The loop's pictures of the first hundred held-out prompts, none left out; a red frame: wrong, says the judge."""
    rows = sorted((json.loads(line) for line in (runs / "scenes.jsonl").open()), key=lambda row: row["index"])[:100]
    cells = []
    for row in rows:
        cell = Image.new("RGB", (88, 88), "white" if row["loop"]["correct"] else (214, 40, 40))
        cell.paste(Image.open(runs / f"{row['index']:03d}-loop.png").resize((80, 80), Image.Resampling.LANCZOS), (4, 4))
        cells.append(cell)
        if not row["loop"]["correct"]:
            print(f"{row['index'] // 10 + 1}/{row['index'] % 10 + 1}: {row['prompt']}")
    grid(cells, 10, 0).save(OUT / "hundred.webp", quality=85)


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    if sys.argv[1] == "world":
        world()
    elif sys.argv[1] == "hundred":
        hundred()
    else:
        painter(sys.argv[2] if len(sys.argv) > 2 else None)
