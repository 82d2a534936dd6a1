"""Visual inputs derived from a picture: edges, lines, outlines, flat areas; and depth, pose and segmentation.

The first eight are computed here, with scikit-image (extra `visual`). Depth, pose and segmentation need a model: any
of transformers' in a local folder. All come back in RGB at the picture's size.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brushloop.errors import BackendError, InputError
from brushloop.painter.grids import flat
from brushloop.weights import find

if TYPE_CHECKING:
    from PIL.Image import Image

Array = NDArray[Any]
BONES = (
    (0, 1), (0, 2), (1, 3), (2, 4), (5, 6), (5, 7), (7, 9), (6, 8), (8, 10), (5, 11), (6, 12), (11, 12), (11, 13),
    (13, 15), (12, 14), (14, 16),
)  # fmt: skip
"""Pairs of COCO's 17 key points that a skeleton joins."""


def derive(kind: str, picture: Image, model: str | None = None) -> Image:
    """One visual input of a picture.

    Args:
        kind: one of `KINDS`.
        picture: of any mode; transparent parts are read as white.
        model: folder of a transformers model; needed for depth, pose and segmentation, and for no other.

    Raises:
        InputError: an unknown kind, or a model that is missing or not needed.
        BackendError: scikit-image is not installed.
        WeightsError: the folder is missing, damaged, or of another kind of model.
    """
    if kind in SEEN:
        if model is None:
            raise InputError(f"{kind} is seen by a model: name the folder of one of transformers' (--model)")
        return SEEN[kind](flat(picture), model)
    if kind not in COMPUTED:
        raise InputError(f"no visual input {kind!r}: use {', '.join(KINDS)}")
    if model is not None:
        raise InputError(f"{kind} is computed, not seen by a model: leave the model out")
    upright = flat(picture)
    made = COMPUTED[kind](upright)
    return made.convert("RGB")


# Computed -------------------------------------------------------------------------------------------------------


def edge(picture: Image) -> Image:
    """Canny edges, white on black."""
    return _image(_skimage("feature").canny(_grey(picture), sigma=1.5))


def sketch(picture: Image) -> Image:
    """Fine dark lines on white: the picture divided by its own blur."""
    grey = _grey(picture)
    soft = _skimage("filters").gaussian(grey, sigma=max(1.0, max(picture.size) / 100))
    return _image(np.clip((grey + 0.02) / (soft + 0.02), 0, 1) ** 3)


def scribble(picture: Image) -> Image:
    """A few thick black strokes on white: coarse edges, made fat."""
    from PIL.Image import Resampling

    small = picture.copy()
    small.thumbnail((128, 128))
    morphology = _skimage("morphology")
    lines = morphology.dilation(_skimage("feature").canny(_grey(small), sigma=1.5), morphology.disk(1))
    return _image(~lines).resize(picture.size, Resampling.NEAREST)


def contour(picture: Image) -> Image:
    """Closed outlines of areas that look alike, black on white."""
    segmentation = _skimage("segmentation")
    areas = segmentation.felzenszwalb(_pixels(picture), scale=200, sigma=1.0, min_size=max(4, _area(picture) // 300))
    return _image(~segmentation.find_boundaries(areas, mode="inner"))


def doodle(picture: Image) -> Image:
    """What somebody would paint with eight crayons: flat areas without detail."""
    from PIL import Image, ImageFilter

    soft = picture.filter(ImageFilter.GaussianBlur(max(picture.size) / 80))
    few = soft.quantize(8, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).convert("RGB")
    return few.filter(ImageFilter.ModeFilter(max(3, max(picture.size) // 40)))


def grey(picture: Image) -> Image:
    """Without colours."""
    return picture.convert("L")


def blur(picture: Image) -> Image:
    """Out of focus."""
    from PIL import ImageFilter

    return picture.filter(ImageFilter.GaussianBlur(max(1.0, max(picture.size) / 64)))


def mosaic(picture: Image) -> Image:
    """Sixteen tiles along the longer side."""
    from PIL.Image import Resampling

    cell = max(1, max(picture.size) // 16)
    small = picture.resize((max(1, picture.width // cell), max(1, picture.height // cell)), Resampling.BOX)
    return small.resize(picture.size, Resampling.NEAREST)


COMPUTED: dict[str, Callable[[Image], Image]] = {
    each.__name__: each for each in (edge, sketch, scribble, contour, doodle, grey, blur, mosaic)
}


# Seen by a model ------------------------------------------------------------------------------------------------


def depth(picture: Image, folder: str) -> Image:
    """Distances, near is bright, as a model of depth estimation sees them."""
    seen = _seen("AutoModelForDepthEstimation", folder, picture).predicted_depth
    return _image(_spread(_resized(seen[:, None], picture)[0, 0]))


def segmentation(picture: Image, folder: str) -> Image:
    """Areas of one class in one colour, as a model of semantic segmentation sees them."""
    from PIL import Image

    seen = _seen("AutoModelForSemanticSegmentation", folder, picture).logits
    classes = _resized(seen, picture)[0].argmax(0)
    return Image.fromarray(palette(seen.shape[1])[classes], "RGB")


def pose(picture: Image, folder: str) -> Image:
    """The skeleton of the one person in the picture, coloured bones on black (ViTPose, top-down)."""
    from PIL import Image, ImageDraw

    heat = _seen("VitPoseForPoseEstimation", folder, picture, boxes=[[[0, 0, *picture.size]]]).heatmaps[0]
    flat_heat = heat.flatten(1)
    rows, columns = flat_heat.argmax(1) // heat.shape[2], flat_heat.argmax(1) % heat.shape[2]
    points = [
        ((float(x) + 0.5) * picture.width / heat.shape[2], (float(y) + 0.5) * picture.height / heat.shape[1])
        for x, y in zip(columns, rows, strict=True)
    ]
    drawn = Image.new("RGB", picture.size)
    pen, colors = ImageDraw.Draw(drawn), palette(len(BONES))
    for (first, second), color in zip(BONES, colors, strict=True):
        if max(first, second) < len(points):
            line = (*points[first], *points[second])
            pen.line(line, tuple(int(each) for each in color), width=max(1, max(picture.size) // 100))
    return drawn


SEEN: dict[str, Callable[[Image, str], Image]] = {each.__name__: each for each in (depth, pose, segmentation)}
KINDS = (*COMPUTED, *SEEN)
"""Every visual input."""


def palette(colors: int) -> NDArray[np.uint8]:
    """So many colours, each as far from the others as hue and brightness allow (N 3)."""
    made = [colorsys.hsv_to_rgb(i * 0.618034 % 1, 0.75, 1 - 0.25 * (i % 3)) for i in range(colors)]
    return np.asarray(np.round(np.asarray(made) * 255), np.uint8)


def _seen(auto: str, folder: str, picture: Image, **given: Any) -> Any:
    import torch
    import transformers

    weights = find("visual input", folder, ("config.json", "preprocessor_config.json"))
    model = weights.load(getattr(transformers, auto))
    with weights.loading(), torch.inference_mode():
        processor = transformers.AutoImageProcessor.from_pretrained(
            weights.folder, local_files_only=True, backend="pil"
        )
        return model(**processor(images=picture, return_tensors="pt", **given))


def _resized(maps: Any, picture: Image) -> Any:
    import torch

    size = (picture.height, picture.width)
    return torch.nn.functional.interpolate(maps.float(), size, mode="bilinear", align_corners=False).numpy()


def _spread(values: Array) -> Array:
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def _skimage(part: str) -> Any:
    import importlib

    try:
        return importlib.import_module(f"skimage.{part}")
    except ImportError as error:
        raise BackendError("lines are derived with scikit-image: pip install 'brushloop[visual]'") from error


def _pixels(picture: Image) -> Array:
    return np.asarray(picture, np.float32) / 255


def _grey(picture: Image) -> Array:
    return np.asarray(picture.convert("L"), np.float32) / 255


def _image(values: NDArray[Any]) -> Image:
    from PIL import Image

    return Image.fromarray(np.round(np.asarray(values, np.float32) * 255).astype(np.uint8), "L").convert("RGB")


def _area(picture: Image) -> int:
    return picture.width * picture.height
