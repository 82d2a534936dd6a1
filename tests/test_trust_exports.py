"""Whatever a text says, in a document it is a text: in every field of a guide, and in every kind of document."""

from __future__ import annotations

import io
import json
import re
import zipfile
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import browsing
import payloads
import pytest
from markdown_it import MarkdownIt
from PIL import Image

from brushloop.canvas import Frame
from brushloop.errors import BackendError, InputError
from brushloop.store import Store
from brushloop.tutorial.book import Book
from brushloop.tutorial.exporters import EXPORTERS, exporter_for, rendered
from brushloop.tutorial.guide import Guide, GuideStep, Shot
from brushloop.tutorial.sharing import gallery

HTML, XHTML = "text/html; charset=utf-8", "application/xhtml+xml; charset=utf-8"
SHOWN = ("html", "markdown", "epub", "howto", "notebook", "scorm", "huggingface", "gallery")
"""Documents that a browser shows, or that become a page where they are read."""
INERT = {
    "pdf": (rb"/JavaScript", rb"/JS\b", rb"/Launch", rb"/OpenAction", rb"/URI\b", rb"/EmbeddedFile"),
    "docx": (rb'TargetMode="External"', rb"vbaProject", rb"<w:instrText"),
    "pptx": (rb'TargetMode="External"', rb"vbaProject", rb"hlinkClick"),
    "ifixit": (),
    "gif": (), "webp": (), "mp4": (), "openraster": (), "png": (),
}  # fmt: skip
"""Documents that other programs open, and what in them would act by itself or ask somebody."""


@cache
def frames() -> tuple[Store, Frame, Frame]:
    store = Store("memory://exports")
    return store, *(store.put_image(Image.new("RGB", (8, 8), color)) for color in ("red", "blue"))


def book(text: str) -> Book:
    """A guide that has this text wherever a text can be."""
    store, before, after = frames()
    words = text.strip() or "x"
    step = GuideStep(
        title=words,
        text=words,
        tip=words,
        before=Shot(frame=before, alt=words),
        after=Shot(frame=after, alt=words),
        tools=(words,),
        seconds=3,
    )
    whole = Guide(
        title=words, introduction=words, materials=(words,), tools=(words,), seconds=9, language=words, steps=(step,)
    )
    return Book(whole, store.get_image)


def pages_of(name: str, text: str) -> tuple[dict[str, tuple[str, bytes]], list[str]]:
    """Everything that belongs to a document, and which of it a browser shows."""
    given = book(text)
    files = gallery([given]) if name == "gallery" else rendered(given, exporter_for(None, name))
    if name in ("epub", "scorm"):
        (data,) = files.values()
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            files = {entry: archive.read(entry) for entry in archive.namelist()}
    made = {path: (_media(path), data) for path, data in files.items()}
    for path, data in files.items():
        if path.endswith(".md"):  # as a reader does that leaves raw HTML in, and takes a card's head for what it is
            words = re.sub(r"\A---\n.*?\n---\n", "", data.decode(), flags=re.DOTALL)
            made[f"{path}.html"] = HTML, MarkdownIt("commonmark", {"html": True}).render(words).encode()
        elif path.endswith(".ipynb"):
            cells = ["".join(cell["source"]) for cell in json.loads(data)["cells"]]
            html = MarkdownIt("commonmark", {"html": True}).render("\n\n".join(cells))
            made[f"{path}.html"] = HTML, html.encode()
        elif path.endswith(".jsonld"):
            made[f"{path}.html"] = HTML, b"<script type='application/ld+json'>" + data + b"</script>"
        elif name == "html":
            made[f"{path}.xhtml"] = XHTML, data
    return made, [path for path, (media, _) in made.items() if media in (HTML, XHTML)]


def _media(path: str) -> str:
    kinds = {
        ".html": HTML, ".xhtml": XHTML, ".js": "text/javascript", ".css": "text/css", ".png": "image/png",
        ".webp": "image/webp",
    }  # fmt: skip
    return kinds.get(Path(path).suffix, "text/plain; charset=utf-8")


class Shape(HTMLParser):
    """The tags of a page with the names of their attributes."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: set[tuple[str, tuple[str, ...]]] = set()
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add((tag, tuple(sorted(name for name, _ in attrs))))

    handle_startendtag = handle_starttag


def test_every_exporter_is_looked_at() -> None:
    assert {exporter.name for exporter in EXPORTERS} | {"gallery"} == {*SHOWN, *INERT}


@pytest.mark.parametrize("name", SHOWN)
@pytest.mark.parametrize("number", [8, pytest.param(150, marks=pytest.mark.trust)])
def test_no_text_changes_the_shape_of_a_document(name: str, number: int) -> None:
    texts = payloads.payloads()
    assert len(set(texts)) >= 150
    harmless = ["a red cat", "a red cat on a beach " * 9]  # one that fits into a title, and one that does not
    shapes: dict[str, set[tuple[str, tuple[str, ...]]]] = {}
    for text in [*harmless, *texts[:: max(1, len(texts) // number)]]:
        pages, shown = pages_of(name, text)
        assert shown
        for path in shown:
            tags, known = Shape(pages[path][1]).tags - {("br", ())}, shapes.setdefault(path, set())
            if text in harmless:
                known |= tags
            assert tags <= known, (path, text, tags - known)
            if name in ("html", "scorm", "gallery"):
                assert b"default-src 'none'" in pages[path][1] or b"default-src &#39;none&#39;" in pages[path][1]


@pytest.mark.parametrize("name", INERT)
@pytest.mark.parametrize("number", [4, pytest.param(150, marks=pytest.mark.trust)])
def test_no_text_becomes_an_action_of_a_document(name: str, number: int) -> None:
    if name in ("gif", "webp", "mp4", "openraster", "png") and number > 8:
        number = 8  # pixels, and no text
    texts, shown = payloads.payloads(), 0
    for text in texts[:: max(1, len(texts) // number)]:
        try:
            (data,) = rendered(book(text), exporter_for(None, name)).values()
        except BackendError as error:
            pytest.skip(str(error))
        except InputError as error:  # letters that no font of this machine has are refused, not boxes in a row
            assert "no font of this machine" in str(error)
            continue
        parts, shown = [data], shown + 1
        if data.startswith(b"PK"):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                assert all(not re.search(r"(^|/)\.\.(/|$)|^/|\\\\", entry) for entry in archive.namelist())
                parts = [archive.read(entry) for entry in archive.namelist()]
        for pattern in INERT[name]:
            assert not any(re.search(pattern, part) for part in parts), (text, pattern)
        if name == "openraster":  # its layers have names
            assert all(ElementTree.fromstring(part).tag == "image" for part in parts if part.startswith(b"<?xml"))
        if name in ("gif", "webp", "mp4"):
            assert not any(b"setAttribute" in part for part in parts), "no words at all"
    assert shown, "some of them were written"


@pytest.mark.trust
@pytest.mark.skipif(browsing.CHROMIUM is None, reason="no Chromium here to try the documents in")
@pytest.mark.parametrize("name", SHOWN)
def test_nothing_runs_in_a_browser_and_nothing_is_asked(name: str, tmp_path: Path) -> None:
    pages: dict[str, tuple[str, bytes]] = {}
    look: list[str] = []
    with browsing.site(pages) as (url, asked):
        texts = payloads.payloads(f"{url}/out")
        for number, text in enumerate(texts):
            made, shown = pages_of(name, text)
            pages |= {f"/{number}/{path}": file for path, file in made.items()}
            look += [f"/{number}/{path}" for path in shown]
        pages["/raw.html"] = "text/html", f"<!doctype html><p>{texts[0]}</p>".encode()
        ran = browsing.look(url, pages, [*look, "/raw.html"], tmp_path)
    outside = [
        path for path in asked if path != "/out" and not re.search(r"\.(md|ipynb)-?|pictures/|attachment:", path)
    ]
    print(f"{name}: {len(texts)} texts, {len(look)} pages, {len(ran) - 1} scripts run, {len(outside)} requests out")
    assert ran == ["/raw.html"] and asked.count("/out") == 1, "only the page without any care runs"
    assert outside == []
