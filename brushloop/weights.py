"""Finding, checking and naming weights folders. Only safetensors are read; nothing is unpickled or run."""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from brushloop.errors import BackendError, BrushloopError, WeightsError

SHIPPED = Path(__file__).parent / "models"
"""The folders that come with the package: `painter` and `vlm`, and a folder with both for each further set."""
OWN = "embedded"
"""What the models that come with the package are called; those of a further set are `embedded:SET`."""
_BACKENDS = {"flux": "painter", "hf": "VLM"}


MAX_HEADER = 25 * 2**20
"""Bytes of the largest header of a safetensors file: beyond any model's, and read before anything else is."""

_HUB_ID = re.compile(r"(?P<id>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_FETCHED = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")
"""What is fetched of a repository on the hub: nothing that would have to be unpickled."""

PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz")

_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "U16": 16, "I16": 16, "F16": 16,
    "BF16": 16, "U32": 32, "I32": 32, "F32": 32, "U64": 64, "I64": 64, "F64": 64, "C64": 64, "F4": 4,
}  # fmt: skip


@dataclass(frozen=True)
class Weights:
    """A weights folder that has all its files."""

    kind: str
    folder: Path

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the names and contents of the folder's safetensors and JSON files."""
        total = hashlib.sha256()
        for path in sorted(self.folder.rglob("*")):
            if path.suffix in (".safetensors", ".json", ".txt"):
                total.update(str(path.relative_to(self.folder)).encode())
                told = path.stat()
                read = _kept_hash if told.st_size > 2**24 else _hash
                total.update(read(path.resolve(), told.st_size, told.st_mtime_ns))
        return total.hexdigest()

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Turn whatever a library raises on damaged weights into one clear line."""
        try:
            yield
        except BrushloopError:
            raise
        except Exception as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise WeightsError(
                f"the {self.kind} weights in {self.folder} cannot be loaded ({reason[:200]}); "
                "the folder is truncated or of another kind: copy it again, or name another folder"
            ) from error

    def load(self, model: Any, name: str = "") -> Any:
        """A diffusers or transformers model of class `model` from the folder `name`, in float32, ready to use.

        Raises:
            WeightsError: the files are damaged, or do not hold all the weights of this class.
        """
        import torch

        with self.loading():
            made, told = model.from_pretrained(
                self.folder / name,
                dtype=torch.float32,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
            )
            if told["missing_keys"]:
                raise ValueError(f"{name or 'the model'} lacks {sorted(told['missing_keys'])[0]}")
        return made.eval()


def sets() -> tuple[str, ...]:
    """The names of the further sets of models that come with the package."""
    return tuple(sorted(path.parents[1].name for path in SHIPPED.glob("*/painter/model_index.json")))


def own_names() -> tuple[str, ...]:
    """What the models that come with the package are called: `embedded`, and `embedded:SET` of each further set."""
    return OWN, *(f"{OWN}:{each}" for each in sets())


def is_own(name: str) -> bool:
    """Whether a backend's name means models that come with the package: `embedded` or `embedded:SET`."""
    return name.partition(":")[0] == OWN


def folder_of(name: str, backend: str) -> str | None:
    """What `find` takes for a backend's name: nothing for `embedded`, a set's name as it is, or a folder.

    Raises:
        BackendError: no such set of models comes with the package (the nearest is suggested), or the name is no
            `<backend>:<folder>` either.
    """
    kind, _, where = name.partition(":")
    known = own_names()
    if name in known:
        return name if where else None
    if kind == backend and where:
        return where
    near = difflib.get_close_matches(name, known[1:], 1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise BackendError(
        f"unknown {_BACKENDS[backend]} backend {name!r}{hint}: use {', '.join(known)}, or {backend}:<folder>"
    )


def called(folder: str | None, backend: str) -> str:
    """The backend's name of what `find` takes; what `folder_of` is told."""
    return OWN if folder is None else folder if is_own(folder) else f"{backend}:{folder}"


def find(kind: str, folder: str | None, files: Sequence[str]) -> Weights:
    """The weights folder of a `kind` of model: `folder`, or the one that ships when None, or that of `embedded:SET`.

    A name that is no folder may be `owner/name@revision` on the hub, where the revision is the hash of a commit:
    what a branch or a tag leads to can be changed by others.

    Raises:
        WeightsError: the folder, or one of `files` in it, is missing or empty; a hub id is not pinned.
    """
    if folder is None or is_own(folder):
        where = SHIPPED / (folder or "").partition(":")[2] / kind
    else:
        where = _local(kind, folder, files)
    if not where.is_dir():
        raise WeightsError(f"no {kind} weights at {where}: there is no such folder; name one that holds {files[0]}")
    for name in files:
        path = where / name
        if not path.is_file() or path.stat().st_size == 0:
            raise WeightsError(
                f"the {kind} weights in {where} lack {name}: the folder is incomplete or of another kind; copy it again"
            )
    tensors = sorted(where.rglob("*.safetensors"))
    pickled = [path for path in where.rglob("*") if path.suffix.lower() in PICKLED]
    if pickled and not tensors:
        raise WeightsError(
            f"the {kind} weights in {where} are pickled ({pickled[0].name}), and loading those runs whatever they "
            "hold: take the safetensors of the same model"
        )
    for path in tensors:
        check(path)
    for path in where.rglob("*.json"):
        if b'"auto_map"' in path.read_bytes():
            raise WeightsError(f"{path} asks for code of its own, which brushloop does not run: take a model without")
    return Weights(kind, where)


def _local(kind: str, name: str, files: Sequence[str]) -> Path:
    folder = Path(name).expanduser()
    hub = _HUB_ID.fullmatch(name)
    if folder.is_dir() or hub is None:
        return folder
    if not _COMMIT.fullmatch(hub["revision"] or ""):
        raise WeightsError(
            f"no {kind} weights at {name}: there is no such folder, and as a name on the hub it is not pinned; write "
            f"{hub['id']}@ and the 40 digits of a commit, which its page lists under Files, History"
        )
    from huggingface_hub import snapshot_download

    inside = "*/" if any("/" in file for file in files) else ""  # beside its parts lies the same in one file
    wanted = [*files, *(inside + pattern for pattern in _FETCHED)]
    try:
        return Path(snapshot_download(hub["id"], revision=hub["revision"], allow_patterns=wanted))
    except Exception as error:
        raise WeightsError(
            f"no {kind} weights at {name}: there is no such folder, and the hub does not give it "
            f"({' '.join(repr(error).split())[:200]})"
        ) from error


def _hash(path: Path, size: int, changed: int) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


_kept_hash = lru_cache(4096)(_hash)
"""Large files are read once while their size and time stay: one may be part of a painter's folder and a model's."""


def check(path: Path) -> None:
    """Look at the header of a safetensors file: every tensor in its place, none over another, nothing left over.

    Raises:
        WeightsError: it is truncated, pickled, or no safetensors file at all.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            size = path.stat().st_size - 8 - length
            if not 2 <= length <= MAX_HEADER or size < 0:
                raise ValueError(f"its header would be {length} bytes long")
            tensors = json.loads(file.read(length), object_pairs_hook=_once)
        tensors.pop("__metadata__", None)
        end = 0
        for name, tensor in sorted(tensors.items(), key=lambda item: item[1]["data_offsets"]):
            begin, stop = tensor["data_offsets"]
            sizes = tensor["shape"]
            if not all(type(number) is int and number >= 0 for number in (begin, stop, *sizes)):
                raise ValueError(f"{name} has sizes that are no numbers")
            if begin != end or (stop - begin) * 8 != math.prod(sizes) * _BITS[tensor["dtype"]]:
                raise ValueError(f"{name} is not where its header says")
            end = stop
        if end != size:
            raise ValueError(f"{size} bytes of weights where {end} belong")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(
            f"{path} is no whole safetensors file ({' '.join(str(error).split())[:120]}): copy it again"
        ) from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands in it twice")
    return found
