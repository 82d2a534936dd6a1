"""Folders of records as others read them: serpentine grids, WebDataset tar shards, and a dataset of `datasets`.

The last two keep every field and every byte of every picture: reading back gives equal records.
"""

from __future__ import annotations

import io
import tarfile
import types
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from brushloop.errors import BackendError, CorruptObjectError, InputError
from brushloop.files import write_atomically
from brushloop.pictures import MAX_BYTES
from brushloop.record import png_from, read_png
from brushloop.supervision.records import LINES, Record, RecordFolder, TurnKind, read_record

if TYPE_CHECKING:
    import datasets
    from PIL.Image import Image

# Grids ----------------------------------------------------------------------------------------------------------


def grid(record: Record, folder: RecordFolder) -> Image:
    """The states of a record with a layout as one serpentine grid, 2x2 or 3x3.

    Raises:
        InputError: the record has no layout.
        StoreError: a picture is missing or changed; names the record.
    """
    from brushloop.painter.grids import Layout

    if record.layout is None:
        raise InputError(f"record {record.id} has no layout: it is no sequence of 4 or 9 frames")
    states = [turn.picture for turn in record.turns if turn.kind is TurnKind.STATE and turn.picture]
    side = {4: 2, 9: 3}[record.layout]
    return Layout(side, side).assemble([folder.image(frame, record) for frame in states])


# Tar shards -----------------------------------------------------------------------------------------------------


def write_shards(folder: RecordFolder, out: Path, each: int = 1000) -> list[Path]:
    """Write `out`/records-00000.tar and so on, `each` records a shard; the same records give the same bytes.

    A sample is `<id>.json` and, in the order in which the record names them, `<id>.0.png`, `<id>.1.png`, ...

    Raises:
        MissingObjectError, CorruptObjectError: a picture is missing or changed; names the record.
        UnwritableError: the disk is full, read-only or forbidden.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {out}: {error.strerror}; name another") from error
    paths: list[Path] = []
    for number, batch in enumerate(_batches(folder, each)):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for record in batch:
                _add(tar, f"{record.id}.json", record.line())
                for index, frame in enumerate(record.pictures):
                    _add(tar, f"{record.id}.{index}.png", png_from(folder.image(frame, record)))
        paths.append(out / f"records-{number:05d}.tar")
        write_atomically(str(paths[-1]), buffer.getvalue())
    return paths


def read_shards(paths: Iterable[Path], folder: RecordFolder) -> int:
    """Put the records of tar shards, in order, into a folder; returns how many they are.

    Nothing is unpacked: what stands in a shard is read into memory, and kept under names that follow from its content.
    Links and devices in it are passed over.

    Raises:
        InputError: a shard cannot be opened, is compressed, or holds something larger than a picture may be.
        CorruptObjectError: a record or a picture in it is broken, or a picture is not the one the record names.
    """
    number = 0
    for path in paths:
        try:
            with tarfile.open(path, "r:") as tar:
                data = {member.name: _bytes(tar, member) for member in tar if member.isfile()}
        except (OSError, tarfile.TarError) as error:
            raise InputError(f"cannot read the shard {path}: {error}") from error
        for name in (name for name in data if name.endswith(".json")):
            record = read_record(data[name], f"record {' '.join(name.split())[:80]} of {path}")
            for index, frame in enumerate(record.pictures):
                what = f"{name.removesuffix('.json')}.{index}.png"
                if what not in data:
                    raise CorruptObjectError(f"record {record.id}: {path} has no {what}; write the shard again")
                kept = folder.put(read_png(data[what], f"{what} of {path}"))
                if kept != frame:
                    raise CorruptObjectError(
                        f"record {record.id}: {what} of {path} has hash {kept.hash[:12]}, the record says "
                        f"{frame.hash[:12]}; write the shard again"
                    )
            folder.append(record)
            number += 1
    return number


def _batches(records: Iterable[Record], each: int) -> Iterator[list[Record]]:
    batch: list[Record] = []
    for record in records:
        batch.append(record)
        if len(batch) == each:
            yield batch
            batch = []
    if batch:
        yield batch


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def _bytes(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if member.size > MAX_BYTES:  # a sparse file claims what it likes
        raise InputError(
            f"{member.name[:80]!r} in {tar.name!r} is {member.size} bytes long: more than any picture may be"
        )
    file = tar.extractfile(member)
    return file.read() if file else b""


# datasets -------------------------------------------------------------------------------------------------------


def features() -> datasets.Features:
    """The schema of records as features of `datasets`: give them to `load_dataset("json", data_files=...)`.

    Raises:
        BackendError: `datasets` is not installed.
    """
    return _library().Features(_feature(Record))


def load(folder: RecordFolder) -> datasets.Dataset:
    """A folder of records as a dataset, one row a record; pictures stay where they are, named by hash.

    Raises:
        BackendError: `datasets` is not installed.
    """
    path = str(folder.path / LINES)
    dataset: datasets.Dataset = _library().load_dataset("json", data_files=path, split="train", features=features())
    return dataset


def record_of(row: dict[str, Any]) -> Record:
    """The record in a row of such a dataset."""
    return Record.model_validate(row)


def _library() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise BackendError("the package datasets is not installed: pip install 'brushloop[data]'") from error
    return datasets


def _feature(kind: Any) -> Any:
    """The feature for a type of the schema: nouns become structs, tuples lists, enums and literals plain values."""
    library = _library()
    origin, inside = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _feature(inside[0])
    if origin in (Union, types.UnionType):
        return _feature(next(part for part in inside if part is not type(None)))
    if origin is Literal:
        return _feature(type(inside[0]))
    if origin is tuple:
        return library.List(_feature(inside[0]))
    if issubclass(kind, BaseModel):
        return {name: _feature(field.annotation) for name, field in kind.model_fields.items()}
    if issubclass(kind, (str, Enum)):
        return library.Value("string")
    return library.Value({bool: "bool", int: "int64", float: "float64"}[kind])
