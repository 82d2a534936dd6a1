"""The figures of processes and edits: what is measured is what they are said to measure."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import islice

import pytest
from PIL import Image

pytest.importorskip("peft")

from benchmarks import asymmetric, editing
from brushloop.canvas import EditType
from brushloop.supervision.world.cases import case


def test_no_row_sees_makings_of_an_object_that_is_judged() -> None:
    for name in ("emoji", "sketch"):
        learned = things(name, 60, training=True)
        assert len(set(learned)) > 15 and not set(learned) & set(asymmetric.UNSEEN)
        judged = things(name, 18, training=False)
        assert judged == [*asymmetric.UNSEEN, *asymmetric.UNSEEN][:18], "each object as often as any other"


def things(name: str, number: int, *, training: bool) -> list[str]:
    """What so many makings show."""
    some = islice(asymmetric.makings(name, "x", training=training), number)
    return [making.prompt.partition(" ")[2] for making in some]


def test_a_making_that_comes_about_as_the_true_one_is_coherent() -> None:
    making = next(asymmetric.makings("illustration", "x", training=False))
    frames = making.frames
    assert asymmetric.coherence(frames, frames) > 0.9
    at_once = [frames[-1]] * len(frames)
    blank = [Image.new("RGB", frames[0].size, "white")] * (len(frames) - 1)
    assert asymmetric.coherence(at_once, frames) < 0.8, "nothing grows"
    assert asymmetric.coherence([*frames[:-1][::-1], frames[-1]], frames) < asymmetric.coherence(frames, frames)
    assert asymmetric.coherence([*blank, frames[-1]], frames) < 0.8


def test_true_last_frames_are_told_apart_by_the_judges_features() -> None:
    features, right = asymmetric.Features(3), 0
    makings = list(islice(asymmetric.makings("emoji", "y", training=False), 9))
    for making in makings:
        right += features.nearest(making.frames[-1], "emoji") == (making.prompt.partition(" ")[2], "emoji")
    assert right >= 7


def test_an_edit_that_is_right_measures_so() -> None:
    one, ruler = case(random.Random(1), EditType.ADD, training=False), editing.Ruler()
    right, nothing = ruler.figures(one, one.after), ruler.figures(one, one.before)
    assert right["l1"] < 0.002 and right["ssim"] > 0.98 and right["features"] > 0.99
    assert nothing["l1"] > right["l1"] and nothing["features"] < right["features"] and nothing["drift"] == 0
    noise = Image.effect_noise(one.before.size, 80).convert("RGB")
    astray = ruler.figures(one, noise)
    assert astray["drift"] > 0.1 and astray["outside"] == 0, "what lies outside is pasted back"
    everywhere = ruler.figures(replace(one, regions=()), noise)
    assert "drift" not in everywhere and everywhere["l1"] > astray["l1"]
