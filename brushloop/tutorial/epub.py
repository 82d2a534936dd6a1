"""A guide as an EPUB 3 book, by EbookLib: a chapter a step, with alternative texts and a table of contents."""

from __future__ import annotations

import io
import uuid

from brushloop.canvas import Frame
from brushloop.tutorial.book import Book
from brushloop.tutorial.guide import Guide
from brushloop.tutorial.pages import body, own


def epub(book: Book) -> bytes:
    """EPUB bytes."""
    from ebooklib import epub as library

    guide, made = book.guide, library.EpubBook()
    made.set_identifier(f"urn:uuid:{_identity(guide)}")
    made.set_title(guide.title)
    made.set_language(guide.language)
    made.add_author("brushloop")
    for name, value in (
        ("schema:accessMode", "textual"),
        ("schema:accessMode", "visual"),
        ("schema:accessModeSufficient", "textual"),
        ("schema:accessibilityFeature", "alternativeText"),
        ("schema:accessibilityFeature", "structuralNavigation"),
        ("schema:accessibilityHazard", "none"),
    ):
        made.add_metadata(None, "meta", value, {"property": name})
    made.add_item(library.EpubItem("style", "style.css", "text/css", own("guide.css").encode()))
    for frame in guide.frames:
        made.add_item(
            library.EpubItem(f"p{frame.hash[:16]}", f"pictures/{book.file(frame)}", "image/png", book.png(frame))
        )

    def src(frame: Frame) -> str:
        return f"pictures/{book.file(frame)}"

    chapter = library.EpubHtml(title=guide.title, file_name="guide.xhtml", lang=guide.language)
    chapter.content = f"<html><body>{body(book, src)}</body></html>"
    chapter.add_link(href="style.css", rel="stylesheet", type="text/css")
    made.add_item(chapter)
    made.toc = [library.Link("guide.xhtml", guide.title, "guide")] + [
        library.Link(f"guide.xhtml#step-{number}", f"{number}. {step.title}", f"step-{number}")
        for number, step in enumerate(guide.steps, 1)
    ]
    made.add_item(library.EpubNcx())
    made.add_item(library.EpubNav())
    made.spine = ["nav", chapter]
    buffer = io.BytesIO()
    library.write_epub(buffer, made, {"raise_exceptions": True})
    return buffer.getvalue()


def _identity(guide: Guide) -> uuid.UUID:
    """The same guide has the same identifier."""
    return uuid.uuid5(uuid.NAMESPACE_OID, guide.model_dump_json())
