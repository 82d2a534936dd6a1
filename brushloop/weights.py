"""Finding, checking and naming weights folders. Only safetensors are read; nothing is unpickled."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from brushloop.errors import BrushloopError, WeightsError

SHIPPED = Path(__file__).parent / "models"
"""The folders that come with the package: `painter` and `vlm`."""


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
                with path.open("rb") as file:
                    total.update(hashlib.file_digest(file, "sha256").digest())
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


def find(kind: str, folder: str | None, files: Sequence[str]) -> Weights:
    """The weights folder of a `kind` of model: `folder`, or the one that ships when None.

    Raises:
        WeightsError: the folder, or one of `files` in it, is missing or empty.
    """
    where = Path(folder).expanduser() if folder else SHIPPED / kind
    if not where.is_dir():
        raise WeightsError(f"no {kind} weights at {where}: there is no such folder; name one that holds {files[0]}")
    for name in files:
        path = where / name
        if not path.is_file() or path.stat().st_size == 0:
            raise WeightsError(
                f"the {kind} weights in {where} lack {name}: the folder is incomplete or of another kind; copy it again"
            )
    return Weights(kind, where)
