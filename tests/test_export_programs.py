"""Documents opened by other programs: `make test-export`. What is not installed is skipped, and said."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from guides import WORDS, process_book
from PIL import Image, ImageChops

from brushloop.tutorial.book import Book
from brushloop.tutorial.exporters import exporter_for, write

pytestmark = pytest.mark.programs


@pytest.fixture
def book() -> Book:
    return process_book(WORDS, tips="2 of 3 as planned; missing: a cat.")


def run(*words: object, cwd: Path | None = None) -> str:
    """What a program said; skips where it is not installed."""
    if shutil.which(str(words[0])) is None:
        pytest.skip(f"{words[0]} is not installed")
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=280, cwd=cwd)
    assert done.returncode == 0, f"{words[0]}: {done.stdout[-1500:]}{done.stderr[-1500:]}"
    return done.stdout + done.stderr


def written(book: Book, name: str, folder: Path) -> Path:
    exporter = exporter_for(None, name)
    return write(book, exporter, folder / f"guide{exporter.suffix}")


def colours(path: Path) -> int:
    return len(Image.open(path).convert("RGB").resize((200, 200)).getcolors(40_000) or [])


def test_pdf_is_rendered(book: Book, tmp_path: Path) -> None:
    run("pdftoppm", "-r", 40, "-png", written(book, "pdf", tmp_path), tmp_path / "page")
    pages = sorted(tmp_path.glob("page*.png"))
    assert len(pages) >= 4 and all(colours(page) > 100 for page in pages), "pages with pictures"


@pytest.mark.parametrize(("name", "pages"), [("docx", 3), ("pptx", 10)])
def test_office_documents_are_rendered(book: Book, name: str, pages: int, tmp_path: Path) -> None:
    path = written(book, name, tmp_path)
    profile = f"-env:UserInstallation=file://{tmp_path}/profile"
    run("soffice", profile, "--headless", "--convert-to", "pdf", "--outdir", tmp_path / "out", path)
    run("pdftoppm", "-r", 40, "-png", tmp_path / "out" / "guide.pdf", tmp_path / "page")
    shown = sorted(tmp_path.glob("page*.png"))
    assert len(shown) >= pages and all(colours(page) > 100 for page in shown[1:])


def test_epub_is_valid(book: Book, tmp_path: Path) -> None:
    run("java", "-version")
    jars = [Path("/usr/share/java/epubcheck.jar"), Path("/usr/bin/epubcheck")]
    jar = next((path for path in jars if path.is_file()), None) or pytest.skip("epubcheck is not installed")
    assert "No errors or warnings" in run("java", "-jar", jar, written(book, "epub", tmp_path))


@pytest.mark.parametrize(("name", "codec"), [("mp4", "h264"), ("gif", "gif")])
def test_time_lapses_are_read(book: Book, name: str, codec: str, tmp_path: Path) -> None:
    asked = ("-v", "error", "-count_frames", "-show_streams", "-of", "json")
    (stream,) = json.loads(run("ffprobe", *asked, written(book, name, tmp_path)))["streams"]
    assert (stream["codec_name"], stream["width"], stream["height"]) == (codec, 384, 384)
    assert int(stream["nb_read_frames"]) >= 9


def test_krita_opens_the_layers(book: Book, tmp_path: Path) -> None:
    if shutil.which("krita") is None:
        pytest.skip("krita is not installed")
    made = tmp_path / "made.png"
    run("xvfb-run", "-a", "krita", written(book, "openraster", tmp_path), "--export", "--export-filename", made)
    image = Image.open(made).convert("RGB")
    assert ImageChops.difference(image, book.image(book.guide.final.frame)).getbbox() is None


def test_howto_has_the_types_of_schema_org(book: Book, tmp_path: Path) -> None:
    run("npm", "--version")
    asked = ("npm", "install", "--silent", "--no-audit", "--no-fund", "schema-dts", "typescript")
    if subprocess.run(asked, cwd=tmp_path, capture_output=True, timeout=200).returncode:
        pytest.skip("npm cannot install schema-dts and typescript")
    value = json.loads(written(book, "howto", tmp_path).read_text())
    for spoil, fits in ((False, True), (True, False)):
        told = json.dumps(value | ({"stepp": 1} if spoil else {}))
        code = (
            f'import type {{ HowTo, WithContext }} from "schema-dts";\nexport const it: WithContext<HowTo> = {told};\n'
        )
        (tmp_path / "it.ts").write_text(code)
        asked = ("node_modules/.bin/tsc", "--noEmit", "--strict", "--skipLibCheck", "it.ts")
        done = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, timeout=200)
        assert (done.returncode == 0) is fits, done.stdout[:1500]


def test_page_is_shown(book: Book, tmp_path: Path) -> None:
    page, shot = written(book, "html", tmp_path), tmp_path / "shot.png"
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=800,2400")
    run("chromium", *flags, f"--user-data-dir={tmp_path}/profile", f"--screenshot={shot}", page.as_uri())
    assert colours(shot) > 500
