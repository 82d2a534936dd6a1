"""`brushloop process`, `recraft` and `adapters`: frames as files in order, the given picture last, one clear line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import odd
import pytest
import tiny_flux
from PIL import Image

from brushloop.cli.main import main
from brushloop.painter.adapters import files

CELLS = {"2x2": 32, "3x3": 32}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options that name a tiny base and its adapters."""
    where = tmp_path_factory.mktemp("made")
    process = tiny_flux.adapter(("emoji", "icon"), cells=CELLS)
    reader = tiny_flux.adapter(("recraft",), seed=9, cells=CELLS)
    return [
        "--painter", f"flux:{tiny_flux.folder(where / 'base')}", "--steps", "1",
        "--adapter", str(files.write(process, where / "process.safetensors")),
        "--recraft-adapter", str(files.write(reader, where / "recraft.safetensors")),
    ]  # fmt: skip


def call(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Any]:
    code = main([*words, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_process_writes_frames_in_order(capsys: pytest.CaptureFixture[str], made: list[str], tmp_path: Path) -> None:
    out = tmp_path / "frames"
    code, told = call(capsys, "process", "a cat", "--domain", "emoji", "--frames", "6", "--out", str(out), *made)
    assert code == 0 and [Path(path).name for path in told["frames"]] == [f"frame-0{n}.png" for n in range(1, 7)]
    assert len(set(told["texts"])) == 6 and all(Image.open(path).size == (32, 32) for path in told["frames"])
    assert json.loads((out / "process.json").read_text()) == told
    assert main(["export", told["id"], str(tmp_path / "guide.html")]) == 0, "it is kept as a creation as well"
    assert (tmp_path / "guide.html").read_text().count("<section") >= 6
    capsys.readouterr()
    assert told["tools"] == ["a vector editor"] and told["materials"] == ["shapes and gradients"]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_recraft_ends_with_the_given_bytes(
    capsys: pytest.CaptureFixture[str], made: list[str], tmp_path: Path, suffix: str
) -> None:
    picture = tmp_path / f"given{suffix}"
    Image.effect_noise((70, 30), 80).convert("RGB").save(picture)
    code, told = call(capsys, "recraft", str(picture), "--domain", "emoji", *made)
    assert code == 0 and len(told["frames"]) == 4
    assert Path(told["frames"][-1]).read_bytes() == picture.read_bytes()
    assert {Image.open(path).size for path in told["frames"]} == {(70, 30)}


@pytest.mark.parametrize("name", sorted(odd.TAKEN | odd.REFUSED.keys()))
def test_recraft_takes_odd_pictures_as_they_look_or_refuses_them(
    capsys: pytest.CaptureFixture[str], made: list[str], tmp_path: Path, name: str
) -> None:
    odd.pictures(tmp_path)
    code, told = call(capsys, "recraft", str(tmp_path / name), "--domain", "emoji", *made)
    if name in odd.REFUSED:
        assert code == 2 and odd.REFUSED[name] in told["error"]["message"]
        return
    *before, last = told["frames"]
    assert code == 0 and Path(last).read_bytes() == (tmp_path / name).read_bytes()
    looks = {"dot.png": (1, 1), "turned.jpg": (48, 64)}.get(name, (64, 48))
    assert {Image.open(path).size for path in before} == {looks}


def test_a_style_of_a_strength_is_laid_over(
    capsys: pytest.CaptureFixture[str], made: list[str], tmp_path: Path
) -> None:
    style = files.export(tiny_flux.adapter(("s",), seed=4), None, tmp_path / "style.safetensors")
    plain = call(capsys, "process", "a cat", "--domain", "icon", *made)[1]
    styled = call(capsys, "process", "a cat", "--domain", "icon", "--style", f"{style}:0.6", *made)[1]
    assert Path(plain["frames"][0]).read_bytes() != Path(styled["frames"][0]).read_bytes()


@pytest.mark.parametrize(
    ("words", "exit", "code", "said"),
    [
        (["process", "a cat", "--domain", "emoji"], 3, "weights", "no adapter for emoji is installed"),
        (
            ["process", "a cat", "--domain", "emoji", "--painter", "embedded:large"],
            3,
            "weights",
            "process --base embedded:large",
        ),
        (["process", "a cat", "--domain", "jade carving"], 3, "weights", "FLUX.1-dev and the public MakeAnything"),
        (["process", "a cat", "--domain", "emojy"], 2, "input", "use emoji"),
        (["process", " ", "--domain", "emoji"], 2, "prompt", "the prompt is empty"),
        (["process", "a cat", "--domain", "emoji", "--painter", "x:y"], 3, "backend", "unknown painter backend"),
        (["process", "a cat", "--domain", "emoji", "--painter", "flux:x?dtype=bf16"], 3, "backend", "write flux:x,"),
        (["recraft", "nowhere.png"], 2, "input", "there is no picture at nowhere.png"),
        (["adapters", "import", "nowhere.safetensors", "x.safetensors"], 3, "weights", "there is no adapter at"),
        (["adapters", "export", "x.safetensors", "--domain", "icon"], 3, "weights", "no trained adapter"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: list[str], exit: int,
    code: str, said: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(files, "INSTALLED", tmp_path / "none")
    found, told = call(capsys, *words)
    assert (found, told["error"]["code"]) == (exit, code) and said in told["error"]["message"]


def test_recraft_without_an_adapter_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(files, "INSTALLED", tmp_path / "none")
    Image.new("RGB", (8, 8)).save(tmp_path / "red.png")
    code, told = call(capsys, "recraft", str(tmp_path / "red.png"))
    assert code == 3 and "no adapter for illustration is installed" in told["error"]["message"]


def test_the_domains_say_what_is_trained(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(files, "INSTALLED", tmp_path)
    rows = call(capsys, "adapters", "list")[1]["domains"]
    assert len(rows) == 21 and not any(row["trained"] for row in rows) and all(row["needs"] for row in rows)
    files.write(tiny_flux.adapter(("emoji", "icon")), tmp_path / "process.safetensors")
    rows = call(capsys, "adapters", "list")[1]["domains"]
    assert {row["name"] for row in rows if row["trained"]} == {"emoji", "icon"}


def test_adapters_travel(capsys: pytest.CaptureFixture[str], made: list[str], tmp_path: Path) -> None:
    ours = made[made.index("--adapter") + 1]
    one = tmp_path / "icon.safetensors"
    code, told = call(capsys, "adapters", "export", str(one), "--domain", "emoji=0.25,icon=0.75", "--adapter", ours)
    assert code == 0 and files.read(one).domains == ("icon",) and told["rank"] == 4
    code, told = call(capsys, "adapters", "import", str(one), str(tmp_path / "again.safetensors"))
    assert code == 0 and told["layers"] == 20
    code, told = call(capsys, "adapters", "export", str(one), "--domain", "emoji=0.5", "--adapter", ours)
    assert code == 2 and "sum to 0.500" in told["error"]["message"]
    code, told = call(capsys, "adapters", "export", str(one), "--domain", "emoji=x", "--adapter", ours)
    assert code == 2 and "cannot read the mixture" in told["error"]["message"]


def test_a_guide_in_one_line(capsys: pytest.CaptureFixture[str], made: list[str], tmp_path: Path) -> None:
    picture = tmp_path / "birthday_cake.png"
    Image.effect_noise((64, 64), 80).convert("RGB").save(picture)
    for end, magic in ((".pdf", b"%PDF"), (".html", b"<!DOCTYPE html>")):
        guide = tmp_path / f"guide{end}"
        code, told = call(capsys, "recraft", str(picture), "--domain", "emoji", "--guide", str(guide), *made)
        assert code == 0 and told["guide"] == str(guide) and guide.read_bytes().startswith(magic)
    page = (tmp_path / "guide.html").read_text()
    assert ">Birthday cake</h1>" in page and page.count("data:image/") == len(told["frames"])
    assert "painted backwards" in page and "a vector editor" in page and "shapes and gradients" in page
    slides = tmp_path / "cat.ora"
    assert call(capsys, "process", "a cat", "--domain", "emoji", "--guide", str(slides), *made)[0] == 0
    assert slides.read_bytes().startswith(b"PK")


@pytest.mark.parametrize(
    ("guide", "said"), [("x.exe", "cannot tell what to make"), ("no/x.pdf", "there is no folder no")]
)
def test_a_guide_that_cannot_be_is_told_before_painting(
    capsys: pytest.CaptureFixture[str], made: list[str], tmp_path: Path, guide: str, said: str
) -> None:
    out = tmp_path / "frames"
    code, told = call(capsys, "process", "a cat", "--domain", "emoji", "--out", str(out), "--guide", guide, *made)
    assert code == 2 and said in told["error"]["message"] and not out.exists()
