"""The commands `brushloop export`, `gallery` and `push`. A model is loaded only for `--vlm` and `--critic`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brushloop.cli.console import clean, result
from brushloop.cli.options import Json, Last, Names, opened
from brushloop.errors import InputError, StoreError

if TYPE_CHECKING:
    from brushloop.creation import Creation
    from brushloop.tutorial.book import Book
    from brushloop.tutorial.checker import Flag
    from brushloop.tutorial.provenance import Credentials

Redact = Annotated[
    bool, typer.Option("--redact", help="Without prompts, words of models, names, paths and metadata of pictures.")
]


def export(
    name: Annotated[str, typer.Argument(help="As for show; may be left out for the newest.", metavar="[NAME]")],
    file: Annotated[Path | None, typer.Argument(help="Where to write it.", metavar="FILE")] = None,
    format: Annotated[
        str | None, typer.Option("--format", help="What to write; by default what the end of FILE says.")
    ] = None,
    redact: Redact = False,
    vlm: Annotated[
        str | None,
        typer.Option("--vlm", help="Let this model put the steps into better words, and hold pictures against them."),
    ] = None,
    critic: Annotated[
        str | None, typer.Option("--critic", help="Let this model (embedded, ...) hold pictures against the plan.")
    ] = None,
    c2pa: Annotated[
        Path | None, typer.Option("--c2pa", help="Sign content credentials into it: your chain of certificates, PEM.")
    ] = None,
    c2pa_key: Annotated[Path | None, typer.Option("--c2pa-key", help="Private key of the first of them, PEM.")] = None,
    last: Last = False,
    as_json: Json = False,
) -> None:
    """Write a creation as a document: how it was made, step by step; or, as a PNG, the picture with its recipe.

    By the end of the name: .png .html .md .pdf .pptx .docx .epub .jsonld .ifixit.json .ipynb .gif .webp .mp4 .ora
    .zip (SCORM); and --format huggingface for a folder.
    """
    from brushloop.tutorial.exporters import exporter_for, write

    target = file or Path(name)
    exporter = exporter_for(target, format)
    signer = _signer(c2pa, c2pa_key, exporter.media)
    creation = opened(None if file is None else name, last)
    flags: list[Flag] = []
    if exporter.name == "png" and not redact:
        if target.suffix.lower() != ".png":
            raise InputError(f"cannot write a PNG to {target}: let the name end in .png")
        creation.export(target)
    else:
        book, flags = _book(creation, _stem(target, exporter.suffix), redact, vlm, critic)
        write(book, exporter, target)
    if signer:
        _sign(creation, target, exporter.media, redact, signer)
    value: dict[str, Any] = {"id": creation.id, "head": creation.head, "file": str(target)}
    if exporter.name != "png":
        value |= {"format": exporter.name, "flags": [flag.model_dump() for flag in flags]}
    for flag in flags:
        print(f"step {flag.step}: {flag.kind}: {clean(flag.message)}", file=sys.stderr)
    result(value, [str(target)], as_json)


def gallery(
    folder: Annotated[Path, typer.Argument(help="A new or empty folder.", metavar="FOLDER")],
    names: Names = None,
    redact: Redact = False,
    as_json: Json = False,
) -> None:
    """Write creations as a static site: an index, and a page for each that tells how it was made."""
    from brushloop.creation import Creation
    from brushloop.store import Store
    from brushloop.tutorial.exporters import write_files
    from brushloop.tutorial.making import book_of
    from brushloop.tutorial.sharing import gallery as site

    store = Store()
    books: list[Book] = []
    left: dict[str, str] = {}
    for id in names or [head.id for head in store.heads()]:
        try:
            creation = Creation.open(store, id)
            book = book_of(creation, creation.id)
        except (InputError, StoreError) as error:
            if names:
                raise
            left[id] = str(error)
            print(f"left out {id}: {clean(str(error))}", file=sys.stderr)
            continue
        books.append(book.redacted(f"{len(books) + 1:03}") if redact else book)
    write_files(site(books), folder)
    value = {"folder": str(folder), "creations": [book.name for book in books], "left_out": left}
    result(value, [str(folder / "index.html")], as_json)


def push(
    folder: Annotated[Path, typer.Argument(help="Made with export --format huggingface.", metavar="FOLDER")],
    repo: Annotated[str, typer.Argument(help="The repository, owner/name.", metavar="REPO")],
    public: Annotated[bool, typer.Option("--public", help="For everybody to see; by default private.")] = False,
    as_json: Json = False,
) -> None:
    """Upload a dataset folder to the Hugging Face hub. HF_TOKEN must hold a token that may write."""
    from brushloop.tutorial.sharing import push as upload

    url = upload(folder, repo, private=not public)
    result({"folder": str(folder), "url": url}, [url], as_json)


def _book(creation: Creation, name: str, redact: bool, vlm: str | None, critic: str | None) -> tuple[Book, list[Flag]]:
    """The guide as it is to be written, and what is wrong with it."""
    from brushloop.tutorial.checker import check, critic_witness
    from brushloop.tutorial.making import book_of

    book, witness = book_of(creation, name), None
    if redact and (vlm or critic):
        raise InputError("--redact leaves no words to check or rewrite: give it without --vlm and --critic")
    if redact:
        return book.redacted(name), []
    if vlm:
        from brushloop.tutorial.writer import check_writes, rewritten, vlm_witness
        from brushloop.vlm import open_vlm

        model = open_vlm(vlm)
        check_writes(model)
        book, witness = rewritten(book, model), vlm_witness(model)
    if critic and creation.plan:
        from brushloop.critic.critic import Critic
        from brushloop.vlm import open_vlm

        witness = critic_witness(Critic(open_vlm(critic)), creation.brief, creation.plan)
    return book, check(book, witness)


def _signer(chain: Path | None, key: Path | None, media: str) -> Credentials | None:
    """What to sign with, if that is asked for; what cannot be signed is told before anything is written."""
    if chain is None and key is None:
        return None
    if chain is None or key is None:
        raise InputError("content credentials need --c2pa CHAIN.pem and --c2pa-key KEY.pem: give both")
    from brushloop.tutorial.provenance import check_signable, credentials

    check_signable(media)
    return credentials(chain, key)


def _sign(creation: Creation, path: Path, media: str, redact: bool, by: Credentials) -> None:
    """Put content credentials into a file that was written."""
    from brushloop.canvas import Task
    from brushloop.files import write_atomically
    from brushloop.tutorial.making import book_of
    from brushloop.tutorial.provenance import manifest, signed

    book = book_of(creation, path.stem)
    guide = book.redacted(path.stem).guide if redact else book.guide
    claims = manifest(guide, given=creation.brief.task is Task.EDIT)
    try:
        write_atomically(str(path), signed(path.read_bytes(), media, claims, by))
    except InputError:
        path.unlink()  # a file without them would pass for one that has them
        raise


def _stem(path: Path, suffix: str) -> str:
    name = path.name
    return (name[: -len(suffix)] if suffix and name.lower().endswith(suffix) else name) or "guide"
