"""Guides for others: a Hugging Face folder with a card, and a gallery of many as a static site."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from brushloop.errors import InputError, ServerError
from brushloop.tutorial import markdown
from brushloop.tutorial.book import Book
from brushloop.tutorial.guide import Shot
from brushloop.tutorial.pages import own, page, room


def huggingface(book: Book) -> dict[str, bytes]:
    """A dataset folder of the kind `imagefolder`: a card, the pictures, and a line of metadata for each."""
    from huggingface_hub import DatasetCardData

    guide = book.guide
    about = DatasetCardData(
        pretty_name=guide.title,
        language=guide.language,
        size_categories="n<1K",
        tags=["brushloop", "process", "step-by-step", "tutorial"],
        configs=[{"config_name": "default", "data_files": [{"split": "train", "path": "train/**"}]}],
    )
    card = [
        f"---\n{about.to_yaml()}\n---",
        markdown.written(book, lambda frame: f"train/{book.file(frame)}").rstrip(),
        "## What is in it",
        "One row a state, in order: the picture, what was done (`title`, `text`), a `tip`, and the file of the picture "
        "before. Pictures are PNG without metadata.",
        "No licence is set: name one in the head of this file before you publish it.",
    ]
    rows, seen = [], set()
    first = guide.steps[0].before
    shots: list[tuple[int, str, str, str, Shot | None, Shot]] = [(0, "", "", "", None, first)] if first else []
    shots += [(n, s.title, s.text, s.tip, s.before, s.after) for n, s in enumerate(guide.steps, 1)]
    for number, title, text, tip, before, shot in shots:
        if shot.frame in seen:
            continue
        seen.add(shot.frame)
        row = {"file_name": book.file(shot.frame), "step": number, "title": title, "text": text, "tip": tip}
        rows.append({**row, "alt": shot.alt, "before": book.file(before.frame) if before else ""})
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    files = {"README.md": "\n\n".join([*card, ""]).encode(), "train/metadata.jsonl": lines.encode()}
    return files | book.files("train")


def gallery(books: Sequence[Book]) -> dict[str, bytes]:
    """A static site: `index.html`, a page for each book, and their pictures. No script, nothing from outside.

    Raises:
        InputError: there is no book, or two have the same name.
    """
    if not books:
        raise InputError("there is nothing to show in a gallery: paint a picture first")
    if len({book.name for book in books}) < len(books):
        raise InputError("two guides of a gallery have the same name: give each its own")
    files: dict[str, bytes] = {}
    rows = []
    for book in books:
        files[f"{book.name}/index.html"] = page(book, book.file, home="../index.html").encode()
        files |= book.files(book.name)
        files[f"{book.name}/small.webp"] = _small(book)
        rows.append({"book": book, "page": f"{book.name}/index.html", "picture": f"{book.name}/small.webp"})
    index = (
        room()
        .get_template("gallery.xhtml.j2")
        .render(rows=rows, style=own("guide.css") + Markup("\n") + own("dark.css"))
    )
    return {"index.html": index.encode(), **files}


def push(folder: Path, repo: str, *, private: bool = True) -> str:
    """Upload a dataset folder to the Hugging Face hub and return its address.

    Raises:
        InputError: it is no such folder, or there is no token.
        ServerError: the hub refuses, or does not answer.
    """
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    if not (folder / "README.md").is_file():
        raise InputError(
            f"{folder} is no folder to push: make it with brushloop export NAME {folder} --format huggingface"
        )
    if not (token := get_token()):
        raise InputError("there is no token for the Hugging Face hub: set HF_TOKEN to one that may write")
    api = HfApi(token=token)
    try:
        api.create_repo(repo, repo_type="dataset", private=private, exist_ok=True)
        return str(api.upload_folder(repo_id=repo, repo_type="dataset", folder_path=folder))
    except HFValidationError as error:
        raise InputError(f"{repo[:80]!r} cannot name a repository: write owner/name") from error
    except (HfHubHTTPError, OSError) as error:
        raise ServerError(
            f"the Hugging Face hub did not take {folder}: {str(error)[:200]}; check token and name"
        ) from error


def _small(book: Book) -> bytes:
    image = book.image(book.guide.final.frame).copy()
    image.thumbnail((416, 416))
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=85, method=4)
    return buffer.getvalue()
