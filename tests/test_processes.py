"""Makings of the embedded world: layers in the artist's order, frames that lead to the finished work, no two alike."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from PIL import Image

from benchmarks import recraft
from brushloop.painter.domains import domain, domains
from brushloop.supervision import processes
from brushloop.supervision.processes import DOMAINS, Making, cut, drawing, held_out, layers_of, make
from brushloop.supervision.world import svg
from brushloop.supervision.world.worlds import current


def test_what_is_taught_is_what_the_domains_say() -> None:
    assert set(DOMAINS) == {each.name for each in domains() if each.drawn} and len(DOMAINS) >= 6


@pytest.mark.parametrize("name", DOMAINS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_frame_is_a_step_towards_the_last(name: str, seed: int) -> None:
    made = make(name, random.Random(seed), domain(name).frames, 64)
    frames = [np.asarray(frame).astype(int) for frame in made.frames]
    assert len(frames) == domain(name).frames and all(frame.shape == (64, 64, 3) for frame in frames)
    assert all((one != two).any() for one, two in itertools.pairwise(frames)), "two frames are the same"
    done = [(np.abs(frame - frames[-1]).max(-1) < 24).mean() for frame in frames]
    slack = 0.25 if name in ("icon", "sketch") else 0.08  # guides cover what comes later
    assert all(later >= earlier - slack for earlier, later in itertools.pairwise(done)), done
    assert done[-1] == 1 and done[0] < 0.97


@pytest.mark.parametrize("name", DOMAINS)
def test_any_number_of_frames_ends_with_the_same_work(name: str) -> None:
    works = [make(name, random.Random(5), frames, 48) for frames in (1, 4, 13)]
    assert [len(work.frames) for work in works] == [1, 4, 13]
    assert len({work.frames[-1].tobytes() for work in works}) == 1
    assert isinstance(works[0], Making) and works[0].prompt == works[2].prompt


def test_layers_come_in_the_order_of_the_document(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = (
        '<defs><path id="x" d="M0 0h9v9z"/></defs><rect fill="#f00" width="16" height="32"/>'
        '<g><rect fill="#0f0" x="16" width="16" height="16"/>'
        '<g><rect fill="#00f" x="16" y="16" width="16" height="16"/></g></g>'
    )
    drawn = {"view": [32, 32], "icons": {"house": layers}}
    monkeypatch.setattr(svg, "_icons", lambda style: drawn)
    for cached in (drawing, layers_of):
        cached.cache_clear()
    try:
        assert layers_of("house", "flat") == 3
        wanted = [(255, 0, 0, 255), (0, 255, 0, 255), (0, 0, 255, 255)]
        for count in range(4):
            picture = drawing("house", "flat", "paint", count, 32)
            seen = [picture.getpixel(at) for at in ((8, 16), (24, 8), (24, 24))]
            assert seen == [color if number < count else (0, 0, 0, 0) for number, color in enumerate(wanted)]
    finally:
        for cached in (drawing, layers_of):
            cached.cache_clear()


def test_bricks_rise_row_by_row() -> None:
    made = make("lego", random.Random(3), 9, 48)
    tops = []
    for frame in made.frames[1:]:
        rows = np.flatnonzero((np.asarray(frame) != np.asarray(made.frames[0])).any((1, 2)))
        tops.append(rows.min())
    assert tops == sorted(tops, reverse=True) and tops[0] > tops[-1] + 8


def test_held_out_objects_are_never_made_in_training() -> None:
    out = {thing.name for thing in current().things if held_out(thing.name)}
    assert 2 <= len(out) <= 12
    rng = random.Random(0)
    for _ in range(60):
        assert not out & set(make("emoji", rng, 1, 32).prompt.split())
        assert out & set(make("emoji", rng, 1, 32, training=False).prompt.split())


def test_a_sweep_is_a_part_of_the_way() -> None:
    before, after = Image.new("RGB", (10, 10)), Image.new("RGB", (10, 10), "white")
    shares = [np.asarray(processes.sweep(before, after, share)).mean() / 255 for share in (0, 0.25, 0.5, 1)]
    assert shares == [0, 0.25, 0.5, 1]
    assert cut([(1, lambda share: Image.new("L", (1, 1), round(share * 100)))], 4)[1].getpixel((0, 0)) == 50


def test_an_unknown_domain_is_refused() -> None:
    with pytest.raises(ValueError, match="no makings of 'cook'"):
        make("cook", random.Random(0), 9, 48)


def test_the_benchmark_knows_an_order_from_its_reverse() -> None:
    def bars(*which: int) -> Image.Image:
        picture = Image.new("RGB", (64, 64), "white")
        for number in which:
            picture.paste((200, 30 * number, 0), (8 + 12 * number, 8, 20 + 12 * number, 56))
        return picture

    true = [bars(*range(number)) for number in (1, 2, 3, 4)]
    back = [bars(*range(4 - number, 4)) for number in (1, 2, 3, 4)]
    same, turned = recraft.figures(true, true), recraft.figures(back, true)
    assert same["kept"] == turned["kept"] == turned["kept truly"] == 1
    assert same["order"] == same["by columns"] == pytest.approx(1) and abs(same["by edges"]) < 0.2
    assert turned["order"] == pytest.approx(-1) and same["soft"] > 0.8 and turned["soft"] < -0.8
    gone = [bars(0, 1), bars(0, 2), bars(0, 1, 3), bars(0, 1, 2, 3)]
    assert recraft.figures(gone, true)["kept"] == pytest.approx((0.5 + 0.5 + 1) / 3)
    assert recraft.agreement(np.zeros(5), np.arange(5.0)) == 0
