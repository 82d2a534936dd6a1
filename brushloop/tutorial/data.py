"""A guide as data: schema.org HowTo (JSON-LD), iFixit's guide JSON, and a Jupyter notebook."""

from __future__ import annotations

import base64
import json
from typing import Any

from brushloop.canvas import Frame
from brushloop.tutorial import markdown
from brushloop.tutorial.book import Book
from brushloop.tutorial.guide import Shot


def howto(book: Book) -> bytes:
    """A schema.org HowTo as JSON-LD; pictures inside as data URLs. Safe to put into a script element."""
    guide = book.guide
    value: dict[str, Any] = {
        "@context": "https://schema.org",
        "@type": "HowTo",
        "name": guide.title,
        "inLanguage": guide.language,
        "educationalLevel": guide.difficulty,
        "image": _image_object(book, guide.final),
        "step": [
            {
                "@type": "HowToStep",
                "position": number,
                "name": step.title,
                "text": step.text or step.title,
                "image": _image_object(book, step.after),
                "itemListElement": [
                    {"@type": kind, "text": text}
                    for kind, text in (("HowToDirection", step.text or step.title), ("HowToTip", step.tip))
                    if text
                ],
            }
            for number, step in enumerate(guide.steps, 1)
        ],
    }
    if guide.introduction:
        value["description"] = guide.introduction
    if guide.seconds:
        value["totalTime"] = f"PT{max(1, round(guide.seconds))}S"
    if guide.materials:
        value["supply"] = [{"@type": "HowToSupply", "name": name} for name in guide.materials]
    if guide.tools:
        value["tool"] = [{"@type": "HowToTool", "name": name} for name in guide.tools]
    text = json.dumps(value, ensure_ascii=False, indent=2)
    for char in "<>&":  # inside of JSON strings alone
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text.encode()


def ifixit(book: Book) -> bytes:
    """The shape of a guide of iFixit's API 2.0; raw texts carry no wiki markup, pictures are data URLs."""
    guide = book.guide
    value = {
        "dataType": "guide",
        "type": "technique",
        "locale": guide.language,
        "title": guide.title,
        "subject": guide.title,
        "category": "Art",
        "introduction_raw": guide.introduction,
        "conclusion_raw": "",
        "difficulty": guide.difficulty.capitalize(),
        "time_required_min": round(guide.seconds),
        "time_required_max": round(guide.seconds),
        "time_required": guide.duration if guide.seconds else "",
        "public": False,
        "tools": [{"type": "tool", "text": name, "quantity": 1, "notes": ""} for name in guide.tools],
        "parts": [{"type": "part", "text": name, "quantity": 1, "notes": ""} for name in guide.materials],
        "image": _ifixit_image(book, guide.final),
        "steps": [
            {
                "stepid": number,
                "orderby": number,
                "title": step.title,
                "lines": [
                    {"lineid": None, "level": 0, "bullet": bullet, "text_raw": " ".join(text.split())}
                    for bullet, text in (("black", step.text or step.title), ("icon_note", step.tip))
                    if text
                ],
                "media": {
                    "type": "image",
                    "data": [_ifixit_image(book, shot) for shot in (step.after, step.before) if shot],
                },
                "comments": [],
            }
            for number, step in enumerate(guide.steps, 1)
        ],
    }
    return json.dumps(value, ensure_ascii=False, indent=2).encode()


def notebook(book: Book) -> bytes:
    """A Jupyter notebook: a cell a step, its pictures attached to the cell."""
    import nbformat
    from nbformat.v4 import new_markdown_cell, new_notebook

    def src(frame: Frame) -> str:
        return f"attachment:{book.file(frame)}"

    cells = [new_markdown_cell(markdown.opening(book), id="opening")]
    for number, step in enumerate(book.guide.steps):
        frames = [shot.frame for shot in (step.before, step.after) if shot]
        attached = {book.file(frame): {"image/png": _base64(book.png(frame))} for frame in frames}
        text = markdown.step(book, number, src)
        cells.append(new_markdown_cell(text, id=f"step-{number + 1}", attachments=attached))
    made = new_notebook(cells=cells, metadata={"title": book.guide.title, "language_info": {"name": "python"}})
    nbformat.validate(made)
    return nbformat.writes(made).encode()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _url(book: Book, frame: Frame) -> str:
    return f"data:image/png;base64,{_base64(book.png(frame))}"


def _image_object(book: Book, shot: Shot) -> dict[str, Any]:
    return {
        "@type": "ImageObject",
        "contentUrl": _url(book, shot.frame),
        "encodingFormat": "image/png",
        "width": {"@type": "QuantitativeValue", "value": shot.frame.width, "unitCode": "E37"},
        "height": {"@type": "QuantitativeValue", "value": shot.frame.height, "unitCode": "E37"},
        "caption": shot.alt,
    }


def _ifixit_image(book: Book, shot: Shot) -> dict[str, Any]:
    size = {"width": shot.frame.width, "height": shot.frame.height}
    return {"id": None, "guid": shot.frame.hash[:16], "original": _url(book, shot.frame), "alt": shot.alt, **size}
