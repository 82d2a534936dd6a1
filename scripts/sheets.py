"""Draw the sheets in docs/img: what the world looks like, and what the painter makes of it.

python scripts/sheets.py world
python scripts/sheets.py large             the large world: objects in all styles, places, scenes
python scripts/sheets.py painter [FOLDER]
python scripts/sheets.py editor            one case of each kind, as `benchmarks.editing paint` left it in runs/editing
python scripts/sheets.py process           pictures taken back to the steps before them, and processes from text
python scripts/sheets.py hundred           the first hundred of the scene benchmark, as it left them in runs/bench
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

from PIL import Image

from brushloop.canvas import EditType
from brushloop.supervision.world import art, backdrops, edits, scenes, words
from brushloop.supervision.world.cases import WORLD
from brushloop.supervision.world.worlds import LARGE, SMALL, only

OUT = Path("docs/img")


def grid(pictures: list[Image.Image], columns: int, gap: int = 4) -> Image.Image:
    """Pictures of one size, row by row."""
    width, height = pictures[0].size
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * (width + gap) + gap, rows * (height + gap) + gap), "white")
    for index, picture in enumerate(pictures):
        sheet.paste(picture, (gap + index % columns * (width + gap), gap + index // columns * (height + gap)))
    return sheet


def cell(name: str, style: str, side: int = 48) -> Image.Image:
    """An object on paper, its longer side four pixels less than the paper's."""
    ratio, long = art.aspect(name, style), side - 4
    wide, high = (long, round(long / ratio)) if ratio >= 1 else (round(long * ratio), long)
    paper = Image.new("RGB", (side, side), "white")
    drawn = art.sprite(name, style, None, wide, high)
    paper.paste(drawn, ((side - wide) // 2, (side - high) // 2), drawn)
    return paper


def world() -> None:
    """Every object in both styles, and scenes."""
    things = [cell(thing.name, style) for style in SMALL.styles for thing in SMALL.things]
    grid(things, 22, 0).save(OUT / "world-objects.png")
    rng = random.Random(1)
    shown = [scenes.sample_split(rng, True, scenes.CATEGORIES[i % 7]) for i in range(24)]
    grid([scenes.render(s.elements, s.style, s.variant) for s in shown], 8).save(OUT / "world-scenes.png")


def editor() -> None:
    """Of each kind of edit what there was, what it followed, what was painted and what was wanted, in two columns."""
    tiles = [Image.open(f"runs/editing/pictures/editor/{kind.value}-00.png") for kind in WORLD]
    half = len(tiles) // 2
    across = [tile for pair in zip(tiles[:half], tiles[half:], strict=True) for tile in pair]
    grid(across, 2, 8).save(OUT / "editor.webp", quality=82)


def large() -> None:
    """Every object in every style side by side, every background, and scenes with their prompts."""
    things = [cell(thing.name, style, 28) for thing in LARGE.things for style in LARGE.styles]
    grid(things, 40, 0).save(OUT / "large-objects.webp", quality=58, method=6)
    places = [backdrops.backdrop(name, variant, 64) for variant in (1, 6) for name in LARGE.backgrounds]
    grid(places, 9, 2).save(OUT / "large-places.webp", quality=80, method=6)
    rng, shown = random.Random(1), []
    with only(LARGE):
        for index in range(24):
            scene = scenes.sample_split(rng, True, scenes.CATEGORIES[index % 7])
            shown.append(scenes.render(scene.elements, scene.style, scene.variant))
            print(words.prompt(scene, rng)[0])
    grid(shown, 8).save(OUT / "large-scenes.webp", quality=80, method=6)


def painter(folder: str | None = None) -> None:
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


def process() -> None:
    """Of two held-out objects a domain the true making and, below it, what recraft paints; then three from text."""
    from brushloop.painter.domains import domain
    from brushloop.painter.recraft import recraft
    from brushloop.painter.workshop import Workshop
    from brushloop.supervision.processes import make
    from brushloop.train.process import CELLS

    blank, lines = Image.new("RGB", (72, 72), "white"), list[list[Image.Image]]()
    for name in ("illustration", "icon", "emoji"):
        kind, rng = domain(name), random.Random(f"recraft/{name}")
        with only(LARGE):
            true = [make(name, rng, kind.frames, CELLS[kind.layout], training=False) for _ in range(2)]
        painter = Workshop().open(kind, reads=True)
        made = [recraft(painter, each.frames[-1], kind, "", seed=seed) for seed, each in enumerate(true)]
        print(name, *(each.prompt for each in true), sep=", ")
        if kind.frames == 9:
            lines += [list(each.frames) for pair in zip(true, made, strict=True) for each in pair]
        else:
            lines += [[*one.frames, blank, *two.frames] for one, two in (true, made)]
    for name, *prompts in (("emoji", "a house", "a cat"), ("lego", "a car"), ("illustration", "a rocket")):
        painter = Workshop().open(domain(name), reads=False)
        frames = [painter.paint(prompt, domain(name), seed=1).frames for prompt in prompts]
        lines.append([*frames[0], blank, *frames[1]] if len(frames) == 2 else list(frames[0]))
    cells = [each.resize((72, 72), Image.Resampling.LANCZOS) for line in lines for each in line]
    grid(cells, 9).save(OUT / "process.png")


def hundred(runs: str = "runs/bench", name: str = "hundred") -> None:
    """The loop's pictures of the first hundred held-out prompts, none left out; a red frame: wrong, says the judge."""
    made = Path(runs)
    rows = sorted((json.loads(line) for line in (made / "scenes.jsonl").open()), key=lambda row: row["index"])[:100]
    cells = []
    for row in rows:
        cell = Image.new("RGB", (88, 88), "white" if row["loop"]["correct"] else (214, 40, 40))
        cell.paste(Image.open(made / f"{row['index']:03d}-loop.png").resize((80, 80), Image.Resampling.LANCZOS), (4, 4))
        cells.append(cell)
        if not row["loop"]["correct"]:
            print(f"{row['index'] // 10 + 1}/{row['index'] % 10 + 1}: {row['prompt']}")
    grid(cells, 10, 0).save(OUT / f"{name}.webp", quality=85)


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    drawn = {"world": world, "large": large, "editor": editor, "hundred": hundred}
    drawn |= {"painter": painter, "process": process}
    drawn[sys.argv[1]](*sys.argv[2:])
