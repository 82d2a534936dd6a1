"""Where processes are painted: a base and the adapters it needs. What is missing is told before anything is loaded."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from brushloop.errors import BackendError, WeightsError
from brushloop.painter.domains import Domain, domains
from brushloop.weights import folder_of

if TYPE_CHECKING:
    from brushloop.painter.adapters.adapter import Adapter
    from brushloop.painter.process import ProcessPainter

ENVIRONMENT = ("BRUSHLOOP_PROCESS_ADAPTER", "BRUSHLOOP_RECRAFT_ADAPTER")
"""What names the adapter of the domains, and the one that reads given frames, where no option does."""


_turn = threading.Lock()
_loaded: dict[object, ProcessPainter] = {}
"""The painter of processes that was used last."""


@dataclass(frozen=True)
class Workshop:
    """A painter of processes by name, and its adapters as files."""

    painter: str = "embedded"
    """`embedded`, `embedded:<set>`, or `flux:<folder>`."""
    adapter: Path | None = None
    """Of the domains; None is the one that is installed."""
    reader: Path | None = None
    """The adapter that reads given frames; None is the one that is installed."""
    styles: tuple[str, ...] = ()
    """Ordinary LoRA files that are laid over a domain: FILE, or FILE:0.8."""

    @classmethod
    def of_environment(cls, painter: str, environment: Mapping[str, str] = os.environ) -> Workshop:
        """The workshop around a painter, with the adapters that the environment names."""
        adapter, reader = (Path(environment[key]) if environment.get(key) else None for key in ENVIRONMENT)
        return cls(painter.partition("?")[0], adapter, reader)

    def check(self, domain: Domain, reads: bool) -> None:
        """Refuse what cannot be painted here.

        Args:
            domain: how it is made.
            reads: whether frames are given, or more are asked for than one grid holds.

        Raises:
            BackendError: there is no such painter of processes.
            WeightsError: no adapter knows the domain, or none reads given frames.
        """
        from brushloop.painter.adapters import files

        where = folder_of(self.painter, "flux")
        if where and "?" in where:
            raise BackendError(
                f"processes take no options of a painter: write {self.painter.partition('?')[0]}, which computes in "
                "bf16 on an accelerator"
            )
        over = f"--base {where}" if where else "--install"
        if self.adapter is None and (where or domain.name not in files.trained()):
            train = f"train it (python -m brushloop.train process {over}), or " if domain.drawn else ""
            raise WeightsError(
                f"no adapter for {domain.name} is installed for {self.painter}: {train}use {domain.needs} "
                "(brushloop adapters import, then --painter flux:<folder> --adapter FILE)"
            )
        if reads and self.reader is None and (where or not (files.INSTALLED / "recraft.safetensors").is_file()):
            raise WeightsError(
                f"no adapter that reads given frames is installed for {self.painter}: train it "
                f"(python -m brushloop.train recraft {over}), or name one with --recraft-adapter"
            )

    def open(self, domain: Domain, reads: bool) -> ProcessPainter:
        """The painter, loaded.

        Raises:
            BackendError: as for `check`; so is WeightsError.
        """
        from brushloop.painter.adapters import files
        from brushloop.painter.adapters.merge import Part

        self.check(domain, reads)
        from brushloop.painter.process import ProcessPainter

        parts = [Part(files.read(file), None, strength) for file, strength in map(_strength, self.styles)]
        reader = self._read("recraft", self.reader) if reads else None
        return ProcessPainter(folder_of(self.painter, "flux"), self._read("process", self.adapter), reader, parts)

    @contextmanager
    def painting(self, domain: Domain, reads: bool) -> Iterator[ProcessPainter]:
        """The painter, for one process at a time. It stays loaded for whoever needs the same one next.

        Raises:
            BackendError: as for `check`; so is WeightsError.
        """
        self.check(domain, reads)
        with _turn:
            key = self, reads, self._stamp("process", self.adapter), self._stamp("recraft", self.reader)
            if key not in _loaded:
                _loaded.clear()
                _loaded[key] = self.open(domain, reads)
            yield _loaded[key]

    def domains(self) -> Sequence[Domain]:
        """The domains that can be painted here."""
        from brushloop.painter.adapters import files

        kind, own, _ = self.painter.partition(":")
        if kind not in ("embedded", "flux") or (own and self.adapter is None):  # what is installed fits one base alone
            return []
        known = files.trained(self.adapter)
        return [each for each in domains() if each.name in known]

    def _stamp(self, kind: str, path: Path | None) -> tuple[int, int] | None:
        """What tells an adapter's file from one that takes its place later."""
        from brushloop.painter.adapters import files

        path = path or files.INSTALLED / f"{kind}.safetensors"
        return (told.st_mtime_ns, told.st_size) if path.is_file() and (told := path.stat()) else None

    def _read(self, kind: str, path: Path | None) -> Adapter | None:
        from brushloop.painter.adapters import files

        return files.read(path) if path else files.installed(kind)


def _strength(style: str) -> tuple[Path, float]:
    match = re.fullmatch(r"(.+?)(?::(-?\d+(?:\.\d+)?))?", style)
    assert match
    return Path(match[1]), float(match[2] or 1)
