"""One act of painting, as told: a whole chain, the kind of edit in it, further pictures, masks, and larger canvases."""

from __future__ import annotations

import pytest
import test_editor
import tiny_flux
from fakes import ToyPainter
from PIL import Image
from test_edit_kinds import Sorter, says

from brushloop import Studio
from brushloop.agent.once import Wish, once, outpainted
from brushloop.canvas import EditType, StopReason, Task
from brushloop.errors import InputError, PromptError, SizeError
from brushloop.painter.base import Picture
from brushloop.painter.editor.painter import EditorPainter

CANVAS = test_editor.canvas()
OTHER = Image.new("RGB", (90, 30), "red")


@pytest.fixture(scope="module")
def painter(tmp_path_factory: pytest.TempPathFactory) -> EditorPainter:
    return EditorPainter(str(tiny_flux.folder(tmp_path_factory.mktemp("base"))), test_editor.editor())


def studio(painter: object, *replies: object) -> Studio:
    return Studio(painter, Sorter(list(replies)))  # type: ignore[arg-type]


def wish(**given: object) -> Wish:
    return Wish(**{"canvas": CANVAS, "steps": 1, **given})  # type: ignore[arg-type]


def test_an_edit_is_a_whole_chain_with_its_kind_and_its_experts(painter: EditorPainter) -> None:
    made = once(studio(painter, says("tone", 0.93)), "make it evening", wish(), seed=2)
    assert [step.kind.value for step in made.steps] == ["brief", "plan", "draft", "finish"]
    brief, plan, draft, finish = made.steps
    assert brief.brief and brief.brief.task is Task.EDIT and brief.brief.size == CANVAS.size
    assert plan.settings == {"edit": "tone", "confidence": 0.93}
    assert plan.text.startswith("an edit of the kind tone (0.93)")
    assert draft.settings["path"] == "experts" and draft.model == painter.ref
    shares = [value for name, value in draft.settings.items() if name.startswith("expert_")]
    assert sum(map(float, shares)) == pytest.approx(1, abs=1e-3)
    assert made.stop_reason is StopReason.ROUNDS and finish.outputs == draft.outputs
    assert made.image and made.image.size == CANVAS.size and not made.store.verify(made.id)
    again = once(studio(painter, says("tone", 0.93)), "make it evening", wish(), seed=2)
    assert again.head == made.head, "the same picture, words and seed give the same steps, byte for byte"


def test_an_unsure_kind_takes_the_general_path(painter: EditorPainter) -> None:
    made = once(studio(painter, says("tone", 0.4)), "hm", wish())
    assert made.steps[1].settings == {"edit": "tone", "confidence": 0.4}
    assert made.steps[2].settings["path"] == "general"


def test_a_kind_that_was_not_taught_takes_the_general_path_unless_it_was_asked_for(painter: EditorPainter) -> None:
    made = once(studio(painter, says("material", 0.99)), "make it of glass", wish())
    assert made.steps[2].settings["path"] == "general"
    with pytest.raises(InputError, match="not taught the kind material"):
        once(studio(painter), "make it of glass", wish(kind=EditType.MATERIAL))


def test_no_edit_no_chain(painter: EditorPainter) -> None:
    room = studio(painter, says("none", 0.99), says("none", 0.99))
    with pytest.raises(InputError, match="no edit is asked for"):
        once(room, "what a lovely day", wish())
    with pytest.raises(PromptError):
        once(room, " ", wish())
    with pytest.raises(InputError, match=r"names \{image3\}, and 2 pictures are given"):
        once(room, "like {image3}", wish(images=(OTHER,)))
    with pytest.raises(SizeError, match="the mask is 5x5 pixels, the picture 64x48"):
        once(room, "red", wish(mask=Image.new("L", (5, 5), 255)))
    with pytest.raises(InputError, match="a mask was given without a picture"):
        once(room, "red", Wish(mask=Image.new("L", (5, 5), 255)))
    with pytest.raises(InputError, match="sketch follows a picture"):
        once(room, "red", wish(kind=EditType.SKETCH))
    assert not room.store.heads()


def test_what_is_outside_of_the_mask_stays_exactly(painter: EditorPainter) -> None:
    mask = Image.new("L", CANVAS.size, 0)
    mask.paste(255, (0, 0, 32, 48))
    made = once(studio(painter, says("remove")), "remove it", wish(mask=mask)).image
    assert made and made.crop((32, 0, 64, 48)).tobytes() == CANVAS.crop((32, 0, 64, 48)).tobytes()
    assert made.crop((0, 0, 32, 48)).tobytes() != CANVAS.crop((0, 0, 32, 48)).tobytes()


def test_sixteen_bits_and_a_turned_camera_are_read_as_they_look(painter: EditorPainter) -> None:
    deep = Image.new("I", (64, 48), 128 * 257).convert("I;16")
    mask = Image.new("L", (64, 48), 0)
    mask.paste(255, (0, 0, 8, 8))
    made = once(studio(painter, says("remove")), "remove it", wish(canvas=deep, mask=mask)).image
    assert made and made.getpixel((60, 40)) == (128, 128, 128)
    turned = CANVAS.copy()
    turned.getexif()[0x0112] = 6  # a quarter to the right
    made = once(studio(painter, says("tone")), "make it dark", wish(canvas=turned)).image
    assert made and made.size == (48, 64)


def test_further_pictures_and_a_visual_input_are_kept_in_the_chain(painter: EditorPainter) -> None:
    made = once(studio(painter), "like {image1}", wish(images=(OTHER,), kind=EditType.SKETCH, visual=OTHER))
    brief = made.steps[0].brief
    assert brief and len(brief.units[0].images) == 2
    kept = [made.store.get_image(frame) for frame in made.steps[2].inputs]
    assert [each.size for each in kept] == [CANVAS.size, OTHER.size, OTHER.size]
    assert made.steps[2].settings["visual"] == made.steps[2].inputs[-1].hash


def test_a_mask_travels_with_its_picture(painter: EditorPainter) -> None:
    part = Image.new("L", OTHER.size, 0)
    part.paste(255, (0, 0, 45, 30))
    size, words = (48, 48), "the one of {image}"
    whole = once(studio(painter), words, Wish(images=(OTHER,), size=size, steps=1))
    made = once(studio(painter), words, Wish(images=(Picture(OTHER, part),), size=size, steps=1))
    brief = made.steps[0].brief
    assert brief and brief.units[0].images[0].mask and made.image != whole.image
    with pytest.raises(SizeError, match="the mask is 5x5 pixels, the picture 90x30"):
        once(studio(painter), words, Wish(images=(Picture(OTHER, part.resize((5, 5))),), size=size))


def test_a_picture_after_others_begins_from_nothing(painter: EditorPainter) -> None:
    room = studio(painter)
    made = once(room, "the one of {image} beside {image1}", Wish(images=(OTHER, CANVAS), size=(48, 48), steps=1))
    assert made.steps[0].brief and made.steps[0].brief.task is Task.PAINT and not made.steps[0].outputs
    assert made.image and made.image.size == (48, 48)
    assert made.image != once(room, "the one of {image}", Wish(images=(OTHER,), size=(48, 48), steps=1)).image


def test_a_painter_of_canvas_and_regions_says_what_it_cannot_read() -> None:
    room = studio(ToyPainter(), says("add"))
    with pytest.raises(InputError, match="toy-painter reads no further pictures: name a painter with an editor"):
        once(room, "like {image1}", wish(images=(OTHER,)))
    made = once(room, "add a cat", wish())
    assert made.image and made.image.size == (40, 40), "its own size, if it cannot paint the picture's"


def test_a_fork_goes_on_in_the_loop(painter: EditorPainter) -> None:
    from fakes import SHORT, ToyVLM

    room = studio(ToyPainter(), says("add"))
    made = once(room, "add a cat", wish(canvas=Image.new("RGB", (40, 40), "blue")))
    loop = Studio(ToyPainter(), ToyVLM([SHORT]))
    forked = loop.fork(made.id, prompt="a cat and a red ball on a beach", budget={"rounds": 9})
    assert forked.stop_reason is StopReason.ACCEPTED


def test_an_outpainted_picture_keeps_what_was_there(painter: EditorPainter) -> None:
    canvas, mask = outpainted(CANVAS, left=50, bottom=100)
    assert canvas.size == mask.size == (96, 96)
    assert canvas.crop((32, 0, 96, 48)).tobytes() == CANVAS.tobytes()
    assert mask.crop((32, 0, 96, 48)).getextrema() == (0, 0) and mask.crop((0, 0, 32, 96)).getextrema() == (255, 255)
    made = once(studio(painter, says("outpaint")), "show more", wish(canvas=canvas, mask=mask)).image
    assert made and made.size == (96, 96) and made.crop((32, 0, 96, 48)).tobytes() == CANVAS.tobytes()
    for sides in ((0, 0, 0, 0), (-5, 0, 0, 0), (0, 101, 0, 0)):
        with pytest.raises(InputError, match="sides of"):
            outpainted(CANVAS, *sides)


def test_the_loop_names_the_kind_of_its_corrections(painter: EditorPainter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refine asks the painter's experts for the kind that the critic named, and records them."""
    from fakes import SHORT, ToyVLM, look

    from brushloop.canvas import Correction

    asked = Correction(edit=EditType.TONE, instruction="make it darker")
    monkeypatch.setattr(painter, "size", CANVAS.size)
    vlm = ToyVLM([SHORT], looks=[look("present", "present", "present", corrections=[asked])])
    made = Studio(painter, vlm).edit(CANVAS, "a cat and a red ball on a beach", budget={"rounds": 1})
    refine = next(step for step in made.steps if step.kind == "refine")
    assert refine.settings["edit"] == "tone" and refine.settings["path"] == "experts"
