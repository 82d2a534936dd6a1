"""Pipelines that diffusers assembles from blocks (FLUX.3): loaded from one folder, told of every denoising step.

Their text encoder is a vision-language model. It is loaded as `hf:` loads one, and once: a planner and a critic that
are asked of the same folder (`hf:<folder>`) share it with the painter.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import TYPE_CHECKING, Any

from brushloop.errors import BackendError
from brushloop.weights import Weights, find

if TYPE_CHECKING:
    from brushloop.painter.base import OnDenoise
    from brushloop.painter.loading import Options

CLASSES = ("Flux3ModularPipeline", "Flux3DistilledModularPipeline")
INDEX = "modular_model_index.json"
PARTS = ("text_encoder/config.json", "tokenizer/tokenizer_config.json", "vae/config.json", "transformer/config.json")
"""What a folder must hold. An index may name other repositories for its parts: those are never fetched."""


def assemble(kind: Any, weights: Weights, options: Options, dtype: Any, transformer: Any) -> Any:
    """A pipeline over the parts of a folder.

    It reads the prompt as given: prompts come from the plan here, so the family's own rewriter of prompts is left out.

    Args:
        kind: its class, one of `CLASSES`.
        weights: the folder.
        options: of which guidance counts here.
        dtype: of the autoencoder; the text encoder keeps the type that it is stored in.
        transformer: the one that it denoises with, loaded already.

    Raises:
        WeightsError: a part is missing or damaged.
    """
    import diffusers

    from brushloop.vlm_hf import load_model, load_processor

    find("painter", str(weights.folder), PARTS)
    # Every failure is raised as well: in the log it would be a traceback for a cancel, too.
    for quiet in ("diffusers.modular_pipelines", "diffusers.guiders"):
        logging.getLogger(quiet).setLevel(logging.CRITICAL)
    with weights.loading():
        blocks = getattr(diffusers, kind.default_blocks_name)()
        blocks.sub_blocks.pop("prompt_upsampler")
        for loop in _loops(blocks):
            loop.set_progress_bar_config(disable=True)
            loop.sub_blocks.insert("told", _telling()(), len(loop.sub_blocks))
        pipeline = kind(blocks=blocks)
        given = {
            "transformer": transformer,
            "vae": diffusers.AutoencoderKLFlux2.from_pretrained(
                weights.folder / "vae", dtype=dtype, local_files_only=True, use_safetensors=True
            ),
            "text_encoder": load_model(Weights("painter", weights.folder / "text_encoder")),
            "tokenizer": load_processor(weights.folder / "tokenizer"),
        }
        if (weights.folder / "scheduler" / "scheduler_config.json").is_file():
            scheduler = diffusers.FlowMatchEulerDiscreteScheduler
            given["scheduler"] = scheduler.from_pretrained(weights.folder / "scheduler", local_files_only=True)
        if options.guidance is not None and "guider" in pipeline.components:
            given["guider"] = diffusers.ClassifierFreeGuidance(guidance_scale=options.guidance)
        pipeline.update_components(**given)
    return pipeline


def place(pipeline: Any, offload: str, device: Any) -> None:
    """Put transformer and autoencoder on a device, or let them come there to work (`Options.offload`).

    The text encoder stays where it was loaded: others may be asking it.
    """
    import accelerate
    from diffusers.hooks import apply_group_offloading

    before = None
    for part in (pipeline.vae, pipeline.transformer):
        if offload == "model":
            _, before = accelerate.cpu_offload_with_hook(part, device, before)
        elif offload == "sequential":
            accelerate.cpu_offload(part, device)
        elif offload == "group":
            streams = device.type == "cuda"
            apply_group_offloading(part, onload_device=device, offload_type="leaf_level", use_stream=streams)
        else:
            part.to(device)


def known(name: str) -> Any:
    """The class of that name.

    Raises:
        BackendError: the installed diffusers is older than it.
    """
    import diffusers

    try:
        return getattr(diffusers, name)
    except AttributeError:
        raise BackendError(
            f"{name} is not in diffusers {diffusers.__version__}: pip install 'diffusers>=0.42' for FLUX.3"
        ) from None


def run(pipeline: Any, on_denoise: OnDenoise | None, **given: Any) -> Any:
    """Run it, and return the first picture. `on_denoise` may raise to cancel."""
    steps = [loop.sub_blocks["told"] for loop in _loops(pipeline._blocks)]
    for step in steps:
        step.on_denoise = on_denoise
    try:
        return pipeline(**given, output="images")[0]
    finally:
        for step in steps:
            step.on_denoise = None


def _loops(blocks: Any) -> list[Any]:
    from diffusers.modular_pipelines import LoopSequentialPipelineBlocks

    if isinstance(blocks, LoopSequentialPipelineBlocks):
        return [blocks]
    return [loop for block in (getattr(blocks, "sub_blocks", None) or {}).values() for loop in _loops(block)]


@cache
def _telling() -> Any:
    from diffusers.modular_pipelines import ModularPipelineBlocks

    class Telling(ModularPipelineBlocks):
        """The last block of a denoising step: says that it is done."""

        model_name = "flux3"
        on_denoise: OnDenoise | None = None

        @property
        def description(self) -> str:
            return "Tells that a denoising step is done."

        def __call__(self, components: Any, block_state: Any, i: int, t: Any) -> tuple[Any, Any]:
            if self.on_denoise is not None:
                self.on_denoise(i + 1, int(block_state.num_inference_steps))
            return components, block_state

    return Telling
