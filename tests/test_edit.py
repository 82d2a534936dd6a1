"""An edit of a given picture: a chain that begins with the picture, and changes it only where it may."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakes import BALL, CAT, GROUND, INK, SHORT, ToyPainter, ToyVLM, look
from PIL import Image, ImageDraw

import brushloop.agent.studio as studio_module
from brushloop import Creation, StopReason, Studio
from brushloop.canvas import StepKind, Task
from brushloop.cli.main import main
from brushloop.errors import InputError, SizeError

WISH = "a cat and a red ball on a beach"
SKY = (10, 20, 250)


def given(size: tuple[int, int] = (40, 40), cat: bool = False) -> Image.Image:
    picture = Image.new("RGB", size, SKY)
    if cat:
        ImageDraw.Draw(picture).rectangle([edge * 40 // 100 for edge in CAT], fill=INK)
    return picture


def kinds(creation: Creation) -> list[str]:
    return [step.kind.value for step in creation.steps]


def test_the_chain_begins_with_the_picture_and_only_what_is_missing_is_painted() -> None:
    studio = Studio(ToyPainter(), ToyVLM([SHORT]))
    creation = studio.edit(given(cat=True), WISH)
    assert kinds(creation) == ["brief", "plan", "reflect", "refine", "reflect", "finish"]
    brief = creation.steps[0]
    assert brief.brief and brief.brief.task is Task.EDIT and brief.outputs == (brief.brief.units[0].images[0].image,)
    assert creation.image and creation.image.getpixel((30, 30)) == INK, "the ball is painted"
    assert creation.image.getpixel((38, 2)) == SKY, "and the rest is the picture that was given"
    assert creation.stop_reason is StopReason.ACCEPTED
    assert not studio.store.verify(creation.id)


def test_a_picture_that_is_as_wanted_stays_as_it_is() -> None:
    picture = given()
    draw = ImageDraw.Draw(picture)
    draw.rectangle([edge * 40 // 100 for edge in BALL], fill=INK)
    draw.point((20, 20), fill=INK)
    vlm = ToyVLM([SHORT], looks=[look("present", "present", "present", verdict="accept")])
    creation = Studio(ToyPainter(), vlm).edit(picture, WISH)
    assert kinds(creation) == ["brief", "plan", "reflect", "finish"]
    assert creation.image and creation.image.tobytes() == picture.tobytes()


@pytest.mark.parametrize("clear", [False, True])
def test_a_mask_is_kept_to_exactly(clear: bool) -> None:
    picture, mask = given(), Image.new("L", (40, 40), 0)
    mask.paste(255, (20, 20, 40, 40))
    if clear:  # the other convention: what is transparent may change
        holes = Image.new("RGBA", (40, 40), "black")
        holes.putalpha(mask.point(lambda value: 255 - value))
        mask = holes
    creation = Studio(ToyPainter(spills=True), ToyVLM([SHORT])).edit(picture, WISH, mask, budget={"rounds": 3})
    assert creation.image
    for x in range(40):
        for y in range(40):
            if x < 20 or y < 20:
                assert creation.image.getpixel((x, y)) == SKY
    assert creation.image.getpixel((30, 30)) == INK


def test_a_redraw_begins_from_the_picture_not_from_nothing() -> None:
    painter = ToyPainter()
    missing = look("present", "missing", "missing", verdict="redraw")
    Studio(painter, ToyVLM([SHORT], looks=[missing])).edit(given(), WISH)
    first = painter.requests[0]
    assert first.canvas is not None and first.canvas.getpixel((0, 0)) == SKY


def test_an_edit_is_forked_with_a_new_instruction_from_what_was_made() -> None:
    studio = Studio(ToyPainter(), ToyVLM([SHORT]))
    creation = studio.edit(given(), WISH)
    forked = studio.fork(creation.head, "a beach")
    assert forked.brief.task is Task.EDIT and forked.hashes[: len(creation.hashes)] == creation.hashes
    again = studio.fork(creation.head)
    assert again.steps[len(creation.steps)].settings["again"] is True
    drafted = next(step for step in again.steps if step.kind is StepKind.DRAFT)
    assert drafted.inputs, "what is painted again begins from the picture given"


def test_it_resumes_to_the_same_bytes() -> None:
    whole = Studio(ToyPainter(), ToyVLM([SHORT])).edit(given(), WISH, id="whole")
    studio = Studio(ToyPainter(), ToyVLM([SHORT]))
    waiting = studio.edit(given(), WISH, id="waits", pause=["before:refine"])
    assert not waiting.finished and waiting.frame
    assert studio.resume(waiting.id).hashes == whole.hashes


def test_pictures_are_fitted_or_refused(tmp_path: Path) -> None:
    studio = Studio(ToyPainter(), ToyVLM([SHORT]))
    wide = studio.begin_edit(given((80, 40)), WISH).image
    assert wide and wide.size == (40, 40) and wide.getpixel((0, 0)) == SKY
    clear = studio.begin_edit(Image.new("RGBA", (40, 40), (9, 9, 9, 0)), WISH).image
    assert clear and clear.getpixel((0, 0)) == (255, 255, 255)
    with pytest.raises(SizeError, match="crop it"):
        studio.begin_edit(given((90, 20)), WISH)
    with pytest.raises(SizeError, match="the mask is 4x4 pixels, the picture 40x40"):
        studio.begin_edit(given(), WISH, Image.new("L", (4, 4), 255))
    with pytest.raises(InputError, match="lets nothing change"):
        studio.begin_edit(given(), WISH, Image.new("L", (40, 40), 0))
    with pytest.raises(InputError, match="no picture"):
        studio.begin_edit("apple.png", WISH)  # type: ignore[arg-type]
    assert len(studio.store.heads()) == 2, "what is refused is not recorded"


def test_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.setattr(studio_module, "open_painter", lambda name: ToyPainter())
    monkeypatch.setattr(studio_module, "open_vlm", lambda name: ToyVLM([SHORT]))
    picture, out = tmp_path / "sky.png", tmp_path / "out.png"
    given((60, 40)).save(picture)
    assert main(["edit", str(picture), WISH, "--out", str(out), "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["file"] == str(out) and Image.open(out).size == (40, 40)
    assert main(["edit", str(tmp_path / "no.png"), WISH]) == 2
    (tmp_path / "bad.png").write_bytes(picture.read_bytes()[:40])
    assert main(["edit", str(tmp_path / "bad.png"), WISH]) == 2
    (tmp_path / "text.png").write_text("no picture")
    assert main(["edit", str(tmp_path / "text.png"), WISH]) == 2
    errors = capsys.readouterr().err
    assert errors.count("error[input]") == 3 and "Traceback" not in errors
    assert GROUND not in Image.open(out).convert("RGB").get_flattened_data()
