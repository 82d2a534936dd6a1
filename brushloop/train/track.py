"""Curves and pictures of a run, in any tracker that accelerate knows: TensorBoard unless others are named."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brushloop.errors import InputError
from brushloop.supervision.build.recipes import nearest

if TYPE_CHECKING:
    from PIL.Image import Image

USUAL = "tensorboard"


class Board:
    """The trackers of one run, in its folder. Without TensorBoard, which is only the default, there are none.

    Args:
        names: of accelerate's trackers, with commas between; empty for none.
        folder: of the run.
        recipe: kept with the curves.
        start: step that the run goes on from; what was told of later ones comes again.

    Raises:
        InputError: accelerate knows no such tracker (the nearest is suggested), or its package is not installed.
    """

    def __init__(self, names: str, folder: Path, recipe: Mapping[str, Any], start: int = 0) -> None:
        wanted = [name.strip() for name in names.split(",") if name.strip()]
        if wanted == [USUAL] and importlib.util.find_spec("tensorboard") is None:
            wanted = []
        self._trackers = [_open(name, folder, recipe, start) for name in wanted]

    def figures(self, values: Mapping[str, float], step: int) -> None:
        """One point of each curve."""
        for tracker in self._trackers:
            tracker.log(dict(values), step=step)

    def pictures(self, shown: Mapping[str, Image], step: int) -> None:
        """Pictures by name, where the tracker takes some."""
        arrays = {name: np.asarray(picture.convert("RGB"))[None] for name, picture in shown.items()}
        for tracker in self._trackers:
            if hasattr(tracker, "log_images") and arrays:
                more = {"dataformats": "NHWC"} if tracker.name == USUAL else {}
                tracker.log_images(arrays, step=step, **more)

    def close(self) -> None:
        """Write what is not written yet."""
        for tracker in self._trackers:
            tracker.finish()


def _open(name: str, folder: Path, recipe: Mapping[str, Any], start: int) -> Any:
    from accelerate import PartialState
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    known = {str(kind): tracker for kind, tracker in LOGGER_TYPE_TO_CLASS.items()}
    if name not in known:
        raise InputError(f"there is no tracker {name!r}{nearest(name, known)}: accelerate knows {', '.join(known)}")
    if name not in map(str, get_available_trackers()):
        raise InputError(f"tracker {name} is not installed: pip install {name}, or set track=tensorboard")
    PartialState()  # trackers ask it which process is the first
    if name == USUAL:  # its table of recipes would be a curve of its own at each start
        tracker = known[name]("curves", logging_dir=str(folder), purge_step=start + 1 if start else None)
        tracker.start()
        return tracker
    kind = known[name]
    tracker = kind("brushloop", logging_dir=str(folder)) if kind.requires_logging_directory else kind("brushloop")
    tracker.start()
    tracker.store_init_configuration(dict(recipe))
    return tracker
