"""Recipes of data: frozen values that say which builders make how much of a set, and how.

A recipe is named, or read from a JSON file, and single fields can be set on top. A name or field that does not
exist is an error that suggests the nearest one.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from brushloop.canvas import Noun
from brushloop.errors import InputError

BUILDERS = ("growth", "conflict", "alignment", "sequence", "edit", "sampled", "whole")
Share = Annotated[float, Field(ge=0)]


class DataRecipe(Noun):
    """What to build. Equal recipes, seeds and code give equal bytes."""

    name: str
    growth: Share = 0.0
    """Share of multi-turn records: a scene grown sub-graph by sub-graph, then changed."""
    conflict: Share = 0.0
    """Share of states that contradict their plan, with what is wrong and how it was mended; from scene graphs."""
    alignment: Share = 0.0
    """Share of finished pictures held against a prompt that fits, or nearly fits."""
    sequence: Share = 0.0
    """Share of frames from blank to finished, from the layers of vector art."""
    edit: Share = 0.0
    """Share of edit pairs; every second one is the inverse of the one before where there is one."""
    sampled: Share = 0.0
    """1 for states painted by the loop, labelled by a detector; alone, for it ends when the stores do."""
    whole: Share = 0.0
    """Share of prompts with the finished picture, in one go."""
    split: Literal["train", "test"] = "train"
    world: str = "small"
    """What the scenes are made of: `small`, which the shipped models know, or `large`."""
    pictures: Annotated[int, Field(ge=2, le=9)] = 5
    """Most pictures of a multi-turn record."""
    grouped: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Chance that two elements are painted in one plan step."""
    changes: Annotated[int, Field(ge=0, le=4)] = 3
    """Most modify, swap and remove turns of a multi-turn record; 0 is additive only."""
    faulty: Annotated[float, Field(ge=0, le=1)] = 0.55
    """Share of states with faults in conflict and alignment records."""
    frames: tuple[Literal[4, 9], ...] = (4, 9)
    """Lengths of sequences."""
    recraft: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of sequences that begin with the finished picture (picture to process)."""
    stores: tuple[str, ...] = ()
    """Folders of creations to sample states from."""
    teacher: str | None = None
    """Weights of the detector that labels sampled states; None takes the judge, which should then measure nothing."""

    @model_validator(mode="after")
    def _adds_up(self) -> DataRecipe:
        shares = self.shares
        if not any(shares.values()):
            raise ValueError(f"every share is 0: set one of {', '.join(BUILDERS)}")
        if self.sampled and any(share for name, share in shares.items() if name != "sampled"):
            raise ValueError("sampled goes alone: it ends when the stores do")
        if self.sampled and not self.stores:
            raise ValueError("stores names no folder of creations: set stores=FOLDER")
        if self.sequence and not self.frames:
            raise ValueError("frames is empty: set frames=4,9")
        return self

    @property
    def shares(self) -> Mapping[str, float]:
        """The share of each builder."""
        return {name: getattr(self, name) for name in BUILDERS}


RECIPES: Mapping[str, Mapping[str, Any]] = {
    "multi-turn": {"growth": 1},
    "additive": {"growth": 1, "changes": 0},
    "whole": {"whole": 1},
    "conflict": {"conflict": 1},
    "alignment": {"alignment": 1},
    "sequences": {"sequence": 1},
    "edits": {"edit": 1},
    "mixed": {"growth": 32, "conflict": 15, "alignment": 15, "sequence": 8, "edit": 30},
    "self-sampled": {"sampled": 1},
}
"""Recipes by name; `mixed` has the proportions of the paper (32 : 15 : 15), with edits and sequences beside them."""


def recipe(name: str, settings: Sequence[str] = ()) -> DataRecipe:
    """The recipe of that name or in that JSON file, with fields set as `field=value`.

    Raises:
        InputError: no such recipe or field (the nearest is suggested), or a value that does not fit.
    """
    if name.endswith(".json"):
        fields = {"name": Path(name).stem} | _read(Path(name))
    elif name in RECIPES:
        fields = {"name": name, **RECIPES[name]}
    else:
        raise InputError(f"no recipe {name!r}{nearest(name, RECIPES)}: {', '.join(RECIPES)}, or a .json file")
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise InputError(f"{setting!r} sets nothing: write field=value")
        fields[key] = _value(key, value)
    for key in fields:
        if key not in DataRecipe.model_fields:
            known = DataRecipe.model_fields
            raise InputError(f"recipe {name}: no field {key!r}{nearest(key, known)}; fields are {', '.join(known)}")
    try:
        return DataRecipe.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise InputError(f"recipe {name}: {f'{field}: ' if field else ''}{first['msg']}") from None


def _read(path: Path) -> dict[str, Any]:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the recipe {path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"the recipe {path} is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise InputError(f"the recipe {path} is not a JSON object with the fields of a recipe")
    return fields


def _value(key: str, text: str) -> Any:
    if key == "frames":
        return [int(part) if part.strip().isdigit() else part for part in text.split(",")]
    return [part for part in text.split(",") if part] if key == "stores" else text


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'lr'?`, if one of the known words is near."""
    near = difflib.get_close_matches(word, list(known), 1, 0.5)
    return f"; did you mean {near[0]!r}?" if near else ""
