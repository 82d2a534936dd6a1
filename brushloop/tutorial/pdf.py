"""A guide as a tagged PDF, set by WeasyPrint from the same page as the HTML.

A document with boxes in place of letters helps nobody: where no font of this machine has a character, the export
is refused and says which characters those are.
"""

from __future__ import annotations

import logging
import threading
import unicodedata
from typing import Any

from brushloop.canvas import Frame
from brushloop.errors import InputError
from brushloop.tutorial.book import Book
from brushloop.tutorial.pages import page

FONTS = "for example the fonts Noto Sans, Noto Sans CJK and Noto Color Emoji"

_ONE_AT_A_TIME = threading.Lock()
"""The log that is listened to belongs to the whole process."""


def pdf(book: Book) -> bytes:
    """PDF bytes (PDF/UA tags, pictures without loss).

    Raises:
        InputError: no font of this machine has a character of the guide.
    """
    import weasyprint
    from weasyprint.urls import URLFetcher, URLFetcherResponse

    frames = {f"picture:{frame.hash}": frame for frame in book.guide.frames}

    def src(frame: Frame) -> str:
        return f"picture:{frame.hash}"

    class Fetcher(URLFetcher):
        """Gives the pictures of this guide, and nothing else of this machine or the network."""

        def fetch(self, url: str, headers: Any = None) -> Any:
            if url not in frames:
                raise ValueError(f"a guide has no business with {url[:80]}")
            return URLFetcherResponse(url, book.png(frames[url]), {"Content-Type": "image/png"})

    for frame in book.guide.frames:  # what is missing in the store is told here: WeasyPrint would leave it out
        book.png(frame)
    text = page(book, src, styles="print.css")
    with _Missing() as missing:
        made = weasyprint.HTML(string=text, url_fetcher=Fetcher(), base_url="picture:").write_pdf(
            pdf_variant="pdf/ua-1"
        )
    if missing.chars:
        names = ", ".join(f"{char} ({unicodedata.name(char, 'unnamed')})" for char in sorted(missing.chars)[:4])
        raise InputError(
            f"no font of this machine has {len(missing.chars)} of the characters, such as {names}: install one that "
            f"does, {FONTS}, or export to HTML or DOCX, which use the reader's fonts"
        )
    assert made is not None and not missing.pictures, missing.pictures
    return made


class _Missing(logging.Handler):
    """Hears which characters no font has, and which pictures are left out; WeasyPrint tells it in its log alone."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.chars: set[str] = set()
        self.pictures: list[str] = []
        self._log = logging.getLogger("weasyprint")

    def emit(self, record: logging.LogRecord) -> None:
        if "notdef" in record.msg and record.args:
            said = str(record.args[0] if isinstance(record.args, tuple) else record.args)
            self.chars |= set(said)
        elif record.levelno >= logging.ERROR:
            self.pictures.append(record.getMessage())

    def __enter__(self) -> _Missing:
        _ONE_AT_A_TIME.acquire()
        self._before = self._log.level, self._log.propagate, self._log.handlers[:]
        self._log.handlers, self._log.propagate = [self], False
        self._log.setLevel(logging.WARNING)
        return self

    def __exit__(self, *_: object) -> None:
        level, self._log.propagate, self._log.handlers = self._before
        self._log.setLevel(level)
        _ONE_AT_A_TIME.release()
