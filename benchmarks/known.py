"""How far models know a world, also such as are still learning: each of them by itself, on what training never showed.

    python -m benchmarks.known --painter brushloop/models/painter --vae brushloop/models/painter/vae --vlm embedded
    python -m benchmarks.known --world large --painter embedded:large --vlm embedded:large

What is not named is not measured. The painter paints one thing on a background, at the place it is told, in eight
denoising steps; beside how often the judge names it there is told how often it does on the scene as it is drawn. With
both models, the critic is asked about the same pictures: how often it believes what the judge names, and the rest.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image

from brushloop.canvas import Brief, Element, Plan, PlanStep, Status
from brushloop.critic.critic import Critic
from brushloop.errors import ReplyError
from brushloop.painter.base import PaintRequest
from brushloop.painter.flux import FluxPainter
from brushloop.planner.planner import Planner
from brushloop.scale.together import Many
from brushloop.supervision.held_out import CATEGORIES, prompts
from brushloop.supervision.judge import Judge, overlap, weights_of
from brushloop.supervision.world import scenes, words
from brushloop.supervision.world.worlds import current, within
from brushloop.train.autoencoder import mean_code, to_tensor
from brushloop.train.judge import object_f1
from brushloop.vlm import VLM, open_vlm

Figures = dict[str, float]
BATCH = 8


@torch.no_grad()
def kept(folder: Path, number: int) -> Figures:
    """What an autoencoder keeps of held-out scenes: dB of whole pictures (`kept`), and inside of things by style."""
    vae, rng = AutoencoderKL.from_pretrained(folder).eval(), random.Random("kept")
    whole, inside = list[float](), dict[str, list[float]]()
    for _ in range(number):
        scene = scenes.sample_split(rng, False)
        pixels = to_tensor([np.asarray(scenes.render(scene.elements, scene.style, scene.variant))])
        error = (vae.decoder(mean_code(vae, pixels)).clamp(-1, 1) - pixels).pow(2).mean((0, 1))
        whole.append(error.mean().item())
        for box in (box for thing in scene.elements[1:] for box in thing.boxes):
            left, top, right, bottom = scenes.pixels(box)
            inside.setdefault(scene.style, []).append(error[top:bottom, left:right].mean().item())
    things = [square for squares in inside.values() for square in squares]
    named = {"kept": whole, "kept in things": things} | {f"kept in {style}": rows for style, rows in inside.items()}
    return {name: 10 * math.log10(4 / (sum(rows) / len(rows))) for name, rows in named.items()}


def alone(number: int) -> list[scenes.Scene]:
    """Held-out scenes, and of each the background and one thing."""
    rng, asked = random.Random("named"), list[scenes.Scene]()
    while len(asked) < number:
        scene = scenes.sample_split(rng, False)
        single = [thing for thing in scene.elements[1:] if thing.count == 1]
        if single:
            asked.append(scenes.Scene((scene.elements[0], rng.choice(single)), scene.style, None, scene.variant))
    return asked


def named(painted: Sequence[Image.Image], judge: Judge, asked: Sequence[scenes.Scene]) -> Figures:
    """How often the judge names the one thing that was asked for where it was asked for: painted, drawn, by style."""
    drawn = [scenes.render(one.elements, one.style, one.variant) for one in asked]
    hits = _there(judge, painted, asked)
    figures = {"named": _share(hits), "named as drawn": _share(_there(judge, drawn, asked))}
    for style in current().styles:
        figures[f"named in {style}"] = _share([hit for hit, one in zip(hits, asked, strict=True) if one.style == style])
    return figures


def believed(critic: Critic, painted: Sequence[Image.Image], judge: Judge, asked: Sequence[scenes.Scene]) -> Figures:
    """How often the critic takes the one thing for what was asked: where the judge names it, and where it does not."""
    said: dict[bool, list[bool]] = {True: [], False: []}
    for number, (picture, scene, hit) in enumerate(zip(painted, asked, _there(judge, painted, asked), strict=True)):
        brief = Brief(prompt=words.prompt(scene, random.Random(number), training=False)[0])
        step = PlanStep(instruction=_begin(scene), adds=(0, 1))
        plan = Plan(elements=scene.elements, steps=(step,), style=scene.style)
        said[hit].append(critic.reflect(brief, plan, 0, picture).value.findings[1].status is Status.PRESENT)
    return {"believed if named": _share(said[True]), "believed if not": _share(said[False])}


def each(painter: Many, judge: Judge, file: TextIO) -> Figures:
    """One picture of every object in every style, a row of `file` each; the share of objects named in most styles."""
    rng, asked = random.Random("each"), list[scenes.Scene]()
    for name in current().by_name:
        for style in current().styles:
            box = scenes.free_box(rng, rng.choice(LARGER), [])
            ground = Element(name=rng.choice(current().backgrounds), role="background")
            things = (ground, Element(name=name, boxes=(box,) if box else ()))
            asked.append(scenes.Scene(things, style, None, rng.randrange(16)))
    right = Counter[str]()
    for picture, scene in zip(_painted(painter, asked), asked, strict=True):
        thing, (hit,) = scene.elements[1].name, _there(judge, [picture], [scene])
        right[thing] += hit
        file.write(json.dumps({"object": thing, "style": scene.style, "named": hit}) + "\n")
        file.flush()
    most = [right[name] > len(current().styles) / 2 for name in current().by_name]
    return {"objects named in most styles": _share(most)}


LARGER = ("medium", "large")
"""Sizes at which an object can be told by how it is painted."""


def planned(vlm: VLM, number: int) -> Figures:
    """How often a plan has every thing of the prompt, its number and its colour; groups of things are told apart."""
    planner, figures = Planner(vlm), Figures()
    for name, categories in (("planned", CATEGORIES), ("planned for groups", (scenes.GROUPS,))):
        hits = []
        for _, prompt, scene in prompts(number, categories=categories):
            try:
                hits.append(_things(planner.plan(Brief(prompt=prompt)).value.elements) == _things(scene.elements))
            except ReplyError:
                hits.append(False)
        figures[name] = _share(hits)
    return figures


def _begin(scene: scenes.Scene) -> str:
    return words.begin(scene.elements[0], scene.elements[1], scene.style)


def _painted(painter: Many, asked: Sequence[scenes.Scene]) -> Iterator[Image.Image]:
    """Each scene's background and first thing, as a painter begins with them."""
    side = scenes.CANVAS, scenes.CANVAS
    for start in range(0, len(asked), BATCH):
        some = asked[start : start + BATCH]
        requests = [
            PaintRequest(_begin(one), seed, side, regions=one.elements[1].boxes, denoising_steps=8)
            for seed, one in enumerate(some, start)
        ]
        yield from painter.paint_many(requests)


def _there(judge: Judge, pictures: Sequence[Image.Image], asked: Sequence[scenes.Scene]) -> list[bool]:
    return [
        any(seen.name == thing.name and overlap(seen.box, thing.boxes[0]) > 0.2 for seen in sight.objects)
        for sight, thing in zip(judge.look(pictures), (scene.elements[1] for scene in asked), strict=True)
    ]


def _things(elements: Sequence[Element]) -> Counter[tuple[str, int, str | None]]:
    return Counter((one.name, one.count, one.color) for one in elements if one.role == "object")


def _share(hits: Sequence[bool]) -> float:
    return sum(hits) / max(1, len(hits))


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", default="small")
    parser.add_argument("--number", type=int, default=128, help="scenes or prompts for each figure")
    parser.add_argument("--vae", type=Path, help="folder of an autoencoder")
    parser.add_argument("--judge", type=Path, help="weights of the detector that names; by default the world's")
    parser.add_argument("--painter", help="folder of a painter, or embedded:SET")
    parser.add_argument("--each", type=Path, metavar="FILE", help="a row for each object and style, of that painter")
    parser.add_argument("--vlm", help="a vision-language model, as for `brushloop paint`")
    given = parser.parse_args()
    figures = Figures()
    torch.set_num_threads(1)
    with within(given.world):
        judge = Judge(given.judge or weights_of(given.world))
        judge.must_know(current())
        figures |= {f"judge's {name}": figure for name, figure in object_f1(judge.weights, given.number).items()}
        if given.vae:
            figures |= kept(given.vae, given.number)
        if given.painter:
            painter, asked = FluxPainter(given.painter), alone(given.number)
            painted = list(_painted(painter, asked))
            figures |= named(painted, judge, asked)
            if given.vlm:
                figures |= believed(Critic(open_vlm(given.vlm)), painted, judge, asked)
            if given.each:
                with given.each.open("w") as file:
                    figures |= each(painter, judge, file)
        if given.vlm:
            figures |= planned(open_vlm(given.vlm), given.number)
    for name, figure in figures.items():
        print(f"{name:20} {figure:.3f}")


if __name__ == "__main__":
    main()
