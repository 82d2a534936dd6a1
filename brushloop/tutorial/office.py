"""A guide as a text document (python-docx) and as slides (python-pptx).

Both leave the choice of fonts to whoever opens them; text from right to left is marked as such.
"""

from __future__ import annotations

import io
from typing import Any

from brushloop.tutorial.book import Book
from brushloop.tutorial.guide import GuideStep, Shot, is_rtl


def docx(book: Book) -> bytes:
    """A Word document (Office Open XML)."""
    from docx import Document
    from docx.shared import Cm

    guide, document = book.guide, Document()
    _about(document, book)
    _say(document.add_heading(level=0), guide.title)
    if guide.introduction:
        _say(document.add_paragraph(), guide.introduction)
    _say(document.add_paragraph(), _facts(book))
    for name, things in (("Materials", guide.materials), ("Tools", guide.tools)):
        if things:
            document.add_heading(name, level=2)
        for thing in things:
            _say(document.add_paragraph(style="List Bullet"), thing)
    for number, step in enumerate(guide.steps, 1):
        _say(document.add_heading(level=1), f"{number}. {step.title}", step.title)
        if step.more:
            paragraph = document.add_paragraph()
            paragraph.paragraph_format.keep_with_next = True
            _say(paragraph, step.more)
        shots = _shots(step)
        table = document.add_table(rows=2, cols=len(shots))
        for column, (caption, shot) in enumerate(shots):
            cell = table.cell(0, column).paragraphs[0]
            picture = cell.add_run().add_picture(io.BytesIO(book.png(shot.frame)), **_within(shot, Cm(7.2), Cm(8)))
            picture._inline.docPr.set("descr", shot.alt)
            cell.paragraph_format.keep_with_next = True
            _say(table.cell(1, column).paragraphs[0], caption)
            table.cell(1, column).paragraphs[0].paragraph_format.keep_with_next = bool(step.tip)
        if step.tip:
            _say(document.add_paragraph(style="Intense Quote"), step.tip)
    return _saved(document)


def pptx(book: Book) -> bytes:
    """Slides (Office Open XML), 16:9: a title, what one needs, and a slide a step with its tip in the notes."""
    from pptx import Presentation
    from pptx.util import Inches, Pt

    guide, deck = book.guide, Presentation()
    deck.slide_width, deck.slide_height = Inches(13.333), Inches(7.5)
    _about(deck, book)
    layout = next(layout for layout in deck.slide_layouts if layout.name == "Title Only")

    def slide(title: str) -> Any:
        made = deck.slides.add_slide(layout)
        head = made.shapes.title
        head.left, head.top, head.width, head.height = Inches(0.6), Inches(0.4), Inches(12.1), Inches(1.1)
        _write(head.text_frame, [title], Pt(32 if len(title) < 50 else 24))
        return made

    def text(on: Any, lines: list[str], left: float, top: float, width: float, height: float, size: float) -> None:
        box = on.shapes.add_textbox(Inches(left), Inches(top), Inches(width), Inches(height))
        _write(box.text_frame, lines, Pt(size))

    def picture(on: Any, shot: Shot, left: float, top: float, width: float, height: float) -> None:
        size = _within(shot, Inches(width), Inches(height))
        shape = on.shapes.add_picture(io.BytesIO(book.png(shot.frame)), Inches(left), Inches(top), **size)
        shape._element.nvPicPr.cNvPr.set("descr", shot.alt)

    cover = slide(guide.title)
    told = [*guide.introduction.splitlines(), "", _facts(book)]
    for name, things in (("Materials", guide.materials), ("Tools", guide.tools)):
        told += [f"{name}: {', '.join(things)}"] if things else []
    text(cover, told, 0.6, 1.7, 6.6, 5.2, _fitting(told, 6.6, 5.2))
    picture(cover, guide.final, 7.6, 1.7, 5.1, 5.2)
    for number, step in enumerate(guide.steps, 1):
        made = slide(f"{number}. {step.title}")
        shots = _shots(step)
        for column, (caption, shot) in enumerate(shots):
            left = 0.6 + 4.3 * column
            picture(made, shot, left, 1.7, 4.1, 4.1)
            text(made, [caption], left, 5.85, 4.1, 0.4, 14)
        told = [step.more, step.tip]
        left = 0.6 + 4.3 * len(shots)
        text(made, told, left, 1.7, 12.7 - left, 5.2, _fitting(told, 12.7 - left, 5.2))
        _write(made.notes_slide.notes_text_frame, [step.text, step.tip], None)
    return _saved(deck)


def _facts(book: Book) -> str:
    guide = book.guide
    time = f" · {guide.duration}" if guide.seconds else ""
    return f"{len(guide.steps)} step{'s' * (len(guide.steps) > 1)} · {guide.difficulty}{time}"


def _shots(step: GuideStep) -> list[tuple[str, Shot]]:
    return [("Before", step.before), ("After", step.after)] if step.before else [("After", step.after)]


def _within(shot: Shot, width: Any, height: Any) -> dict[str, Any]:
    """The side that binds when a picture is fitted into a box."""
    wide = shot.frame.width * height >= shot.frame.height * width
    return {"width": width} if wide else {"height": height}


def _fitting(lines: list[str], width: float, height: float) -> float:
    """Points of the largest of a few sizes at which text should fit a box (inches); wide scripts count double."""
    for size in (18, 16, 14, 12, 10.5, 9):
        across = width * 72 / (size * 0.52)
        needed = sum(1 + sum(1 + (ord(char) > 0x2E7F) for char in line) // across for line in lines) + 0.6 * len(lines)
        if needed * size * 1.25 <= height * 72:
            return size
    return 8


def _about(document: Any, book: Book) -> None:
    about = document.core_properties
    about.title, about.author, about.comments = book.guide.title[:255], "brushloop", ""
    about.language = book.guide.language


def _say(paragraph: Any, text: str, judged: str | None = None) -> None:
    """Fill a paragraph of a text document; `judged` is the part that decides its direction."""
    from docx.oxml import OxmlElement

    run = paragraph.add_run(text)
    if is_rtl(judged or text):
        paragraph._p.get_or_add_pPr().append(OxmlElement("w:bidi"))
        run._r.get_or_add_rPr().append(OxmlElement("w:rtl"))


def _write(frame: Any, lines: list[str], size: Any) -> None:
    """Fill a text frame of a slide, a paragraph a line."""
    from pptx.enum.text import PP_ALIGN

    frame.word_wrap = True
    for number, line in enumerate(line for line in lines if line):
        paragraph = frame.paragraphs[0] if number == 0 else frame.add_paragraph()
        paragraph.text = line
        paragraph.alignment = PP_ALIGN.LEFT
        if size is not None:
            paragraph.font.size, paragraph.space_after = size, size // 2
        if is_rtl(line.lstrip("0123456789. ")):
            paragraph.alignment = PP_ALIGN.RIGHT
            paragraph._p.get_or_add_pPr().set("rtl", "1")


def _saved(document: Any) -> bytes:
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()
