"""The commands that make pictures from pictures: edit --once, compose, outpaint, derive, layers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import odd
import pytest
import test_editor
import tiny_flux
from fakes import ToyPainter
from PIL import Image, ImageDraw
from test_edit_kinds import Sorter, says

import brushloop.agent.studio as studio_module
from brushloop.canvas import EditType
from brushloop.cli.main import main
from brushloop.painter.editor.model import write


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Name of a painter with an editor, as people type it."""
    where = tmp_path_factory.mktemp("editor")
    tiny_flux.folder(where / "base")
    write(test_editor.editor(), where / "editor.safetensors")
    return f"flux:{where / 'base'}?editor={where / 'editor.safetensors'}"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with pictures, and a model that says what kind an edit is."""
    monkeypatch.setattr(studio_module, "open_vlm", lambda name: Sorter([says("tone", 0.9) for _ in range(9)]))
    test_editor.canvas().save(tmp_path / "picture.png")
    Image.new("RGB", (40, 40), "red").save(tmp_path / "other.png")
    mask = Image.new("L", (64, 48), 0)
    mask.paste(255, (8, 8, 40, 40))
    mask.save(tmp_path / "mask.png")
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict[str, Any]]:
    code = main([*map(str, words), "--json"])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return code, json.loads(out if code == 0 else out or err.splitlines()[-1])


def test_an_edit_as_told(files: Path, editor: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = run(
        capsys, "edit", files / "picture.png", "make it evening", "--once", "--mask", files / "mask.png", "--painter",
        editor, "--steps", 1, "--out", files / "made.png",
    )  # fmt: skip
    assert code == 0 and told["stop_reason"] == "rounds" and Path(told["file"]) == files / "made.png"
    made, before = Image.open(files / "made.png"), test_editor.canvas()
    assert made.size == (64, 48) and made.convert("RGB").getpixel((60, 40)) == before.getpixel((60, 40))
    code, steps = run(capsys, "steps", told["id"])
    assert [step["kind"] for step in steps["steps"]] == ["brief", "plan", "draft", "finish"]
    assert main(["show", told["id"]]) == 0 and main(["verify", told["id"]]) == 0
    assert main(["show", told["id"], "--html", str(files / "page.html")]) == 0
    capsys.readouterr()


def test_a_visual_input_is_given_or_derived(files: Path, editor: str, capsys: pytest.CaptureFixture[str]) -> None:
    once = ("edit", files / "picture.png", "follow it", "--once", "--kind", "sketch", "--painter", editor, "--steps", 1)
    heads = {
        run(capsys, *once, *more)[1]["image"] for more in (("--derive", "sketch"), ("--visual", files / "other.png"))
    }
    assert len(heads) == 2
    for more, said in (
        ((), "the kind sketch follows a picture"),
        (("--visual", files / "other.png", "--derive", "edge"), "were both given"),
        (("--derive", "smell"), "no visual input 'smell'"),
        (("--derive", "depth"), "depth is seen by a model"),
    ):
        code, told = run(capsys, *once, *more)
        assert code == 2 and said in json.dumps(told)


@pytest.mark.parametrize("name", sorted(odd.TAKEN | odd.REFUSED.keys()))
def test_odd_pictures_are_taken_as_they_look_or_refused(
    files: Path, editor: str, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    odd.pictures(files)
    out = files / "made.png"
    words = (files / name, "red", "--once", "--kind", "tone", "--steps", 1, "--painter", editor, "--out", out)
    code, told = run(capsys, "edit", *words)
    if name in odd.REFUSED:
        assert code == 2 and odd.REFUSED[name] in told["error"]["message"] and not out.exists()
    else:
        sizes = {"dot.png": (32, 32), "turned.jpg": (48, 64)}
        assert code == 0 and Image.open(out).size == sizes.get(name, (64, 48))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--kind", "tone"), "add --once"),
        (("--once", "--kind", "explode"), "no kind of edit 'explode': use add, remove"),
        (("--once", "--kind", "material"), "not taught the kind material"),
        (("--once", "--mask", "other.png"), "the mask is 40x40 pixels, the picture 64x48"),
        (("--once", "--image", "none.png"), "none.png"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    files: Path, editor: str, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], said: str
) -> None:
    words = [files / word if word.endswith(".png") else word for word in more]
    code, told = run(capsys, "edit", files / "picture.png", "change it", "--painter", editor, *words)
    assert code == 2 and said in json.dumps(told)


def test_a_series_goes_by_the_frames_before(files: Path, editor: str, capsys: pytest.CaptureFixture[str]) -> None:
    series = ("compose", "the next picture of {image}", "--image", files / "other.png", "--size", "48x48", "--steps", 1,
              "--painter", editor)  # fmt: skip
    code, told = run(capsys, *series, "--frames", 3)
    assert code == 0 and len({frame["image"] for frame in told["frames"]}) == 3
    pictures = []
    for frame in told["frames"]:
        made = studio_module.Studio(ToyPainter(), Sorter([])).open(frame["id"])
        brief = made.steps[0].brief
        assert brief
        pictures.append([pair.image.hash for pair in brief.units[0].images])
    assert [len(each) for each in pictures] == [1, 2, 3] and pictures[2][:2] == pictures[1]


def test_a_later_turn_goes_by_the_pictures_of_an_earlier_one(
    files: Path, editor: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--size", "48x48", "--steps", 1, "--painter", editor)
    _, first = run(capsys, "compose", "like {image}", "--image", files / "other.png", *words)
    code, second = run(capsys, "compose", "{image} and {image1}", "--after", first["id"], *words)
    assert code == 0
    made = studio_module.Studio(ToyPainter(), Sorter([])).open(second["id"])
    assert made.steps[0].brief and len(made.steps[0].brief.units[0].images) == 2
    code, told = run(capsys, "compose", "{image3}", "--after", first["id"], *words)
    assert code == 2 and "names {image3}, and 2 pictures are given" in json.dumps(told)


class Limited(ToyPainter):
    """Knows one kind of edit."""

    edits = frozenset({EditType.ADD})


def test_a_picture_goes_on_beyond_its_edges(
    files: Path, editor: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _ = run(capsys, "outpaint", files / "picture.png", "--left", 50, "--steps", 1, "--painter", editor, "--out",
                  files / "wide.png")  # fmt: skip
    wide = Image.open(files / "wide.png").convert("RGB")
    assert code == 0 and wide.size == (96, 48)
    assert wide.crop((32, 0, 96, 48)).tobytes() == test_editor.canvas().tobytes()
    code, told = run(capsys, "outpaint", files / "picture.png", "--painter", editor)
    assert code == 2 and "one above 0" in json.dumps(told)
    monkeypatch.setattr(studio_module, "open_painter", lambda name: Limited())
    code, told = run(capsys, "outpaint", files / "picture.png", "--left", 50)
    assert code == 2 and "toy-painter does no edit of the kind outpaint: it knows add" in json.dumps(told)


def test_visual_inputs_are_files(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = run(capsys, "derive", "scribble", files / "picture.png", "--out", files / "lines.png")
    assert code == 0 and told["kind"] == "scribble" and Image.open(told["file"]).size == (64, 48)
    assert run(capsys, "derive", "smell", files / "picture.png", "--out", files / "x.png")[0] == 2
    assert run(capsys, "derive", "depth", files / "picture.png", "--out", files / "x.png", "--model", "none")[0] == 3


def test_layers_are_split_and_fused(files: Path, editor: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = run(capsys, "layers", "split", files / "picture.png", "--mask", files / "mask.png", "--out",
                     files / "parts", "--subject", "ball", "--steps", 1, "--painter", editor)  # fmt: skip
    assert code == 0 and [Path(name).name for name in told["files"]] == ["subject.png", "background.png"]
    subject, behind, before = (Image.open(name) for name in (*told["files"], files / "picture.png"))
    assert subject.mode == "RGBA" and subject.getpixel((2, 2))[3] == 0 and subject.getpixel((20, 20))[3] == 255
    assert behind.getpixel((60, 44)) == before.getpixel((60, 44)) and behind.tobytes() != before.tobytes()
    fuse = ("layers", "fuse", told["files"][1], told["files"][0], "--out", files / "whole.png", "--painter", editor)
    code, _ = run(capsys, *fuse, "--at", "0,0,100,100", "--strength", 0)
    whole = Image.open(files / "whole.png").convert("RGB")
    assert code == 0 and whole.tobytes() == before.convert("RGB").tobytes(), "apart and together again"
    code, told = run(capsys, *fuse, "--at", "10,10,40,60", "--steps", 1)
    assert code == 0 and told["stop_reason"] == "rounds"
    for box in ("1,2,3", "50,0,40,100", "0,0,200,100"):
        assert run(capsys, *fuse, "--at", box)[0] == 2


def test_transparent_and_odd_pictures_are_taken(files: Path, editor: str, capsys: pytest.CaptureFixture[str]) -> None:
    clear = Image.new("RGBA", (33, 17), (0, 0, 0, 0))
    ImageDraw.Draw(clear).ellipse((5, 2, 20, 14), fill=(200, 10, 10, 255))
    clear.save(files / "clear.png")
    clear.convert("P").save(files / "palette.png")
    Image.new("RGB", (1, 1)).save(files / "dot.png")
    Image.new("RGB", (16_000, 8)).save(files / "strip.png")
    for name, expected in (("clear", 0), ("palette", 0), ("dot", 0), ("strip", 2)):
        code, _ = run(capsys, "edit", files / f"{name}.png", "red", "--once", "--steps", 1, "--painter", editor)
        assert code == expected, name
