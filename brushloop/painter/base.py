"""The seam to painters: one method from a request to a picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from brushloop.canvas import Box, EditType, ModelRef
from brushloop.edits import DEFINITIONS
from brushloop.errors import BackendError
from brushloop.weights import folder_of, is_own

if TYPE_CHECKING:
    from PIL.Image import Image

OnDenoise = Callable[[int, int], None]
"""Called after each denoising step with (steps done, steps in all). May raise to cancel."""


@dataclass(frozen=True)
class Picture:
    """A picture that a request speaks of, and the mask that travels with it (grey; white is meant)."""

    image: Image
    mask: Image | None = None


@dataclass(frozen=True)
class PaintRequest:
    """One picture to be painted.

    Without a canvas this is text to picture; with one it is an edit of it: the canvas joins the
    denoised tokens as clean condition tokens.
    """

    prompt: str
    seed: int
    size: tuple[int, int]
    """Width and height in pixels."""
    canvas: Image | None = None
    regions: tuple[Box, ...] = ()
    """Where the things named in the prompt go, in the order they are named."""
    strength: float = 1.0
    """1 starts from pure noise; less keeps more of the canvas (partial denoising)."""
    denoising_steps: int = 16
    guidance: float = 2.0
    mask: Image | None = None
    """Of the canvas's size, grey: white may change. Finer than regions, for painters that read it."""
    images: tuple[Picture, ...] = ()
    """Pictures besides the canvas. In the prompt `{image}` is the canvas, or the first of these where there is none,
    `{image1}` the next one."""
    kind: EditType | None = None
    """Which kind of edit it is, where that is certain."""
    visual: Image | None = None
    """A visual prompt: a depth map, a sketch, a material, whatever `kind` follows."""


class Painter(Protocol):
    """A model that turns a request into a picture."""

    ref: ModelRef
    size: tuple[int, int]
    """The size it paints best, used when a brief names none."""

    def check_size(self, size: tuple[int, int]) -> None:
        """Raise `SizeError`, naming what is possible, if the painter cannot paint `size`."""
        ...

    def paint(self, request: PaintRequest, on_denoise: OnDenoise | None = None) -> Image:
        """Paint. The same request on the same machine gives the same pixels.

        Raises:
            SizeError: the painter cannot paint `request.size`.
            ModelError: the weights cannot be loaded.
        """
        ...


@runtime_checkable
class Able(Protocol):
    """A painter that reads more than a canvas and regions: pictures, masks, visual prompts."""

    def check(self, request: PaintRequest) -> None:
        """Raise `InputError`, saying what is possible, if it cannot do what is asked."""
        ...


@runtime_checkable
class Noting(Protocol):
    """A painter with something to record besides the request."""

    def notes(self, request: PaintRequest) -> Mapping[str, str | int | float | bool]:
        """What the step's settings say of how the request is painted: a function of the request alone."""
        ...


def takes(painter: Painter, kind: EditType | None) -> EditType | None:
    """The kind of edit, if the painter was taught it and it follows no picture; else None, the general path."""
    painter = inner(painter)
    able = isinstance(painter, Able) and kind in getattr(painter, "edits", ())
    return kind if kind and able and not DEFINITIONS[kind].visual else None


def noted(painter: Painter, request: PaintRequest) -> Mapping[str, str | int | float | bool]:
    """What a painter wants recorded of how it paints a request."""
    painter = inner(painter)
    return painter.notes(request) if isinstance(painter, Noting) else {}


def inner(painter: Painter) -> Painter:
    """The painter itself, out of whatever holds it to a mask or to its turn (their `painter`)."""
    held = getattr(painter, "painter", None)
    return painter if held is None else inner(held)


def open_painter(name: str) -> Painter:
    """Open a painter by name.

    `embedded`, or `embedded:<set>` of the package's sets; `flux:<folder>`, in the embedded painter's own format or a
    pipeline of diffusers (FLUX.1 dev, schnell, Kontext, Fill; FLUX.2 klein; FLUX.3), or `flux:<hub id>`. Options
    follow a question mark (`painter.loading.Options`), for example `flux:models/FLUX.1-dev?dtype=bf16&offload=model`
    or `embedded?editor=editor.safetensors`.

    Raises:
        BackendError: no such backend or option.
        WeightsError: the folder is missing or damaged, or the hub cannot be reached.
    """
    from brushloop.painter.loading import HUB_ID, Options, split

    name, options = split(name)
    folder = folder_of(name, "flux")
    if options.editor or options.edit:
        from brushloop.painter.editor.painter import open_editor

        if replace(options, editor="", edit="") != Options():
            raise BackendError(f"painter {name!r}: besides editor and edit no option goes with an editor")
        if options.editor == "installed" and folder:
            raise BackendError(f"painter {name!r}: the editor that is installed fits embedded alone; name your own")
        return open_editor(folder, options.editor, options.edit)
    if is_own(name):
        if options != Options():
            raise BackendError(f"painter {name!r}: the embedded painter takes no option but editor and edit")
    elif is_pipeline(path := Path(str(folder)).expanduser()) or (HUB_ID.fullmatch(str(folder)) and not path.exists()):
        from brushloop.painter.pipelines import PipelinePainter

        return PipelinePainter(str(folder), options)
    from brushloop.painter.flux import FluxPainter

    return FluxPainter(folder)


def is_pipeline(folder: Path) -> bool:
    """Whether a folder is a pipeline of diffusers that is not in the embedded painter's format.

    That format is a `FluxPipeline` whose CLIP reads 32 words and whose tokens have 64 channels.
    """
    import json

    from brushloop.painter.modular import INDEX

    if (folder / INDEX).is_file():
        return True
    try:
        name = json.loads((folder / "model_index.json").read_text())["_class_name"]
        words = json.loads((folder / "text_encoder" / "config.json").read_text()).get("max_position_embeddings")
        channels = json.loads((folder / "transformer" / "config.json").read_text()).get("in_channels")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False  # damaged or missing: the embedded painter says what is wrong
    return str(name) != "FluxPipeline" or (words, channels) != (32, 64)
