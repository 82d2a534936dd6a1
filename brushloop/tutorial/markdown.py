"""A guide as Markdown with its pictures beside it, and the escaping that notebooks and cards share."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape
from urllib.parse import quote

from brushloop.canvas import Frame
from brushloop.tutorial.book import Book
from brushloop.tutorial.guide import Shot, is_rtl

_MARKS = re.compile(r"([\\`*_{}\[\]()#+\-.!|~>$:@])")


def plain_text(text: str) -> str:
    """Words as Markdown that shows just them: no markup, HTML, formula, link or mention comes of it."""
    lines = (_MARKS.sub(r"\\\1", escape(line.strip(), quote=False)) for line in text.splitlines())
    return "  \n".join(filter(None, lines))


def markdown(book: Book) -> dict[str, bytes]:
    """The text under the guide's name, its pictures in a folder beside it."""
    folder = f"{book.name}-pictures"
    text = written(book, lambda frame: quote(f"{folder}/{book.file(frame)}"))
    return {f"{book.name}.md": text.encode(), **book.files(folder)}


def written(book: Book, src: Callable[[Frame], str]) -> str:
    """The guide as Markdown (CommonMark); `src` gives the address of a picture."""
    return "\n\n".join(
        (opening(book), *(step(book, number, src) for number in range(len(book.guide.steps))), "")
    ).lstrip()


def opening(book: Book) -> str:
    """Title, introduction, and what one needs."""
    guide = book.guide
    parts = [f"# {_line(guide.title)}"]
    if guide.introduction:
        parts.append(_paragraph(guide.introduction))
    facts = [f"Steps: {len(guide.steps)}", f"Difficulty: {guide.difficulty}"]
    facts += [f"Time: {guide.duration}"] if guide.seconds else []
    parts.append(" · ".join(facts))
    for name, things in (("Materials", guide.materials), ("Tools", guide.tools)):
        if things:
            parts.append(f"## {name}\n\n" + "\n".join(f"- {_line(thing)}" for thing in things))
    return "\n\n".join(parts)


def step(book: Book, number: int, src: Callable[[Frame], str]) -> str:
    """One step (counted from 0) with its pictures."""
    told = book.guide.steps[number]
    parts = [f"## {number + 1}\\. {_line(told.title)}"]
    parts += [_paragraph(told.more)] if told.more else []
    if told.before:
        parts.append(f"Before:\n\n{_picture(told.before, src)}\n\nAfter:")
    parts.append(_picture(told.after, src))
    if told.tip:
        parts.append("\n".join(f"> {line}" for line in plain_text(told.tip).splitlines()))
    return "\n\n".join(parts)


def _line(text: str) -> str:
    return plain_text(" ".join(text.split()))


def _paragraph(text: str) -> str:
    return f'<div dir="rtl">\n\n{plain_text(text)}\n\n</div>' if is_rtl(text) else plain_text(text)


def _picture(shot: Shot, src: Callable[[Frame], str]) -> str:
    return f"![{_line(shot.alt)}]({src(shot.frame)})"
