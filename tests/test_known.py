"""What benchmarks.known tells of models: bounds that models which know nothing, or everything, must meet."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from benchmarks import known
from brushloop.painter.base import OnDenoise, PaintRequest
from brushloop.supervision.judge import Judge

SHIPPED = Path("brushloop/models/painter")


class Blank:
    """Paints nothing."""

    def paint_many(self, requests: list[PaintRequest], on_denoise: OnDenoise | None = None) -> list[Image.Image]:
        return [Image.new("RGB", one.size, "white") for one in requests]


def test_what_nothing_was_painted_of_is_not_named() -> None:
    figures = known.named(Blank(), Judge(), 8)
    assert figures["named"] == 0
    assert figures["named as drawn"] >= 0.8
    assert {"named in flat", "named in soft"} <= set(figures)


def test_the_shipped_autoencoder_keeps_its_world() -> None:
    figures = known.kept(SHIPPED / "vae", 6)
    assert 24 < figures["kept"] < 40
    assert figures["kept in things"] < figures["kept"]
