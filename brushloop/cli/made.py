"""What a command made: written where it is wanted, and told."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from brushloop.cli.console import progress, result
from brushloop.errors import UnwritableError

if TYPE_CHECKING:
    from PIL.Image import Image

    from brushloop.agent.once import Wish
    from brushloop.agent.studio import Studio
    from brushloop.creation import Creation


def made_once(studio: Studio, text: str, wish: Wish, seed: int, id: str | None = None) -> Creation:
    """One edit as told, with progress on stderr."""
    from brushloop.agent.once import once

    with progress() as tell:
        return once(studio, text, wish, seed, id=id, on_event=tell)


def made_known(creation: Creation, out: Path | None, as_json: bool) -> None:
    """Export if asked to, and print what was made."""
    value: dict[str, Any] = creation.summary()
    if out and creation.frame:
        value["file"] = str(creation.export(out))
    why = creation.stop_reason or f"waits, go on with: brushloop resume {creation.id}"
    lines = [str(value.get("file") or value["image"] or "no picture yet"), f"{creation.id}  {why}"]
    result(value, lines, as_json)


def written(picture: Image, path: Path) -> str:
    """Write pixels and nothing else to a PNG, and return its path.

    Raises:
        UnwritableError: it cannot be written there.
    """
    from brushloop.files import write_atomically
    from brushloop.record import plain, png_from

    folder_at(path.parent)
    write_atomically(str(path), png_from(plain(picture)))
    return str(path)


def folder_at(path: Path) -> Path:
    """A folder, made if it is not there yet.

    Raises:
        UnwritableError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnwritableError(f"cannot make the folder {path} ({error.strerror}): name another with --out") from error
    return path
