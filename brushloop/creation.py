"""A creation as a value: a head step and everything reachable from it, and the recipe a picture carries."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from brushloop.canvas import SCHEMA_VERSION, Brief, Critique, Digest, Frame, Noun, Plan, Step, StepKind, StopReason
from brushloop.errors import CorruptObjectError, InputError, VersionError
from brushloop.files import write_atomically
from brushloop.heads import CreationId
from brushloop.pictures import open_picture
from brushloop.record import version_of
from brushloop.store import Store

if TYPE_CHECKING:
    from PIL.Image import Image

RECIPE_KEY = "brushloop"
"""Keyword of the PNG text chunk that holds a recipe."""


class Recipe(Noun):
    """What an exported picture says of its making, enough to find, replay and fork it."""

    id: CreationId
    head: Digest
    seed: int
    brief: Brief
    version: int = SCHEMA_VERSION


@dataclass(frozen=True)
class Creation:
    """A head step and everything reachable from it. It does not move when the stored head does.

    Reading any property raises a `StoreError` that names the object if one is missing or changed.
    """

    id: str
    head: str
    store: Store

    @classmethod
    def open(cls, store: Store, name: str) -> Creation:
        """Open by creation id, step hash, or a unique prefix of either.

        Raises:
            UnknownCreationError: nothing, or more than one thing, has that name.
        """
        id, head = store.resolve(name)
        return cls(id, head, store)

    @cached_property
    def _chain(self) -> list[tuple[str, Step]]:
        return self.store.chain(self.head)

    @property
    def steps(self) -> list[Step]:
        """All steps, oldest first."""
        return [step for _, step in self._chain]

    @property
    def hashes(self) -> list[str]:
        """Their hashes, in the same order."""
        return [digest for digest, _ in self._chain]

    @property
    def brief(self) -> Brief:
        """What is wanted: the newest brief of the chain.

        Raises:
            CorruptObjectError: the chain does not begin with a brief.
        """
        for step in reversed(self.steps):
            if step.brief is not None:
                return step.brief
        raise CorruptObjectError(
            f"creation {self.id} has no brief: step {self.hashes[0]} is not the root of a creation"
        )

    @property
    def plan(self) -> Plan | None:
        """The newest plan."""
        return next((step.plan for step in reversed(self.steps) if step.plan), None)

    @property
    def critique(self) -> Critique | None:
        """The newest critique."""
        return next((step.critique for step in reversed(self.steps) if step.critique), None)

    @property
    def frame(self) -> Frame | None:
        """The picture: what the finish step chose as best, or, unfinished, what was painted last."""
        return next((step.outputs[-1] for step in reversed(self.steps) if step.outputs), None)

    @property
    def image(self) -> Image | None:
        """The pixels of `frame`."""
        return self.store.get_image(self.frame) if self.frame else None

    @property
    def finished(self) -> bool:
        """Whether the head is a finish step."""
        return self.steps[-1].kind is StepKind.FINISH

    @property
    def stop_reason(self) -> StopReason | None:
        """Why it ended; None while it has not.

        Raises:
            VersionError: for a reason that this version does not know.
        """
        if not self.finished:
            return None
        reason = self.steps[-1].settings.get("stop_reason")
        try:
            return StopReason(str(reason))
        except ValueError:
            raise VersionError(
                f"step {self.head} stopped for {reason!r}, which this brushloop does not know: upgrade brushloop"
            ) from None

    @property
    def recipe(self) -> Recipe:
        """What an exported picture says of its making."""
        return Recipe(id=self.id, head=self.head, seed=self.brief.seed, brief=self.brief)

    def export(self, path: str | os.PathLike[str]) -> Path:
        """Write the picture as a PNG that carries its recipe in the text chunk `brushloop`.

        Raises:
            InputError: there is no picture yet, or the name does not end in .png.
            UnwritableError: it cannot be written there.
        """
        from PIL.PngImagePlugin import PngInfo

        target = Path(path)
        if target.suffix.lower() != ".png":
            raise InputError(f"cannot export to {target}: the recipe travels in a PNG, so let the name end in .png")
        image = self.image
        if image is None:
            raise InputError(f"creation {self.id} has no picture yet: resume it first")
        chunk = PngInfo()
        chunk.add_itxt(RECIPE_KEY, self.recipe.model_dump_json())
        buffer = io.BytesIO()
        image.save(buffer, "PNG", pnginfo=chunk)
        write_atomically(str(target), buffer.getvalue())
        return target

    def summary(self) -> dict[str, Any]:
        """The creation as plain JSON: paths for pictures, words for people. Scripts rely on this shape."""
        return {
            "id": self.id,
            "head": self.head,
            "image": self._path(self.frame),
            "stop_reason": self.stop_reason.value if self.stop_reason else None,
            "steps": [
                {
                    "hash": digest,
                    "kind": step.kind.value,
                    "image": self._path(step.outputs[-1] if step.outputs else None),
                    "text": step.text,
                }
                for digest, step in self._chain
            ],
        }

    def _path(self, frame: Frame | None) -> str | None:
        return self.store.image_path(frame) if frame else None


def read_recipe(path: str | os.PathLike[str]) -> Recipe:
    """Read the recipe of a picture that brushloop exported.

    Raises:
        InputError: no such file, not a PNG, or no recipe in it.
        VersionError: a later version of brushloop exported it.
    """
    text = open_picture(path, ("PNG",)).info.get(RECIPE_KEY)
    if not isinstance(text, str):
        raise InputError(f"{path} carries no brushloop recipe: export it with brushloop, unchanged since")
    version = version_of(text)
    if version is not None and version > SCHEMA_VERSION:
        raise VersionError(f"{path} was exported in format {version}: upgrade brushloop to read its recipe")
    try:
        return Recipe.model_validate_json(text)
    except ValidationError:
        raise InputError(f"the recipe in {path} is damaged, or another program wrote it") from None
