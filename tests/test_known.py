"""What benchmarks.known tells of models: bounds that models which know nothing, or everything, must meet."""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path

from PIL import Image

from benchmarks import known
from brushloop.canvas import Element
from brushloop.critic.critic import Critic
from brushloop.painter.base import OnDenoise, PaintRequest
from brushloop.supervision.judge import Judge
from brushloop.supervision.world import scenes
from brushloop.supervision.world.worlds import SMALL
from brushloop.vlm import open_vlm

SHIPPED = Path("brushloop/models/painter")


def test_what_nothing_was_painted_of_is_neither_named_nor_believed() -> None:
    asked, judge, critic = known.alone(8), Judge(), Critic(open_vlm("embedded"))
    blank = [Image.new("RGB", (scenes.CANVAS, scenes.CANVAS), "white") for _ in asked]
    figures = known.named(blank, judge, asked)
    assert figures["named"] == 0
    assert figures["named as drawn"] >= 0.8
    assert {"named in flat", "named in soft"} <= set(figures)
    assert known.believed(critic, blank, judge, asked)["believed if not"] == 0
    drawn = [scenes.render(one.elements, one.style, one.variant) for one in asked]
    assert known.believed(critic, drawn, judge, asked)["believed if named"] >= 0.8


def test_each_object_is_asked_for_in_each_style() -> None:
    class Drawing:
        """Draws what is asked for, but for hats."""

        def paint_many(self, requests: list[PaintRequest], on_denoise: OnDenoise | None = None) -> list[Image.Image]:
            return [drawn(one) for one in requests]

    def drawn(request: PaintRequest) -> Image.Image:
        name = next((name for name in SMALL.by_name if f" {name}," in request.prompt), "hat")
        things = (Element(name="plain", role="background"), Element(name=name, boxes=request.regions))
        style = "soft" if "soft" in request.prompt else "flat"
        return Image.new("RGB", request.size) if name == "hat" else scenes.render(things, style, 0)

    file = io.StringIO()
    figures = known.each(Drawing(), Judge(), file)
    rows = [json.loads(line) for line in file.getvalue().splitlines()]
    assert Counter(row["object"] for row in rows) == dict.fromkeys(SMALL.by_name, 2)
    assert not any(row["named"] for row in rows if row["object"] == "hat")
    assert 0.9 < figures["objects named in most styles"] < 1


def test_the_shipped_autoencoder_keeps_its_world() -> None:
    figures = known.kept(SHIPPED / "vae", 6)
    assert 24 < figures["kept"] < 40
    assert figures["kept in things"] < figures["kept"]
