"""Which documents a guide can become: a table, chosen from by the end of a file's name or by a format's name.

An exporter is a function from a book to bytes, or to the files of a folder. To add one, write it and add a row.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from brushloop.errors import BackendError, InputError
from brushloop.files import write_atomically
from brushloop.tutorial.book import Book


@dataclass(frozen=True)
class Exporter:
    """One kind of document."""

    name: str
    suffix: str
    """How its files' names end; "" for a folder, which is asked for by name."""
    media: str
    about: str
    home: str
    """`module:function` in this room."""
    needs: tuple[str, ...] = ()
    """Packages of the extra `export` that it imports."""
    shape: Literal["file", "beside", "folder"] = "file"
    """One file; a file with a folder beside it; a folder."""


EXPORTERS = (
    Exporter("html", ".html", "text/html", "one page that needs no network", "pages:html"),
    Exporter("markdown", ".md", "text/markdown", "Markdown, pictures beside it", "markdown:markdown", (), "beside"),
    Exporter("pdf", ".pdf", "application/pdf", "tagged PDF", "pdf:pdf", ("weasyprint",)),
    Exporter(
        "pptx",
        ".pptx",
        "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        "slides",
        "office:pptx",
        ("pptx",),
    ),
    Exporter(
        "docx",
        ".docx",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "text document",
        "office:docx",
        ("docx",),
    ),
    Exporter("epub", ".epub", "application/epub+zip", "EPUB 3 book", "epub:epub", ("ebooklib",)),
    Exporter("howto", ".jsonld", "application/ld+json", "schema.org HowTo", "data:howto"),
    Exporter("ifixit", ".ifixit.json", "application/json", "guide in the shape of iFixit's API", "data:ifixit"),
    Exporter("notebook", ".ipynb", "application/x-ipynb+json", "Jupyter notebook", "data:notebook", ("nbformat",)),
    Exporter("gif", ".gif", "image/gif", "time-lapse", "motion:gif"),
    Exporter("webp", ".webp", "image/webp", "time-lapse without loss", "motion:webp"),
    Exporter("mp4", ".mp4", "video/mp4", "time-lapse film (H.264)", "motion:mp4", ("av",)),
    Exporter("openraster", ".ora", "image/openraster", "a layer a step, for Krita and GIMP", "openraster:ora"),
    Exporter("scorm", ".zip", "application/zip", "SCORM 1.2 lesson", "scorm:scorm"),
    Exporter("png", ".png", "image/png", "the picture, with its recipe unless redacted", "still:png"),
    Exporter("huggingface", "", "", "dataset folder with a card", "sharing:huggingface", (), "folder"),
)
NAMES = tuple(exporter.name for exporter in EXPORTERS)


def exporter_for(path: Path | None, format: str | None = None) -> Exporter:
    """The exporter of that name, or else the one whose suffix the file has.

    Raises:
        InputError: there is none.
    """
    if format is not None:
        for exporter in EXPORTERS:
            if exporter.name == format.lower():
                return exporter
        near = difflib.get_close_matches(format.lower(), NAMES, n=1)
        hint = f"did you mean {near[0]}? there is" if near else "there is"
        raise InputError(f"no format {format[:40]!r}: {hint} {', '.join(NAMES)}")
    name = path.name.lower() if path else ""
    for exporter in EXPORTERS:
        if exporter.suffix and name.endswith(exporter.suffix) and name != exporter.suffix:
            return exporter
    suffixes = " ".join(exporter.suffix for exporter in EXPORTERS if exporter.suffix)
    raise InputError(f"cannot tell what to make of {path}: let the name end in one of {suffixes}, or name a --format")


def check_installed(exporter: Exporter) -> None:
    """Raise `BackendError` if a package that an exporter imports is not installed."""
    if absent := [package for package in exporter.needs if find_spec(package) is None]:
        raise BackendError(f"{exporter.name} needs the package {', '.join(absent)}: pip install 'brushloop[export]'")


def rendered(book: Book, exporter: Exporter) -> dict[str, bytes]:
    """The files of a document under their names; of a single file the name is the book's, with the suffix.

    Raises:
        BackendError: a package is not installed.
        InputError: this guide cannot become that.
    """
    check_installed(exporter)
    module, _, function = exporter.home.partition(":")
    try:
        render = getattr(importlib.import_module(f"brushloop.tutorial.{module}"), function)
        made: bytes | Mapping[str, bytes] = render(book)
    except (ImportError, OSError) as error:  # a library of the system, such as Pango, is missing
        raise BackendError(
            f"{exporter.name} cannot be made on this machine: {' '.join(str(error).split())[:200]}"
        ) from error
    return {f"{book.name}{exporter.suffix}": made} if isinstance(made, bytes) else dict(made)


def write(book: Book, exporter: Exporter, path: Path) -> Path:
    """Write a document to `path`, each file whole or not at all.

    Raises:
        InputError: a folder is not empty; or as for `rendered`.
        UnwritableError: the disk is full, read-only or forbidden, or there is no such folder.
    """
    if exporter.shape == "folder":
        write_files(rendered(book, exporter), path)
    elif exporter.shape == "file":
        write_atomically(str(path), next(iter(rendered(book, exporter).values())))
    else:
        files = rendered(book, exporter)
        main = files.pop(f"{book.name}{exporter.suffix}")
        _write_all(files, path.parent)
        write_atomically(str(path), main)
    return path


def write_files(files: Mapping[str, bytes], folder: Path) -> None:
    """Write files into a new or empty folder.

    Raises:
        InputError: it is a file, or holds something.
        UnwritableError: it cannot be written.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f"{folder} is not an empty folder: name a new one, so that nothing old is shared with it")
    _write_all(files, folder)


def _write_all(files: Mapping[str, bytes], folder: Path) -> None:
    for name, data in files.items():
        target = folder.joinpath(*name.split("/"))
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot make the folder {target.parent}: {error.strerror}; name another") from error
        write_atomically(str(target), data, sync=False)
