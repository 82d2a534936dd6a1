"""Processes on a tiny random Flux: serpentine grids, given frames, ReCraft, and any number of frames."""

from __future__ import annotations

import io
import itertools
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny_flux
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from PIL import Image
from torch import Tensor

from brushloop.errors import InputError, SizeError, WeightsError
from brushloop.painter import workshop
from brushloop.painter.adapters import files
from brushloop.painter.adapters.merge import Part
from brushloop.painter.condition import encode_condition, positions, prepare, velocity
from brushloop.painter.domains import domain, domains
from brushloop.painter.grids import Layout, Letterbox, flat
from brushloop.painter.process import ProcessPainter, caption
from brushloop.painter.recraft import recraft
from brushloop.painter.sheets import Sheet, denoise, evenly, windows
from brushloop.painter.workshop import Workshop

CELLS = {"2x2": 32, "3x3": 32}


# The domains ----------------------------------------------------------------------------------------------------


def test_the_domains_are_the_21_of_the_public_weights_in_their_order() -> None:
    names = [each.name for each in domains()]
    assert [each.index for each in domains()] == list(range(1, 22)) and len(set(names)) == 21
    assert [names[0], names[9], names[10], names[19], names[20]] == [
        "lego",
        "sketch",
        "clay toys",
        "line draw",
        "emoji",
    ]
    assert [each.layout for each in domains()] == ["3x3"] * 10 + ["2x2"] * 11
    assert sum(each.drawn for each in domains()) >= 6
    for each in domains():
        assert each.tags and each.tools and each.materials and len(set(each.steps)) == each.frames
        assert str(each.index) in each.needs


def test_a_domain_is_found_by_its_name() -> None:
    assert domain("LEGO").name == "lego" and domain("line-draw") is domain("Line draw")
    with pytest.raises(InputError, match="no domain 'lgo': use lego"):
        domain("lgo")


def test_every_frame_has_a_text_of_its_own_whatever_their_number() -> None:
    icon = domain("icon")
    assert [icon.text(n, 9) for n in range(9)] == list(icon.steps)
    for frames in (1, 2, 4, 7, 17, 30):
        texts = [icon.text(n, frames) for n in range(frames)]
        assert len(set(texts)) == frames and texts[-1].startswith(icon.steps[-1])
    assert icon.text(0, 17) == icon.steps[0] + " (1 of 2)"


# The grids ------------------------------------------------------------------------------------------------------


def colored(number: int, size: int = 8) -> Image.Image:
    return Image.new("RGB", (size, size), (number * 20 + 10, 255 - number * 20, number * 7))


def test_the_serpentine_is_that_of_the_paper_and_neighbours_touch() -> None:
    assert Layout.of("3x3").cells == ((0, 0), (0, 1), (0, 2), (1, 2), (1, 1), (1, 0), (2, 0), (2, 1), (2, 2))
    assert Layout.of("2x2").cells == ((0, 0), (0, 1), (1, 1), (1, 0))
    for name in ("3x3", "2x2", "4x3"):
        cells = Layout.of(name).cells
        assert all(abs(a - c) + abs(b - d) == 1 for (a, b), (c, d) in itertools.pairwise(cells))


@pytest.mark.parametrize("name", ["2x2", "3x3"])
def test_a_grid_is_split_into_what_it_was_assembled_of(name: str) -> None:
    layout = Layout.of(name)
    frames = [colored(number) for number in range(layout.frames)]
    grid = layout.assemble(frames)
    assert [frame.tobytes() for frame in layout.split(grid)] == [frame.tobytes() for frame in frames]
    if name == "2x2":  # the last frame is bottom left
        assert grid.getpixel((0, grid.height - 1)) == frames[-1].getpixel((0, 0))
    with pytest.raises(ValueError, match="cannot be split"):
        layout.split(grid.crop((0, 0, grid.width - 1, grid.height)))
    with pytest.raises(ValueError, match="frames of one size"):
        layout.assemble(frames[:-1])


def test_tokens_of_a_grid_are_those_of_its_frames() -> None:
    sheet = Sheet(Layout.of("3x3"), 2)
    frames = torch.randn(2, 9, 4, 5)
    grid = sheet.join(frames)
    assert grid.shape == (2, 36, 5) and torch.equal(sheet.cut(grid), frames)
    picture = grid[0].view(6, 6, 5)
    assert torch.equal(picture[2:4, 4:6].reshape(4, 5), frames[0, 3])  # the fourth frame: row 1, at the right


@pytest.mark.parametrize("size", [(64, 64), (200, 50), (33, 77), (1, 1), (3000, 7), (2, 900)])
def test_a_letterbox_gives_back_size_and_place(size: tuple[int, int]) -> None:
    box = Letterbox(size, 64)
    left, top, right, bottom = box.box
    assert 0 <= left < right <= 64 and 0 <= top < bottom <= 64 and max(right - left, bottom - top) == 64
    picture = Image.new("RGB", size, (200, 30, 60))
    cell = box.put(picture)
    assert cell.size == (64, 64) and box.take(cell).size == size
    assert box.take(cell).getextrema() == picture.getextrema()


def test_pictures_of_every_mode_are_read() -> None:
    deep = Image.new("I;16", (4, 4), 65535)
    assert flat(deep).getpixel((0, 0)) == (255, 255, 255)
    half = Image.new("I;16", (4, 4), 128 * 257)
    assert flat(half).getpixel((0, 0)) == (128, 128, 128)
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert flat(clear).getpixel((0, 0)) == (255, 255, 255)
    palette = Image.new("RGB", (4, 4), (10, 200, 30)).convert("P")
    assert flat(palette).mode == "RGB" and flat(palette).getpixel((0, 0))[1] > 150
    turned = Image.new("RGB", (4, 8), "red")
    exif = Image.Exif()
    exif[0x0112] = 6
    data = io.BytesIO()
    turned.save(data, "PNG", exif=exif)
    assert flat(Image.open(data)).size == (8, 4)


def test_windows_cover_every_frame_and_overlap() -> None:
    for size in (4, 9):
        for frames in range(1, 60):
            starts = windows(frames, size)
            assert {frame for start in starts for frame in range(start, start + size)} == set(range(max(frames, size)))
            assert all(0 < later - start < size for start, later in itertools.pairwise(starts))
    assert evenly(9, 3) == [0, 4, 8] and evenly(9, 1) == [8] and evenly(4, 9) == [0, 1, 2, 3]


# Denoising with given frames ------------------------------------------------------------------------------------


def scheduler(**config: Any) -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(**{"shift": 1.0, "use_dynamic_shifting": False, **config})


def told(seed: int = 3) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    return torch.randn(1, 5, 32), torch.randn(1, 24)


@pytest.mark.parametrize("form", ["tokens", "in_grid"])
@pytest.mark.parametrize("places", [(3,), (0, 1)])
def test_given_cells_come_out_as_they_went_in_and_are_read(form: Any, places: tuple[int, ...]) -> None:
    model, sheet = prepare(tiny_flux.transformer()), Sheet(Layout.of("2x2"), 2)
    torch.manual_seed(4)
    noise = torch.randn(1, 16, 16)
    one = {place: torch.randn(4, 16) for place in places}
    two = {place: code + 1 for place, code in one.items()}
    rest = [frame for frame in range(4) if frame not in places]
    with torch.inference_mode():
        made = [
            sheet.cut(denoise(model, scheduler(), sheet, noise, told(), blank=told(5), given=given, form=form, steps=3,
                              guidance=2.0))[0]
            for given in (one, one, two)
        ]  # fmt: skip
    for place, code in one.items():
        assert torch.equal(made[0][place], code)
    assert torch.equal(made[0], made[1])
    assert (made[0][rest] - made[2][rest]).abs().max() > 1e-4


def test_the_cached_condition_is_exact() -> None:
    """Keys and values computed once, against a full pass over the given frame in every denoising step."""
    model, sheet = prepare(tiny_flux.transformer()), Sheet(Layout.of("2x2"), 2)
    torch.manual_seed(4)
    noise, last, words = torch.randn(1, 16, 16), torch.randn(4, 16), told()
    with torch.inference_mode():
        quick = denoise(model, scheduler(), sheet, noise, words, given={3: last}, steps=4)
        ids, at = positions(4, 4), sheet.index[3]
        free = torch.tensor([token for token in range(16) if token not in at])
        x, steps = noise[:, free].clone(), scheduler()
        steps.set_timesteps(sigmas=[1, 0.75, 0.5, 0.25])
        for t in steps.timesteps:
            fresh = encode_condition(model, last[None], positions(4, 4, 1)[at])
            x = steps.step(velocity(model, x, (t / 1000)[None], *words, ids[free], fresh), t, x)[0]
    assert (quick[:, free] - x).abs().max() == 0


def test_in_grid_writes_the_cell_before_every_denoising_step() -> None:
    sheet, seen = Sheet(Layout.of("2x2"), 2), []
    model = prepare(tiny_flux.transformer())
    last = torch.full((4, 16), 7.0)
    model.register_forward_pre_hook(lambda _, args, kwargs: seen.append(kwargs["hidden_states"]), with_kwargs=True)
    with torch.inference_mode():
        denoise(model, scheduler(), sheet, torch.randn(1, 16, 16), told(), given={3: last}, form="in_grid", steps=3)
    assert len(seen) == 3 and all(torch.equal(sheet.cut(x)[0, 3], last) for x in seen)


def test_a_distilled_base_is_told_its_guidance_and_its_shift() -> None:
    model, sheet = prepare(tiny_flux.transformer(guidance=True)), Sheet(Layout.of("2x2"), 2)
    torch.manual_seed(4)
    noise, last = torch.randn(1, 16, 16), torch.randn(4, 16)
    with torch.inference_mode():
        made = [
            denoise(model, scheduler(use_dynamic_shifting=True), sheet, noise, told(), given={3: last}, steps=3,
                    guidance=scale)
            for scale in (1.0, 4.0)
        ]  # fmt: skip
    assert (made[0] - made[1]).abs().max() > 1e-5


# A whole base ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_flux.folder(tmp_path_factory.mktemp("flux")))


@pytest.fixture(scope="module")
def painter(base: str) -> ProcessPainter:
    process = tiny_flux.adapter(("icon", "emoji", "sketch"), cells=CELLS)
    return ProcessPainter(base, process, tiny_flux.adapter(("recraft",), seed=9, cells=CELLS))


def bytes_of(frames: Any) -> list[bytes]:
    return [frame.tobytes() for frame in frames]


def test_a_process_has_frames_and_texts_and_honours_its_seed(painter: ProcessPainter) -> None:
    heard: list[tuple[int, int]] = []
    one = painter.paint("a cat", domain("emoji"), seed=1, steps=2, on_denoise=lambda *done: heard.append(done))
    assert len(one.frames) == len(one.texts) == 4 and one.frames[0].size == (32, 32)
    assert heard == [(1, 2), (2, 2)]
    again = painter.paint("a cat", domain("emoji"), seed=1, steps=2)
    other = painter.paint("a cat", domain("emoji"), seed=2, steps=2)
    dog = painter.paint("a dog", domain("emoji"), seed=1, steps=2)
    assert bytes_of(one.frames) == bytes_of(again.frames)
    assert bytes_of(one.frames) != bytes_of(other.frames) and bytes_of(one.frames) != bytes_of(dog.frames)


def test_domains_differ_and_switch_without_loading(painter: ProcessPainter) -> None:
    transformer = painter.pipeline.transformer
    icon = painter.paint("a cat", domain("icon"), seed=1, steps=1)
    sketch = painter.paint("a cat", domain("sketch"), seed=1, steps=1)
    again = painter.paint("a cat", domain("icon"), seed=1, steps=1)
    assert bytes_of(icon.frames) == bytes_of(again.frames) != bytes_of(sketch.frames)
    assert painter.pipeline.transformer is transformer


@pytest.mark.parametrize("frames", [1, 3, 4, 5, 7, 12])
def test_any_number_of_frames(painter: ProcessPainter, frames: int) -> None:
    made = painter.paint("a cat", domain("emoji"), frames, seed=1, steps=1)
    assert len(made.frames) == len(set(made.texts)) == frames
    whole = painter.paint("a cat", domain("emoji"), max(frames, 4), seed=1, steps=1)
    assert made.frames[-1].tobytes() == whole.frames[-1].tobytes()


def test_a_later_grid_reads_the_frames_before_it(base: str) -> None:
    """What a first grid painted reaches the second one: its own noise and text are the same, its frames are not."""
    process = tiny_flux.adapter(("emoji", "jade carving"), cells=CELLS, size=0.2)
    reads = ProcessPainter(base, process, tiny_flux.adapter(("recraft",), seed=9, cells=CELLS, size=0.2))
    made = reads.paint("a cat", domain("emoji"), 7, seed=1, steps=2)
    sheet = Sheet(Layout.of("2x2"), 2)
    known = {3: torch.zeros(4, 16)}
    reads._grid("a cat", domain("emoji"), sheet, known, 3, 7, 1, 1, 2, 2, None, None)
    other = reads.pictures(sheet, {number: known[number] for number in (4, 5, 6)})
    assert bytes_of(other) != bytes_of(made.frames[4:])
    alone = ProcessPainter(base, process)
    with pytest.raises(WeightsError, match="more than 4 frames need an adapter"):
        alone.paint("a cat", domain("emoji"), 7)


def test_cells_of_any_size_the_base_supports(painter: ProcessPainter) -> None:
    assert painter.paint("a cat", domain("emoji"), cell=48, steps=1).frames[0].size == (48, 48)
    for cell in (40, 16, 0):
        if cell:
            with pytest.raises(SizeError, match=r"multiple of 16, such as (32|48)"):
                painter.paint("a cat", domain("emoji"), cell=cell)
    with pytest.raises(SizeError, match="more than 16384 tokens"):
        painter.paint("a cat", domain("emoji"), cell=1600)


@pytest.mark.parametrize("frames", [0, -1, 100])
def test_a_number_of_frames_out_of_range_is_refused(painter: ProcessPainter, frames: int) -> None:
    with pytest.raises(InputError, match="1 to 99 frames"):
        painter.paint("a cat", domain("emoji"), frames)


def test_a_domain_without_weights_is_told(painter: ProcessPainter) -> None:
    with pytest.raises(WeightsError, match=r"not jade carving, which needs FLUX.1-dev .* number 19"):
        painter.paint("a cat", domain("jade carving"))


def test_a_style_changes_the_domain(base: str, painter: ProcessPainter) -> None:
    style = Part(tiny_flux.adapter(("style",), seed=11), strength=0.7)
    styled = ProcessPainter(base, painter.process, painter.recraft, [style])
    plain = painter.paint("a cat", domain("emoji"), steps=1)
    made = styled.paint("a cat", domain("emoji"), steps=1)
    assert bytes_of(made.frames) != bytes_of(plain.frames)
    assert made.model.id == plain.model.id and made.model.weights != plain.model.weights, "the record tells them apart"


# ReCraft --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(64, 64), (90, 40), (17, 130), (1, 1)])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_the_given_picture_comes_back_and_all_frames_have_its_size(
    painter: ProcessPainter, size: tuple[int, int], mode: str
) -> None:
    picture = Image.effect_noise(size, 60).convert(mode)
    before = picture.tobytes()
    made = recraft(painter, picture, domain("emoji"), seed=3, steps=1)
    assert made.frames[-1] is picture and picture.tobytes() == before
    assert len(made.frames) == len(made.texts) == 4 and {frame.size for frame in made.frames} == {size}


def test_recraft_reads_the_picture_and_honours_its_seed(painter: ProcessPainter) -> None:
    one, two = Image.new("RGB", (50, 40), "red"), Image.new("RGB", (50, 40), "blue")
    first = recraft(painter, one, domain("emoji"), seed=3, steps=2).frames[:-1]
    assert bytes_of(first) == bytes_of(recraft(painter, one, domain("emoji"), seed=3, steps=2).frames[:-1])
    assert bytes_of(first) != bytes_of(recraft(painter, one, domain("emoji"), seed=4, steps=2).frames[:-1])
    assert bytes_of(first) != bytes_of(recraft(painter, two, domain("emoji"), seed=3, steps=2).frames[:-1])


@pytest.mark.parametrize("frames", [2, 4, 6, 11])
def test_recraft_into_any_number_of_frames(painter: ProcessPainter, frames: int) -> None:
    picture = Image.new("RGB", (50, 40), "red")
    made = recraft(painter, picture, domain("emoji"), frames=frames, steps=1)
    assert len(made.frames) == frames and made.frames[-1] is picture
    with pytest.raises(InputError, match="at least 2 frames"):
        recraft(painter, picture, domain("emoji"), frames=1)


def test_public_weights_write_the_picture_into_the_grid(base: str) -> None:
    public = tiny_flux.adapter(("emoji", "icon"), form="in_grid", cells=CELLS)
    painter = ProcessPainter(base, public, tiny_flux.adapter(("recraft",), seed=9, form="in_grid"))
    picture = Image.new("RGB", (40, 40), "red")
    made = recraft(painter, picture, domain("emoji"), steps=2)
    assert len(made.frames) == 4 and made.frames[-1] is picture
    assert caption("1girl", domain("portrait"), 0, 9, "in_grid").startswith("3*3 of 9 sub-images, step-by-step")


def test_without_an_adapter_it_says_what_to_do(base: str) -> None:
    with pytest.raises(WeightsError, match=r"train one .* or import the public weights"):
        ProcessPainter(base)
    with pytest.raises(WeightsError, match="no adapter that reads given frames"):
        recraft(
            ProcessPainter(base, tiny_flux.adapter(("emoji",), cells=CELLS)), Image.new("RGB", (9, 9)), domain("emoji")
        )


def test_a_distilled_base_paints_and_recrafts(tmp_path: Path) -> None:
    folder = str(tiny_flux.folder(tmp_path / "dev", guidance=True))
    painter = ProcessPainter(
        folder, tiny_flux.adapter(("emoji",), cells=CELLS), tiny_flux.adapter(("recraft",), cells=CELLS)
    )
    assert len(recraft(painter, Image.new("RGB", (9, 30)), domain("emoji"), steps=1).frames) == 4


@pytest.mark.models
def test_a_painter_of_processes_stays_loaded_for_the_next(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    opened: list[Workshop] = []
    real = Workshop.open
    monkeypatch.setattr(workshop, "_loaded", {})
    monkeypatch.setattr(Workshop, "open", lambda shop, *rest: opened.append(shop) or real(shop, *rest))

    def frames(shop: Workshop, name: str) -> list[bytes]:
        with shop.painting(domain(name), False) as painter:
            return [frame.tobytes() for frame in painter.paint("a house", domain(name), 4, seed=1, steps=2).frames]

    first, other = frames(Workshop(), "emoji"), frames(Workshop(), "sketch")
    assert frames(Workshop(), "emoji") == first != other, "what was laid over it before is gone"
    assert opened == [Workshop()]
    own = Workshop(adapter=tmp_path / "own.safetensors")
    shutil.copy(files.INSTALLED / "process.safetensors", own.adapter)
    assert frames(own, "emoji") == first
    os.utime(own.adapter, (1, 1))
    frames(own, "emoji")
    assert opened == [Workshop(), own, own], "another adapter, and another file in its place"
    with pytest.raises(WeightsError):
        frames(Workshop("flux:nowhere"), "emoji")
    assert frames(own, "emoji") == first and len(opened) == 3, "what was refused holds nobody up"
