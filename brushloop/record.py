"""What lies in the store, as bytes: steps as canonical JSON, pictures as PNG.

Pure functions from nouns to bytes and back. Canonical JSON is RFC 8785, so that equal steps have
equal hashes whichever program wrote them.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from brushloop.canvas import SCHEMA_VERSION, Frame, Step
from brushloop.errors import CorruptObjectError, InputError, VersionError
from brushloop.pictures import check_size, decode

if TYPE_CHECKING:
    from PIL.Image import Image

_EXACT = 2**53 - 1
"""Largest whole number that every JSON reader holds exactly (RFC 8785, section 3.2.2.3)."""


def step_json(step: Step) -> bytes:
    """The bytes whose SHA-256 is the step's address. Whole numbers beyond 2^53 - 1 are written as text.

    Raises:
        InputError: a number is not finite, or a setting is beyond 2^53 - 1 (its type would be lost).
    """
    import rfc8785

    for name, value in step.settings.items():
        if not isinstance(value, str) and not abs(value) <= _EXACT:
            raise InputError(f"setting {name!r} of a {step.kind} step is {value}, beyond 2^53: record it as text")
    try:
        return rfc8785.dumps(_exact(step.model_dump(mode="json")))
    except (rfc8785.CanonicalizationError, ValueError) as error:
        raise InputError(f"a {step.kind} step cannot be recorded as JSON: {error}") from error


def read_step(data: bytes, what: str) -> Step:
    """Read a step from its JSON; `what` names it in errors.

    Raises:
        VersionError: a later version of brushloop wrote it.
        CorruptObjectError: it is not a step.
    """
    try:
        step = Step.model_validate_json(data)
        version: int | None = step.version
    except ValidationError:
        step, version = None, version_of(data)
    if version is not None and version > SCHEMA_VERSION:
        raise VersionError(
            f"{what} has format {version}, and this brushloop reads up to {SCHEMA_VERSION}: upgrade brushloop"
        )
    if step is None:
        raise CorruptObjectError(f"{what} is not a step that brushloop wrote; restore it from a backup")
    return step


def version_of(data: str | bytes) -> int | None:
    """The format version that a JSON record claims, whatever else it holds; None if it claims none."""
    try:
        record = json.loads(data)
    except ValueError:
        return None
    version = record.get("version") if isinstance(record, dict) else None
    return version if isinstance(version, int) else None


def frames_of(step: Step) -> Iterator[Frame]:
    """Every picture a step names: its outputs, its inputs, and those of its brief."""
    yield from step.outputs
    yield from step.inputs
    for unit in step.brief.units if step.brief else ():
        for pair in unit.images:
            yield pair.image
            if pair.mask:
                yield pair.mask


def plain(image: Image) -> Image:
    """A copy that holds nothing but pixels, upright: grey, RGB or RGBA (other modes become one of the last two).

    Raises:
        InputError: it is larger than the store would read again.
    """
    check_size(image.size, "the picture")
    image = _upright(image)
    clear = image.has_transparency_data
    if image.mode not in ("L", "RGB", "RGBA") or (clear and image.mode != "RGBA"):
        image = image.convert("RGBA" if clear else "RGB")
    image.info = {}  # a colour profile or comment would travel into the PNG and change its hash
    return image


def _upright(image: Image) -> Image:
    """As a camera held it; damaged notes of the camera are passed over."""
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        return image.copy()


LEVEL = 4
"""Effort of zlib: 6 takes 2.5 times as long on a painted picture, for 4% fewer bytes."""


def png_from(image: Image) -> bytes:
    """A plain picture as PNG: equal pixels give equal bytes under the same Pillow and zlib."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=LEVEL)
    return buffer.getvalue()


def read_png(data: bytes, what: str) -> Image:
    """Decode a PNG in full; `what` names it in errors.

    Raises:
        CorruptObjectError: it is not a whole PNG.
    """
    try:
        return decode(data, what, ("PNG",))
    except InputError as error:
        raise CorruptObjectError(f"{what} is not a whole PNG; restore it from a backup or paint again") from error


def _exact(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _exact(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_exact(item) for item in value]
    if isinstance(value, int) and abs(value) > _EXACT:
        return str(value)
    return value
