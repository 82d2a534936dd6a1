"""A creation as a file to take away: every document of the tutorial room, the page of all rounds, and the chain."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from brushloop.agent.page import page
from brushloop.creation import Creation
from brushloop.errors import InputError
from brushloop.tutorial.exporters import EXPORTERS, Exporter, rendered
from brushloop.tutorial.making import book_of

Form = Literal[
    "png", "html", "page", "json", "markdown", "pdf", "pptx", "docx", "epub", "howto", "ifixit", "notebook", "gif",
    "webp", "mp4", "openraster", "scorm", "huggingface",
]  # fmt: skip
"""Every form; a test holds it to the exporters."""

OURS = {
    "page": ("text/html", ".html", "every round side by side, for reading closely"),
    "json": ("application/json", ".json", "the chain of steps, for programs"),
}
"""Forms that are no guide: media type, file ending, and what it is."""


class FormView(BaseModel):
    """A form that a creation can be exported in."""

    name: Form
    suffix: str = Field(description="How the file's name ends.")
    media: str
    about: str


def forms() -> list[FormView]:
    """The forms that can be made here: those whose packages are installed."""
    guides = [
        {"name": each.name, "suffix": _suffix(each), "media": _media(each), "about": each.about}
        for each in EXPORTERS
        if all(find_spec(package) for package in each.needs)
    ]
    own = [{"name": name, "suffix": end, "media": kind, "about": about} for name, (kind, end, about) in OURS.items()]
    return [FormView.model_validate(form) for form in sorted([*guides, *own], key=lambda form: form["name"] != "png")]


def exported(creation: Creation, form: Form, redact: bool = False) -> tuple[bytes, str, str]:
    """The file's bytes, its media type and a name for it. Several files come as a zip archive.

    Args:
        creation: what is exported.
        form: in which form.
        redact: without the words of people and models, names, paths and metadata.

    Raises:
        InputError: there is no picture yet, or the form is nothing but what is to be left out.
        BackendError: a package that it needs is not installed.
    """
    if form in OURS:
        if redact:
            raise InputError(f"a {form} is all words: choose another format, or leave redact out")
        kind, end, _ = OURS[form]
        return (
            (page(creation) if form == "page" else _chain(creation)).encode("utf-8", "replace"),
            kind,
            creation.id + end,
        )
    exporter = next(each for each in EXPORTERS if each.name == form)
    if form == "png" and not redact:
        return _with_recipe(creation), exporter.media, f"{creation.id}.png"
    book = book_of(creation, creation.id)
    if redact:
        book = book.redacted("guide")
    files = rendered(book, exporter)
    data = next(iter(files.values())) if exporter.shape == "file" else _zipped(files)
    return data, _media(exporter), f"{book.name}{_suffix(exporter)}"


def _suffix(exporter: Exporter) -> str:
    return exporter.suffix if exporter.shape == "file" else f".{exporter.name}.zip"


def _media(exporter: Exporter) -> str:
    return exporter.media if exporter.shape == "file" else "application/zip"


def _chain(creation: Creation) -> str:
    steps = zip(creation.hashes, creation.steps, strict=True)
    rows = [{"hash": digest, **step.model_dump(mode="json")} for digest, step in steps]
    return json.dumps({"id": creation.id, "head": creation.head, "steps": rows}, indent=2)


def _with_recipe(creation: Creation) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return creation.export(Path(folder) / "picture.png").read_bytes()


def _zipped(files: dict[str, bytes]) -> bytes:
    """The files in an archive, all of the same date, so that the same creation gives the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
