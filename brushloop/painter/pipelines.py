"""Painters of full size: FLUX.1 (dev, schnell), Kontext, Fill, FLUX.2 klein and FLUX.3, as diffusers' own pipelines.

Each family takes a request in its own way; what it cannot take is told before anything is loaded. Reference pictures
of FLUX.2 klein's KV pipeline are read once, and their keys and values kept for the other denoising steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from brushloop.canvas import EditType, ModelRef
from brushloop.errors import InputError, SizeError
from brushloop.painter import modular
from brushloop.painter.base import OnDenoise, PaintRequest
from brushloop.painter.loading import Options, fetch, laid, load, pipeline_class, require
from brushloop.weights import Weights

if TYPE_CHECKING:
    from PIL.Image import Image

UNIT = 16
"""Pixels along a side of one token."""
MAX_PIXELS = 4 * 2**20
KLEIN = ("Flux2KleinPipeline", "Flux2KleinKVPipeline")
CLASSES = ("FluxPipeline", "FluxKontextPipeline", "FluxFillPipeline", *KLEIN, *modular.CLASSES)
MANY = (*KLEIN, *modular.CLASSES)
"""Those that read several pictures."""
INSTRUCTED = ("FluxKontextPipeline", *MANY)
"""Those that edit by instruction; the others paint a prompt within a mask, or over a canvas."""
INPAINTING = {
    "FluxPipeline": "FluxInpaintPipeline",
    "FluxKontextPipeline": "FluxKontextInpaintPipeline",
    "Flux2KleinPipeline": "Flux2KleinInpaintPipeline",
}
"""Pipelines over the same models that paint within a mask; those of instructed families read one picture besides."""


class PipelinePainter:
    """A pipeline of diffusers as a painter.

    Args:
        where: its folder, or its id on the hub.
        options: how it is loaded.
    """

    def __init__(self, where: str, options: Options | None = None) -> None:
        self.options = options or Options()
        require(self.options)
        self.weights: Weights = fetch(where)
        self.family = pipeline_class(self.weights)
        from brushloop.painter.adapters.merge import digest

        self._parts = laid(self.options.lora)
        self.ref = ModelRef(id=f"flux:{where}", weights=digest(self.weights.digest, self._parts))
        self.size = (1024, 1024)

    def notes(self, request: PaintRequest) -> Mapping[str, str | int | float | bool]:
        """Options that make another picture of a request."""
        default = Options()
        names = ("dtype", "quant", "attention", "guidance", "steps", "lora")
        told = [(name, getattr(self.options, name)) for name in names]
        text = "&".join(f"{name}={value}" for name, value in told if value != getattr(default, name))
        return {"painter_options": text} if text else {}

    @property
    def edits(self) -> frozenset[EditType]:
        """Kinds of edit it can be asked for: all by instruction, none but those of a mask or prompt else."""
        if self.family in INSTRUCTED:
            return frozenset(EditType)
        within = {EditType.ADD, EditType.REMOVE, EditType.REPLACE, EditType.OUTPAINT}
        return frozenset(within | ({EditType.STYLE} if self.family == "FluxPipeline" else set()))

    def check_size(self, size: tuple[int, int]) -> None:
        """Raise `SizeError` for what is no multiple of 16 pixels, or of more than 4 megapixels."""
        if any(side % UNIT or side < 2 * UNIT for side in size) or size[0] * size[1] > MAX_PIXELS:
            near = tuple(max(2 * UNIT, round(side / UNIT) * UNIT) for side in size)
            raise SizeError(
                f"{self.family} paints multiples of {UNIT} pixels up to {MAX_PIXELS // 2**20} megapixels, not "
                f"{size[0]}x{size[1]}: give for example {min(near[0], 2048)}x{min(near[1], 2048)}"
            )

    def check(self, request: PaintRequest) -> None:
        """Raise `InputError` if this family cannot take the request."""
        from brushloop.painter.units import check

        pictures = (request.canvas is not None) + len(request.images)
        check(request.prompt, pictures)
        if self.family == "FluxFillPipeline" and request.canvas is None:
            raise InputError("FLUX Fill paints into a picture: give one, and a mask or a region")
        if pictures > 1 and self.family not in MANY:
            raise InputError(
                f"{self.family} reads one picture, and {pictures} are given: name FLUX.2 klein, FLUX.3 or an editor"
            )
        if request.images and request.canvas is None and self.family not in INSTRUCTED:
            raise InputError(f"{self.family} reads no reference pictures: name FLUX.1 Kontext, FLUX.2 klein or FLUX.3")
        if request.visual is not None and self.family not in MANY:
            raise InputError(f"{self.family} reads no visual input: name FLUX.2 klein, FLUX.3 or an editor")

    def paint(self, request: PaintRequest, on_denoise: OnDenoise | None = None) -> Image:
        """Paint one picture. See `Painter.paint`.

        Raises:
            InputError: this family cannot take the request.
        """
        import torch

        from brushloop.painter.units import plain

        self.check_size(request.size)
        self.check(request)
        steps = self.options.steps or request.denoising_steps
        given: dict[str, Any] = {
            "prompt": plain(request.prompt),
            "width": request.size[0],
            "height": request.size[1],
            "num_inference_steps": steps,
            "generator": torch.Generator().manual_seed(request.seed),
        }
        pipeline, more = self._how(request)
        made: Image
        if self.family in modular.CLASSES:
            made = modular.run(pipeline, on_denoise, **given, **more)
        else:
            guidance = 1.0 if getattr(pipeline.config, "is_distilled", False) else self.options.guidance
            if guidance is not None and self.family != "Flux2KleinKVPipeline":
                given["guidance_scale"] = guidance
            made = pipeline(**given, **more, callback_on_step_end=_telling(on_denoise)).images[0]
        return made if made.size == request.size else made.resize(request.size)

    def _how(self, request: PaintRequest) -> tuple[Any, dict[str, Any]]:
        """The pipeline that does it, and what it takes besides the prompt."""
        canvas, pipeline = request.canvas and request.canvas.convert("RGB"), self._pipeline
        pictures = [] if canvas is None else [canvas]
        pictures += [picture.image.convert("RGB") for picture in request.images]
        if request.visual is not None:
            pictures.append(request.visual.convert("RGB"))
        kontext = {"max_area": request.size[0] * request.size[1], "_auto_resize": False}
        more = kontext if self.family == "FluxKontextPipeline" else {}
        mask = self._mask(request) if canvas is not None else None
        if self.family == "FluxFillPipeline":
            return pipeline, {"image": canvas, "mask_image": mask or _white(request.size)}
        if mask is not None and self.family in INPAINTING and len(pictures) <= 2:
            within = {"image": canvas, "mask_image": mask, "strength": request.strength, **more}
            if len(pictures) == 2:
                within["image_reference"] = _readable(pictures[1])
            return self._sibling(INPAINTING[self.family]), within
        if not pictures:
            return pipeline, {}
        if self.family in MANY:
            return pipeline, {"image": [_readable(picture) for picture in pictures]}
        if self.family == "FluxKontextPipeline":
            return pipeline, {"image": pictures[0], **more}
        return self._sibling("FluxImg2ImgPipeline"), {"image": canvas, "strength": request.strength}

    @staticmethod
    def _mask(request: PaintRequest) -> Image | None:
        from PIL import Image

        if request.mask is not None:
            return request.mask.convert("L")
        if not request.regions:
            return None
        mask = Image.new("L", request.size, 0)
        for left, top, right, bottom in request.regions:
            across, down = request.size[0] / 100, request.size[1] / 100
            mask.paste(255, (round(left * across), round(top * down), round(right * across), round(bottom * down)))
        return mask

    def _sibling(self, name: str) -> Any:
        """Another pipeline over the same models."""
        import diffusers

        made = getattr(diffusers, name).from_pipe(self._pipeline)
        made.set_progress_bar_config(disable=True)
        return made

    @cached_property
    def _pipeline(self) -> Any:
        return load(self.weights, self.options, CLASSES, self._parts)


def _telling(on_denoise: OnDenoise | None) -> Callable[[Any, int, Any, dict[str, Any]], dict[str, Any]]:
    def told(pipeline: Any, done: int, timestep: Any, kept: dict[str, Any]) -> dict[str, Any]:
        if on_denoise is not None:
            on_denoise(done + 1, int(pipeline.num_timesteps))
        return kept

    return told


def _readable(picture: Image) -> Image:
    """FLUX.2 and FLUX.3 want no side below 64 pixels and no ratio beyond 8: such a picture stands in a square."""
    from brushloop.painter.grids import Letterbox

    short, long = min(picture.size), max(picture.size)
    if short >= 64 and long <= 8 * short:
        return picture
    return Letterbox(picture.size, max(64, min(1024, long))).put(picture)


def _white(size: tuple[int, int]) -> Image:
    from PIL import Image

    return Image.new("L", size, 255)
