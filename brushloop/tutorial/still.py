"""The finished picture alone."""

from __future__ import annotations

from brushloop.tutorial.book import Book


def png(book: Book) -> bytes:
    """A PNG of pixels and nothing else; `Creation.export` writes one that carries its recipe."""
    return book.png(book.guide.final.frame)
