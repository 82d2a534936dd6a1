"""Guides and creations for the tests of documents."""

from __future__ import annotations

import random
from pathlib import Path

from fakes import CAT, PLAN, ToyPainter, ToyVLM
from PIL import Image, ImageDraw

from brushloop import Creation, Studio
from brushloop.canvas import Element, PlanStep
from brushloop.store import Store
from brushloop.tutorial.book import Book
from brushloop.tutorial.making import process_guide

ATTACK = (
    """</style></script><script>alert(1)</script><img src=x onerror=alert(2)> "'&]]>--> [a](javascript:b) *c* `d` $e$"""
)
ARABIC, CHINESE, EMOJI = "أضف تفاحة حمراء", "在海滩上画一个红苹果", "a smiling sun 🌞 and a family 👨‍👩‍👧"
WORDS = ["whisk two eggs", ARABIC, CHINESE, EMOJI, ATTACK, "rotate", "Блеск и тень", "एक लाल सेब", "finish the edges"]


def scene(number: int, side: int = 128) -> Image.Image:
    """A picture with a gradient and `number` things in it."""
    grey = Image.linear_gradient("L").resize((side, side))
    image = Image.merge("RGB", [grey.point(lambda v, k=k: min(255, v // 2 + k)) for k in (120, 90, 40)])
    pen, dice = ImageDraw.Draw(image), random.Random(1)
    for _ in range(number):
        x, y, s = dice.randrange(side * 4 // 5), dice.randrange(side * 4 // 5), dice.randrange(side // 12, side // 4)
        pen.ellipse((x, y, x + s, y + s), fill=tuple(dice.randbytes(3)), outline=(20, 20, 20), width=2)
    return image


def process_book(
    words: list[str], title: str = "a red apple left of two cats", side: int = 128, tips: str = ""
) -> Book:
    """A guide of as many steps as there are words."""
    store = Store()
    frames = [store.put_image(scene(number, side)) for number in range(1, len(words) + 1)]
    guide = process_guide(title, frames, words, tool="a brush")
    steps = tuple(step.model_copy(update={"tip": tips}) for step in guide.steps)
    return Book(
        guide.model_copy(update={"steps": steps, "seconds": 412.0, "materials": ("a canvas",)}), store.get_image
    )


def painted(prompt: str = "a cat and a red ball on a beach", secret: str = "", id: str | None = None) -> Creation:
    """A creation of two states: the first try of the second one is rolled back."""
    fails = iter([False, True])
    plan = PLAN
    if secret:
        plan = PLAN.model_copy(
            update={
                "elements": (PLAN.elements[0], Element(name=secret, boxes=(CAT,)), PLAN.elements[2]),
                "steps": (PlanStep(instruction=f"paint a {secret}", expected=secret, adds=(0, 1)), PLAN.steps[1]),
                "style": secret,
            }
        )
    studio = Studio(painter=ToyPainter(fails=lambda request: next(fails, False)), vlm=ToyVLM(plans=[plan]))
    return studio.paint(prompt, seed=3, id=id)


def files_in(path: Path) -> list[Path]:
    """A document's files: itself, or all of a folder."""
    return [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
