"""A guide as a page: one offline HTML file, and the body that PDF, EPUB, SCORM and the gallery share."""

from __future__ import annotations

import base64
from collections.abc import Callable
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from brushloop.canvas import Frame
from brushloop.tutorial.book import Book
from brushloop.tutorial.guide import is_rtl


@cache
def room() -> Environment:
    """The templates; whatever they are given is escaped."""
    made = Environment(
        loader=PackageLoader("brushloop.tutorial", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["dir"] = lambda text: "rtl" if is_rtl(text) else "ltr"
    return made


def own(name: str) -> Markup:
    """One of our own files, as it is."""
    loader = room().loader
    assert loader is not None
    return Markup(loader.get_source(room(), name)[0].strip())


def body(book: Book, src: Callable[[Frame], str], *, inline: bool = False) -> Markup:
    """What stands in the body of a page, as XHTML. `src` gives the address of a picture, or, inline, its id."""
    return Markup(room().get_template("guide.xhtml.j2").render(guide=book.guide, src=src, inline=inline))


def page(book: Book, src: Callable[[Frame], str], *, styles: str = "dark.css", script: str = "", home: str = "") -> str:
    """A page whose pictures lie beside it, with one more of our `styles`; `script` and `home` are addresses, too."""
    return _page(book, src, script=script, home=home, inline=False, style=own("guide.css") + Markup("\n") + own(styles))


def html(book: Book) -> bytes:
    """One file that needs no other: every picture once and without loss; nothing is let in from outside."""
    ids = {frame: f"p{number}" for number, frame in enumerate(book.guide.frames)}

    def data(frame: Frame) -> str:
        media, content = book.compact(frame)
        return f"data:{media};base64,{base64.b64encode(content).decode()}"

    return _page(
        book, ids.__getitem__, inline=True, data=data, style=own("guide.css") + Markup("\n") + own("dark.css")
    ).encode()


def _page(
    book: Book,
    src: Callable[[Frame], str],
    *,
    style: str,
    inline: bool,
    data: Callable[[Frame], str] = lambda frame: "",
    script: str = "",
    home: str = "",
) -> str:
    mine, pictures = "'self' file:" if script else "'none'", "data:" if inline else "'self' file:"
    policy = (
        f"default-src 'none'; img-src {pictures}; style-src 'unsafe-inline'; "
        f"script-src {mine}; base-uri 'none'; form-action 'none'"
    )
    return (
        room()
        .get_template("page.xhtml.j2")
        .render(
            guide=book.guide,
            body=body(book, src, inline=inline),
            src=src,
            data=data,
            inline=inline,
            style=style,
            script=script,
            home=home,
            policy=policy,
        )
    )
