"""Content by hash: pictures and steps, and the measurements that lie beside a step.

    objects/<aa>/<hash>.png    a picture                      never changes
    objects/<aa>/<hash>.json   a step, canonical JSON         never changes
    notes/<aa>/<hash>.jsonl    measurements of that step      not content; lines are added, later figures win

Everything read is hashed again. Two writers of one object write the same bytes, so they need no lock;
putting an object again repairs one that was damaged.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from brushloop.canvas import Frame, Step
from brushloop.errors import CorruptObjectError, InputError, MissingObjectError, StoreError
from brushloop.files import Files
from brushloop.record import frames_of, plain, png_from, read_png, read_step, step_json

if TYPE_CHECKING:
    from PIL.Image import Image

FRESH = 1800.0
"""Seconds for which an object counts as new, and is not collected whatever leads to it."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_PREFIX = re.compile(r"[0-9a-f]{6,64}")


class Objects:
    """Pictures and steps under the hash of their bytes."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self.url = files.url

    # Pictures

    def put_image(self, image: Image) -> Frame:
        """Keep a picture as PNG (grey, RGB or RGBA; other modes become RGB or RGBA) and return its reference.

        The same pixels give the same hash under the same Pillow and zlib; metadata is not kept.

        Raises:
            UnwritableError: the disk is full, read-only or forbidden.
        """
        image = plain(image)
        data = png_from(image)
        digest = hashlib.sha256(data).hexdigest()
        self._put(_png(digest), data)
        return Frame(hash=digest, width=image.width, height=image.height)

    def get_image(self, frame: Frame | str) -> Image:
        """Read a picture back, hashed again.

        Raises:
            MissingObjectError: it is not in the store.
            CorruptObjectError: its bytes or its size are not those that were stored.
        """
        digest = check_digest(frame.hash if isinstance(frame, Frame) else frame)
        what = f"picture {digest} at {self.image_path(digest)}"
        image = read_png(self._object(_png(digest), digest, "picture"), what)
        if isinstance(frame, Frame) and image.size != (frame.width, frame.height):
            raise CorruptObjectError(
                f"{what} is {image.width}x{image.height} pixels, but its step says {frame.width}x{frame.height}: "
                "brushloop did not write that step"
            )
        return image

    def image_path(self, frame: Frame | str) -> str:
        """Local path or URL of the PNG; it is not read."""
        return self.files.where(_png(check_digest(frame.hash if isinstance(frame, Frame) else frame)))

    # Steps

    def put_step(self, step: Step) -> str:
        """Keep a step and return its hash.

        Raises:
            InputError: the step holds a number that JSON cannot.
            UnwritableError: the disk is full, read-only or forbidden.
        """
        data = step_json(step)
        digest = hashlib.sha256(data).hexdigest()
        self._put(_json(digest), data)
        return digest

    def get_step(self, digest: str) -> Step:
        """Read a step back, hashed again.

        Raises:
            MissingObjectError: it is not in the store.
            CorruptObjectError: its bytes are not those that were stored.
            VersionError: a later version of brushloop wrote it.
        """
        data = self._object(_json(check_digest(digest)), digest, "step")
        return read_step(data, f"step {digest} at {self.step_path(digest)}")

    def step_path(self, digest: str) -> str:
        """Local path or URL of the step's JSON; it is not read."""
        return self.files.where(_json(check_digest(digest)))

    def chain(self, digest: str) -> list[tuple[str, Step]]:
        """The step and all its ancestors with their hashes, oldest first.

        Raises:
            StoreError: one of them is missing, changed or of a later version.
        """
        return list(self.ancestry(digest))[::-1]

    def ancestry(self, digest: str | None) -> Iterator[tuple[str, Step]]:
        """As `chain`, but newest first and one step at a time."""
        while digest is not None:
            step = self.get_step(digest)
            yield digest, step
            digest = step.parent

    # Measurements

    def measure(self, digest: str, **figures: float | int | str) -> None:
        """Note figures (name them with their unit: `seconds`, `tokens`) beside a step; later ones win.

        Raises:
            InputError: a figure is not finite.
            UnwritableError: the disk is full, read-only or forbidden.
        """
        name = _note(check_digest(digest))
        try:
            self.files.append(name, json.dumps(figures, sort_keys=True, allow_nan=False).encode())
        except ValueError:
            raise InputError(f"a measurement of step {digest} is not a finite number: {figures}") from None

    def measurements(self, digest: str) -> dict[str, Any]:
        """What was measured of a step; empty if nothing was. A line cut short by a power cut is passed over."""
        figures: dict[str, Any] = {}
        with contextlib.suppress(FileNotFoundError):
            for line in self.files.read(_note(check_digest(digest))).splitlines():
                with contextlib.suppress(ValueError, TypeError):
                    figures |= json.loads(line)
        return figures

    # All of them

    def stored(self) -> Iterator[tuple[str, str]]:
        """Name and hash of every object in the store, whatever leads to it. Leftovers of killed writers are none."""
        for folder in self.files.names("objects"):
            for name in self.files.names(f"objects/{folder}"):
                digest, _, kind = name.partition(".")
                if _DIGEST.fullmatch(digest) and kind in ("png", "json"):
                    yield f"objects/{folder}/{name}", digest

    def sound(self, name: str, digest: str) -> bool:
        """Whether the bytes of an object still have its hash."""
        try:
            return hashlib.sha256(self.files.read(name)).hexdigest() == digest
        except (FileNotFoundError, StoreError):
            return False

    # Reading and writing

    def _put(self, name: str, data: bytes) -> None:
        with contextlib.suppress(FileNotFoundError, StoreError):  # what cannot be read is written again
            if self.files.read(name) == data and self.files.age(name) < FRESH:  # the old may be collected just now
                return
        self.files.write(name, data)

    def _object(self, name: str, digest: str, what: str) -> bytes:
        where = self.files.where(name)
        try:
            data = self.files.read(name)
        except FileNotFoundError:
            raise MissingObjectError(f"{what} {digest} is not in the store: expected at {where}") from None
        if hashlib.sha256(data).hexdigest() != digest:
            raise CorruptObjectError(
                f"{what} {digest} at {where} was changed or cut short: its bytes no longer have that hash; "
                "restore it from a backup or paint again"
            )
        return data

    def _sync(self, steps: Mapping[str, Step]) -> None:
        """Wait until these steps and their pictures would survive a power cut."""
        pictures = {_png(frame.hash) for step in steps.values() for frame in frames_of(step)}
        self.files.sync([*pictures, *map(_json, steps)])

    def _steps_like(self, prefix: str) -> list[str]:
        if not _PREFIX.fullmatch(prefix):
            return []
        names = (name.removesuffix(".json") for name in self.files.names(f"objects/{prefix[:2]}"))
        return [name for name in names if _DIGEST.fullmatch(name) and name.startswith(prefix)]

    def salvage(self, digest: str) -> Step | None:
        """The step as it lies there, changed or not; None if it cannot be read at all."""
        try:
            return read_step(self.files.read(_json(digest)), digest)
        except (StoreError, FileNotFoundError):
            return None


def check_digest(digest: str) -> str:
    """The digest itself, if it is one: nothing else may become part of a path."""
    if not _DIGEST.fullmatch(digest):
        raise InputError(f"{digest[:80]!r} is not the hash of an object: give 64 digits of 0-9 and a-f")
    return digest


def _png(digest: str) -> str:
    return f"objects/{digest[:2]}/{digest}.png"


def _json(digest: str) -> str:
    return f"objects/{digest[:2]}/{digest}.json"


def _note(digest: str) -> str:
    return f"notes/{digest[:2]}/{digest}.jsonl"
