"""What people type to name a creation, a step, a size or a budget, read into values."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from brushloop.canvas import Correction, Critique, EditType, Plan
from brushloop.creation import Creation, Recipe, read_recipe
from brushloop.errors import InputError, MissingObjectError, SizeError, UnknownCreationError
from brushloop.pictures import open_picture
from brushloop.store import Store

if TYPE_CHECKING:
    from PIL.Image import Image

    from brushloop.agent.human import Edit


def kind_from(text: str | None) -> EditType | None:
    """A kind of edit by its name; None for none.

    Raises:
        InputError: there is no such kind.
    """
    try:
        return None if text is None else EditType(text.strip().lower().replace("-", "_").replace(" ", "_"))
    except ValueError:
        raise InputError(f"no kind of edit {text!r}: use {', '.join(kind.value for kind in EditType)}") from None


def is_picture(name: str) -> bool:
    """Whether a name is a file's: no creation and no step has a dot or a slash in its name."""
    return "." in name or "/" in name or "\\" in name


def creation_of(store: Store, name: str | None, last: bool = False) -> Creation:
    """The creation of that name: an id, a hash, a prefix of either, or an exported picture; else the newest.

    Raises:
        UnknownCreationError: there is none.
        InputError: a name and `--last` were given, or the picture carries no recipe.
    """
    if name is None:
        heads = store.heads()
        if not heads:
            raise UnknownCreationError(f"there is no creation in {store.url} yet: paint one first")
        return Creation(heads[0].id, heads[0].head, store)
    if last:
        raise InputError(f"{name!r} and --last were both given: leave one out")
    if is_picture(name):
        return creation_in(store, read_recipe(name), name)
    return Creation.open(store, name)


def creation_in(store: Store, recipe: Recipe, path: str) -> Creation:
    """The creation that a picture came from.

    Raises:
        UnknownCreationError: it is not in this store.
    """
    try:
        store.get_step(recipe.head)
    except MissingObjectError:
        raise UnknownCreationError(
            f"{path} came from creation {recipe.id}, which is not in {store.url}: set BRUSHLOOP_HOME to where it is, "
            f"or paint its prompt again with --seed {recipe.seed}"
        ) from None
    return Creation(recipe.id, recipe.head, store)


def step_of(creation: Creation, at: str) -> str:
    """The hash of a step, named by its number in `brushloop steps` or by the beginning of its hash.

    Raises:
        UnknownCreationError: the creation has no such step.
    """
    hashes = creation.hashes
    if re.fullmatch(r"\d{1,5}", at) and int(at) < len(hashes):
        return hashes[int(at)]
    near = [digest for digest in hashes if len(at) >= 6 and digest.startswith(at)]
    if len(near) != 1:
        raise UnknownCreationError(
            f"creation {creation.id} has no step {at[:80]!r}: give a number from 0 to {len(hashes) - 1}, "
            "or 6 digits or more of a hash (brushloop steps lists them)"
        )
    return near[0]


def makers_of(creation: Creation) -> tuple[str, str]:
    """Names of the painter and the vision-language model that a creation was begun with."""
    for step in reversed(creation.steps):
        if step.brief is not None:
            return str(step.settings.get("painter", "embedded")), str(step.settings.get("vlm", "embedded"))
    return "embedded", "embedded"


def effort_of(creation: Creation) -> str:
    """Name of the effort that a creation was begun with."""
    briefs = (step for step in reversed(creation.steps) if step.brief is not None)
    return next((str(step.settings.get("effort", "normal")) for step in briefs), "normal")


def edit_from(path: Path | None) -> Edit:
    """What a person wants instead, from a file: a plan, critique or correction as JSON, or a picture.

    Raises:
        InputError: the file cannot be read, or holds none of these.
    """
    if path is None:
        return None
    try:
        return _noun_from(path.read_bytes()) if path.suffix.lower() == ".json" else open_picture(path).convert("RGB")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"])) or "it"
        raise InputError(f"{path} is no {error.title.lower()}: {where}: {fault['msg']}") from error
    except ValueError as error:
        raise InputError(f"{path} cannot be used: {error}") from error


def mask_from(path: Path | None, edit: Path | None) -> Image | None:
    """A mask for a correction.

    Raises:
        InputError: it cannot be read, or there is no correction that it could hold.
    """
    if path is None:
        return None
    if edit is None:
        raise InputError("--mask was given without --edit: say also what is to change there")
    return open_picture(path)


def _noun_from(data: bytes) -> Plan | Critique | Correction:
    value = json.loads(data)
    for key, noun in (("elements", Plan), ("verdict", Critique), ("edit", Correction)):
        if isinstance(value, dict) and key in value:
            return noun.model_validate_json(data)
    raise ValueError("it holds neither a plan (elements, steps), a critique (verdict) nor a correction (edit)")


def size_from(text: str | None) -> tuple[int, int] | None:
    """Width and height in pixels from `128x96`.

    Raises:
        SizeError: it is not written like that.
    """
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,6})[x×](\d{1,6})", text.strip().lower())
    if not found:
        raise SizeError(f"{text[:40]!r} is not a size: write width x height in pixels, for example 128x128")
    return int(found[1]), int(found[2])


def budget_from(text: str | None, **single: float | None) -> dict[str, float] | None:
    """Limits from `rounds=4,seconds=60` and from options of their own, which win; None if nothing is limited.

    Raises:
        InputError: it is not written like that.
    """
    limits: dict[str, float] = {}
    for part in filter(None, (text or "").split(",")):
        name, _, number = part.partition("=")
        try:
            limits[name.strip()] = int(number) if number.strip().isdigit() else float(number)
        except ValueError:
            raise InputError(
                f"{part[:40]!r} is not a limit: write name=number, for example --budget rounds=4,seconds=60"
            ) from None
    return (limits | given(single)) or None


def given(options: Mapping[str, float | None]) -> dict[str, float]:
    """Those options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def png_to(path: Path | None) -> Path | None:
    """A file that a picture can be exported to, checked before the work is done.

    Raises:
        InputError: it does not end in .png, or its folder does not exist.
    """
    if path is None:
        return None
    if path.suffix.lower() != ".png":
        raise InputError(f"cannot export to {path}: the recipe travels in a PNG, so let the name end in .png")
    if not path.absolute().parent.is_dir():
        raise InputError(f"cannot export to {path}: there is no folder {path.parent}; make it first")
    return path
