"""Documents: each is read back by a reader of its format, with every step and picture and no foreign markup in it."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from guides import ARABIC, ATTACK, CHINESE, EMOJI, WORDS, files_in, painted, process_book
from lxml import etree
from PIL import Image, ImageChops

from brushloop.cli.main import main
from brushloop.creation import read_recipe
from brushloop.errors import BackendError, InputError, StoreError
from brushloop.store import Store
from brushloop.tutorial import exporters
from brushloop.tutorial.book import Book
from brushloop.tutorial.exporters import EXPORTERS, exporter_for, rendered, write
from brushloop.tutorial.guide import redacted
from brushloop.tutorial.making import book_of
from brushloop.tutorial.sharing import gallery

SHAPES = [exporter.name for exporter in EXPORTERS]

VOCABULARY = {
    "HowTo": {
        *("name", "description", "inLanguage", "educationalLevel", "image", "step", "supply", "tool", "totalTime"),
    },
    "HowToStep": {"position", "name", "text", "image", "itemListElement"},
    "HowToDirection": {"text"},
    "HowToTip": {"text"},
    "HowToSupply": {"name"},
    "HowToTool": {"name"},
    "ImageObject": {"contentUrl", "encodingFormat", "width", "height", "caption"},
    "QuantitativeValue": {"value", "unitCode"},
}
"""Properties that schema.org gives these types, as far as a guide has them; `make test-export` asks schema-dts."""


def made(book: Book, name: str) -> dict[str, bytes]:
    """The files of a document; skips where a library of the system is missing."""
    try:
        return rendered(book, exporter_for(None, name))
    except BackendError as error:
        if name == "pdf":
            pytest.skip(f"WeasyPrint's libraries of the system are not installed: {error}")
        raise


def one(book: Book, name: str) -> bytes:
    (data,) = made(book, name).values()
    return data


@pytest.fixture
def book() -> Book:
    return process_book(WORDS, tips="2 of 3 as planned; missing: a cat.")


class Tags(HTMLParser):
    """Tags and words of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data


def harmless(page: Tags) -> None:
    """No script, no handler, no address outside of the document."""
    for tag, attrs in page.tags:
        assert tag != "script" or attrs == {"src": "scorm.js"}
        for name, value in attrs.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("href", "src"):
                assert not (value or "").startswith(("http", "javascript", "//")), value


# Single documents


def test_html(book: Book) -> None:
    text = one(book, "html").decode()
    page = Tags(text)
    harmless(page)
    (policy,) = [attrs["content"] or "" for _, attrs in page.tags if "http-equiv" in attrs]
    assert "default-src 'none'; img-src data:" in policy and "script-src 'none'" in policy
    assert [attrs["id"] for tag, attrs in page.tags if tag == "section" and "step" in (attrs.get("class") or "")] == [
        f"step-{number}" for number in range(1, 10)
    ]
    pictures = [attrs for tag, attrs in page.tags if tag == "image"]
    assert len(pictures) == 9, "every picture once"
    labels = [attrs.get("aria-label") for tag, attrs in page.tags if tag == "svg" and attrs.get("role") == "img"]
    assert len(labels) == 18 and all(labels)
    for words in (CHINESE, EMOJI, "2 of 3 as planned", *(ATTACK,)):
        assert words.lower() in page.words.lower()
    assert ("h2", {"dir": "rtl"}) in page.tags
    etree.fromstring(text.encode())  # it is XHTML as well


def test_html_is_small_and_quick() -> None:
    """A guide of nine steps: at most 3 s, and at most 1.3 times the bytes of its pictures."""
    book = process_book(WORDS, side=256)
    pictures = sum(Path(Store().image_path(frame)).stat().st_size for frame in book.guide.frames)
    began = time.process_time()
    size = len(one(book, "html"))
    spent = time.process_time() - began
    print(f"{spent:.2f} s, {size / pictures:.2f} times the bytes of the pictures")
    assert spent <= 3, f"{spent:.2f} s"
    assert size <= 1.3 * pictures, f"{size} bytes for {pictures} of pictures"


def test_html_of_noise_stays_small() -> None:
    """Pictures that WebP cannot make smaller than PNG by much: the worst there is."""
    store = Store()
    noise = [Image.effect_noise((128, 128), 80).convert("RGB") for _ in range(3)]
    frames = [store.put_image(image) for image in noise]
    from brushloop.tutorial.making import process_guide

    size = len(one(Book(process_guide("noise", frames), store.get_image), "html"))
    assert size <= 1.3 * sum(Path(store.image_path(frame)).stat().st_size for frame in frames)


def test_markdown(book: Book, tmp_path: Path) -> None:
    from markdown_it import MarkdownIt

    write(book, exporter_for(None, "markdown"), tmp_path / "guide.md")
    html = MarkdownIt("commonmark", {"html": True}).render((tmp_path / "guide.md").read_text())
    page = Tags(html)
    harmless(page)
    sources = [attrs["src"] for tag, attrs in page.tags if tag == "img"]
    assert len(sources) == 17 and len(set(sources)) == 9
    for source in sources:
        Image.open(tmp_path / str(source)).load()
    assert ATTACK.lower() in page.words.lower() and EMOJI in page.words.lower()
    assert not {tag for tag, _ in page.tags} - {"h1", "h2", "p", "ul", "li", "img", "blockquote", "div", "br"}


def test_pdf(book: Book) -> None:
    import pypdf

    latin = process_book(["mix the paint", ATTACK, "finish"])
    document = pypdf.PdfReader(io.BytesIO(one(latin, "pdf")))
    text = " ".join(" ".join(page.extract_text() for page in document.pages).split())
    assert "Step 3 of 3" in text and "Mix the paint" in text and "<script>alert(1)</script>" in text
    pictures = {image.data for page in document.pages for image in page.images}
    assert len(pictures) == 3, "each picture once"
    root: Any = document.trailer["/Root"]
    assert root["/MarkInfo"]["/Marked"] and root["/Lang"] == "en"
    assert "/JavaScript" not in str(root) and "/OpenAction" not in root


def test_pdf_reads_well_or_is_refused(book: Book) -> None:
    """With fonts for its scripts the text is there; a character that no font has is named, not drawn as a box."""
    import pypdf

    try:
        document = pypdf.PdfReader(io.BytesIO(one(book, "pdf")))
    except InputError as error:
        assert "no font of this machine" in str(error) and "Noto" in str(error)
    else:
        text = "".join("".join(page.extract_text() for page in document.pages).split())
        assert CHINESE in text and "🌞" in text
    with pytest.raises(InputError, match=r"no font .* \U00016ff5|no font of this machine"):
        one(process_book(["paint \U00016ff5\ue000"]), "pdf")


def test_docx(book: Book) -> None:
    from docx import Document

    document: Any = Document(io.BytesIO(one(book, "docx")))
    words = "\n".join(paragraph.text for paragraph in document.paragraphs)
    assert ATTACK.lower() in words.lower() and CHINESE in words and EMOJI in words.lower()
    assert len(document.inline_shapes) == 17
    described = document.element.xpath("//wp:docPr/@descr")
    assert len(described) == 17 and all(described)
    (arabic,) = [p for p in document.paragraphs if ARABIC in p.text]
    assert arabic._p.xpath(".//w:bidi") and arabic._p.xpath(".//w:rtl")


def test_pptx(book: Book) -> None:
    from pptx import Presentation

    deck: Any = Presentation(io.BytesIO(one(book, "pptx")))
    assert len(deck.slides) == 10
    for slide in deck.slides:
        for shape in slide.shapes:
            assert shape.left >= 0 and shape.left + shape.width <= deck.slide_width
            assert shape.top >= 0 and shape.top + shape.height <= deck.slide_height
            if shape.shape_type == 13:
                assert shape._element.nvPicPr.cNvPr.get("descr")
    words = "\n".join(s.text_frame.text for slide in deck.slides for s in slide.shapes if s.has_text_frame)
    assert ATTACK.lower() in words.lower() and CHINESE in words and EMOJI in words.lower()
    assert "2 of 3 as planned" in deck.slides[3].notes_slide.notes_text_frame.text
    assert any(p.get("rtl") == "1" for p in deck.slides[2].shapes._spTree.iter("{*}pPr"))


def test_epub(book: Book) -> None:
    from ebooklib import ITEM_DOCUMENT, ITEM_IMAGE, epub

    data = one(book, "epub")
    read = epub.read_epub(io.BytesIO(data), {"ignore_ncx": True})
    (chapter,) = [item for item in read.get_items_of_type(ITEM_DOCUMENT) if item.file_name == "guide.xhtml"]
    page = Tags(chapter.get_content().decode())
    harmless(page)
    assert ATTACK.lower() in page.words.lower() and CHINESE in page.words
    assert len(list(read.get_items_of_type(ITEM_IMAGE))) == 9
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        first = archive.infolist()[0]
        assert first.filename == "mimetype" and first.compress_type == zipfile.ZIP_STORED
        for name in archive.namelist():
            if name.endswith((".xhtml", ".opf", ".ncx")):
                etree.fromstring(archive.read(name))


def test_howto_is_schema_org(book: Book) -> None:
    """Every property of every part is one that schema.org gives its type."""
    data = one(book, "howto")
    assert b"<" not in data, "safe in a script element"
    value = json.loads(data)
    assert value["name"] == book.guide.title and value["totalTime"] == "PT412S"

    def known(part: Any) -> None:
        if isinstance(part, list):
            for item in part:
                known(item)
        elif isinstance(part, dict):
            assert set(part) <= VOCABULARY[part["@type"]] | {"@type", "@context"}, part["@type"]
            for item in part.values():
                known(item)

    known(value)
    steps = value["step"]
    assert [step["position"] for step in steps] == list(range(1, 10)) and all(step["text"] for step in steps)
    assert steps[4]["text"].lower().startswith(ATTACK.lower())


def test_ifixit(book: Book) -> None:
    value = json.loads(one(book, "ifixit"))
    assert {"title", "introduction_raw", "difficulty", "tools", "parts", "steps"} <= set(value)
    assert [step["orderby"] for step in value["steps"]] == list(range(1, 10))
    for step in value["steps"]:
        assert step["lines"] and all(line["bullet"] in ("black", "icon_note") for line in step["lines"])
        assert step["media"]["type"] == "image" and step["media"]["data"]


def test_notebook(book: Book) -> None:
    import nbformat
    from markdown_it import MarkdownIt

    read = nbformat.reads(one(book, "notebook").decode(), as_version=4)
    nbformat.validate(read)
    assert len(read.cells) == 10
    for cell in read.cells[1:]:
        page = Tags(MarkdownIt("commonmark", {"html": True}).render(cell.source))
        harmless(page)
        named = {str(attrs["src"]).removeprefix("attachment:") for tag, attrs in page.tags if tag == "img"}
        assert named == set(cell.attachments) and named


@pytest.mark.parametrize("name", ["gif", "webp"])
def test_animations(book: Book, name: str) -> None:
    image = Image.open(io.BytesIO(one(book, name)))
    assert image.n_frames == 9 and image.size == (384, 384) and image.info["loop"] == 0
    stays = []
    for number in range(9):
        image.seek(number)
        image.load()
        stays.append(image.info["duration"])
    assert stays[-1] > stays[0]


def test_film(book: Book) -> None:
    import av

    with av.open(io.BytesIO(one(book, "mp4"))) as film:
        stream = film.streams.video[0]
        assert stream.codec_context.name == "h264" and stream.codec_context.pix_fmt == "yuv420p"
        frames = [frame.to_image() for frame in film.decode(stream)]
    last = book.image(book.guide.final.frame).resize(frames[-1].size, Image.Resampling.LANCZOS)
    difference = ImageChops.difference(frames[-1], last).convert("L").resize((1, 1), Image.Resampling.BOX)
    assert len(frames) > 90 and difference.getpixel((0, 0)) < 6


def test_openraster_has_a_layer_a_state(book: Book) -> None:
    from pyora import Project

    data = one(book, "openraster")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        first = archive.infolist()[0]
        assert (first.filename, archive.read(first)) == ("mimetype", b"image/openraster")
        stack = etree.fromstring(archive.read("stack.xml"))
        layers = stack.findall("stack/layer")
        assert [layer.get("name").split(".")[0] for layer in layers] == [str(n) for n in range(9, 0, -1)]
        canvas = Image.new("RGBA", (128, 128))
        for layer, step in zip(reversed(layers), book.guide.steps, strict=True):
            canvas.alpha_composite(Image.open(io.BytesIO(archive.read(layer.get("src")))).convert("RGBA"))
            assert canvas.convert("RGB").tobytes() == book.image(step.after.frame).tobytes(), "the state itself"
    project = Project.load(io.BytesIO(data))
    assert len(list(project.children)) == 9 and project.dimensions == (128, 128)


def test_scorm(book: Book) -> None:
    with zipfile.ZipFile(io.BytesIO(one(book, "scorm"))) as archive:
        manifest = etree.fromstring(archive.read("imsmanifest.xml"))
        spaces = {"i": "http://www.imsproject.org/xsd/imscp_rootv1p1p2"}
        assert manifest.findtext("i:metadata/i:schemaversion", namespaces=spaces) == "1.2"
        (resource,) = manifest.findall("i:resources/i:resource", spaces)
        assert resource.get("{http://www.adlnet.org/xsd/adlcp_rootv1p2}scormtype") == "sco"
        listed = {file.get("href") for file in resource.findall("i:file", spaces)}
        assert listed == set(archive.namelist()) - {"imsmanifest.xml"}
        page = Tags(archive.read("index.html").decode())
    harmless(page)
    assert {attrs["src"] for tag, attrs in page.tags if tag == "img"} <= listed


def test_hugging_face_folder(book: Book, tmp_path: Path) -> None:
    from huggingface_hub import DatasetCard

    folder = tmp_path / "data"
    write(book, exporter_for(None, "huggingface"), folder)
    card = DatasetCard.load(folder / "README.md")
    assert "brushloop" in card.data.tags and card.data.license is None
    rows = [json.loads(line) for line in (folder / "train/metadata.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 10))
    assert {path.name for path in (folder / "train").glob("*.png")} == {row["file_name"] for row in rows}
    with pytest.raises(InputError, match="not an empty folder"):
        write(book, exporter_for(None, "huggingface"), folder)


@pytest.mark.parametrize("name", SHAPES)
def test_one_step_and_any_words(name: str) -> None:
    """A guide of one step; with nothing but odd characters in it."""
    for words in (["paint"], [ATTACK], ["a\x00b\x1b[31m\u202ec\ufffe\U0001f3a8"]):
        book = process_book(words, title=words[0])
        try:
            assert all(made(book, name).values())
        except InputError as error:
            assert name == "pdf" and "no font of this machine" in str(error)


# From a creation


def test_redacted_documents_tell_nothing(tmp_path: Path, home: Path) -> None:
    """In no byte of any document: prompt, plan, style, names of models, ids, or paths."""
    creation = painted("a zebrafish on a beach with a red ball", secret="zebrafish", id="very-own-name")
    book = book_of(creation)
    secrets = ("zebrafish", "ball", "toy-painter", "very-own-name", creation.head, str(home))
    assert "zebrafish" in book.guide.model_dump_json()
    hidden = Book(redacted(book.guide), book.pixels)
    for name in SHAPES:
        for file, data in made(hidden, name).items():
            for text in _texts(file, data):
                assert not [secret for secret in secrets if secret in text.lower()], (name, file)
    assert sum(secret in "".join(_texts("x.html", one(book, "html"))).lower() for secret in secrets) >= 4, "it can fail"


def _texts(file: str, data: bytes) -> list[str]:
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return [text for name in archive.namelist() for text in _texts(name, archive.read(name))]
    if data.startswith(b"%PDF"):
        import pypdf

        document = pypdf.PdfReader(io.BytesIO(data))
        return [str(document.metadata), *(page.extract_text() for page in document.pages)]
    if data.startswith((b"\x89PNG", b"RIFF", b"GIF8")):
        image = Image.open(io.BytesIO(data))
        image.load()
        assert not image.getexif() and not set(image.info) & {"brushloop", "comment", "exif", "xmp", "icc_profile"}
    return [file, data.decode("latin-1")]


def test_gallery(tmp_path: Path) -> None:
    books = [book_of(painted(prompt, id=id), id) for id, prompt in (("one", "a cat and a ball"), ("two", ATTACK))]
    files = gallery(books)
    for name, data in files.items():
        if name.endswith(".html"):
            page = Tags(data.decode())
            harmless(page)
            for _, attrs in page.tags:
                for target in filter(None, (attrs.get("src"), attrs.get("href"))):
                    assert (Path(name).parent / target).as_posix().replace("one/../", "").replace(
                        "two/../", ""
                    ) in files
    with pytest.raises(InputError, match="nothing to show"):
        gallery([])


# The command


Run = Callable[..., tuple[int, Any, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*words: object) -> tuple[int, Any, str]:
        code = main([str(word) for word in (*words, "--json")])
        said = capsys.readouterr()
        return code, json.loads(said.out), said.err

    return call


def test_export_command(run: Run, tmp_path: Path) -> None:
    creation = painted(id="first")
    for exporter in EXPORTERS:
        path = tmp_path / f"guide{exporter.suffix or '-folder'}"
        code, value, err = run("export", "first", path, *(() if exporter.suffix else ("--format", exporter.name)))
        if code == BackendError.exit_code and exporter.name == "pdf":
            continue  # no Pango here; the message says so
        assert (code, err) == (0, ""), value
        assert value["file"] == str(path) and files_in(path)
    assert read_recipe(tmp_path / "guide.png").head == creation.head
    code, value, _ = run("export", tmp_path / "newest.html", "--redact")
    assert code == 0 and value["format"] == "html" and "cat" not in (tmp_path / "newest.html").read_text().lower()
    assert run("export", "first", tmp_path / "bare.png", "--redact")[0] == 0
    with pytest.raises(InputError, match="no brushloop recipe"):
        read_recipe(tmp_path / "bare.png")
    same = Image.open(tmp_path / "bare.png").convert("RGB").tobytes()
    assert same == Image.open(tmp_path / "guide.png").convert("RGB").tobytes()


def test_export_that_cannot_be(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(code: int, name: str, *words: object) -> str:
        got, value, _ = run("export", *words)
        assert (got, value["error"]["code"]) == (code, name), value
        return str(value["error"]["message"])

    assert "paint one first" in fails(2, "unknown_creation", tmp_path / "a.html")
    creation = painted(id="first")
    assert ".pptx" in fails(2, "input", "first", tmp_path / "a.xyz")
    assert "did you mean epub" in fails(2, "input", "first", tmp_path / "a", "--format", "epud")
    assert "let the name end in .png" in fails(2, "input", "first", tmp_path / "a", "--format", "png")
    fails(2, "unknown_creation", "nobody", tmp_path / "a.html")
    fails(4, "unwritable", "first", tmp_path / "no" / "a.html")
    assert "--redact" in fails(2, "input", "first", tmp_path / "a.html", "--redact", "--critic", "embedded")
    with monkeypatch.context() as patched:
        patched.setattr(exporters, "find_spec", lambda name: None)
        assert "brushloop[export]" in fails(3, "backend", "first", tmp_path / "a.pdf")
    bare = Store().create(Store().put_step(creation.steps[0]), "bare")
    assert "no picture yet" in fails(2, "input", bare, tmp_path / "a.html")
    assert creation.frame
    Path(creation.store.image_path(creation.frame)).write_bytes(b"harmed")
    fails(4, "corrupt_object", "first", tmp_path / "a.html")
    assert not list(tmp_path.glob("a*"))


def test_gallery_and_push_commands(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    creation = painted(id="first")
    Store().create(Store().put_step(creation.steps[0]), "bare")
    code, value, err = run("gallery", tmp_path / "site")
    assert code == 0 and value["creations"] == ["first"] and list(value["left_out"]) == ["bare"] and "bare" in err
    assert run("gallery", tmp_path / "site")[0] == 2, "not empty"
    code, value, _ = run("gallery", tmp_path / "hidden", "first", "--redact")
    texts = [path.read_text() for path in (tmp_path / "hidden").rglob("*.html")]
    assert code == 0 and len(texts) == 2 and not [text for text in texts if "first" in text or "beach" in text]
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    assert "no folder to push" in run("push", tmp_path, "me/mine")[1]["error"]["message"]
    (tmp_path / "README.md").touch()
    assert "HF_TOKEN" in run("push", tmp_path, "me/mine")[1]["error"]["message"]


def test_a_missing_picture_stops_every_document(tmp_path: Path) -> None:
    creation = painted()
    book = book_of(creation)
    Path(creation.store.image_path(book.guide.frames[0])).unlink()
    for name in SHAPES:
        if name != "png":  # which shows the last state alone
            with pytest.raises(StoreError):
                made(book_of(creation), name)
