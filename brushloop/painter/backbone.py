"""A FLUX.1 folder in diffusers' format, as the rooms of the painter use it: text, pictures and tokens in and out.

Shapes: B batch, N tokens of a picture, C channels, L text tokens, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from brushloop.canvas import ModelRef
from brushloop.errors import WeightsError
from brushloop.painter.adapters.merge import Merger
from brushloop.painter.condition import prepare
from brushloop.painter.eighths import shrink
from brushloop.painter.loading import index, pipeline_class
from brushloop.painter.tokens import pack, to_picture, to_pixels, unpack
from brushloop.precision import autocast
from brushloop.weights import Weights, called, find, is_own

if TYPE_CHECKING:
    from PIL.Image import Image

FAMILIES = ("FluxPipeline", "FluxKontextPipeline")
"""Those of one transformer and of the same text encoders."""
MAX_TOKENS = 16_384
"""Tokens of one canvas: 2048 x 2048 pixels."""


class Backbone:
    """A base and what lays adapters over it.

    Args:
        folder: the base; None is the one that ships.
        device: where it computes; None means the accelerator, if there is one.
        small: whether the weights of transformer and long text encoder are kept in 8 bits (`eighths`).

    Raises:
        WeightsError: there is no such folder, it is incomplete, or of another family.
    """

    def __init__(self, folder: str | None = None, device: torch.device | None = None, *, small: bool = False) -> None:
        self.small = small
        self._device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        named = "model_index.json" if folder is None or is_own(folder) else index(Path(folder).expanduser()).name
        self.weights: Weights = find("painter", folder, (named, "transformer/config.json"))
        if (family := pipeline_class(self.weights)) not in FAMILIES:
            raise WeightsError(
                f"{self.weights.folder} holds a {family}: adapters for processes and the editor are laid over FLUX.1 "
                "(dev, schnell, Kontext); name such a folder"
            )
        self.ref = ModelRef(id=called(folder, "flux"), weights=self.weights.digest)

    @cached_property
    def pipeline(self) -> Any:
        """The base, loaded by diffusers, in bfloat16 on an accelerator."""
        from diffusers import FluxPipeline
        from diffusers.utils import logging

        logging.disable_progress_bar()
        with self.weights.loading():
            precision = torch.float32 if self._device.type == "cpu" else torch.bfloat16
            pipeline = FluxPipeline.from_pretrained(self.weights.folder, torch_dtype=precision, local_files_only=True)
            prepare(pipeline.transformer)
            if self.small:
                shrink(pipeline.transformer)
                shrink(pipeline.text_encoder_2)
            pipeline.set_progress_bar_config(disable=True)
            return pipeline.to(self._device)

    @cached_property
    def merger(self) -> Merger:
        """What lays adapters over the base."""
        return Merger(self.pipeline.transformer)

    @property
    def transformer(self) -> Any:
        """What denoises; it reads conditions."""
        return self.pipeline.transformer

    @property
    def device(self) -> torch.device:
        """Where the base computes."""
        device: torch.device = self.transformer.device
        return device

    @property
    def unit(self) -> int:
        """Pixels along a side of one token."""
        return int(self.pipeline.vae_scale_factor) * 2

    def scheduler(self) -> Any:
        """A scheduler of its own for one run: flow matching, Euler."""
        return type(self.pipeline.scheduler).from_config(self.pipeline.scheduler.config)

    def read(self, text: str | list[str]) -> tuple[Tensor, Tensor]:
        """Text features (B L D) and pooled features (B D) of one text or of several."""
        pipeline = self.pipeline
        length = min(512, pipeline.tokenizer_2.model_max_length)
        words, pooled, _ = pipeline.encode_prompt(text, None, max_sequence_length=length)
        return words, pooled

    def spans(self, text: str) -> list[tuple[int, int]]:
        """First and last character of each text token that `read` gives features of."""
        tokenizer = self.pipeline.tokenizer_2
        length = min(512, tokenizer.model_max_length)
        found = tokenizer(text, max_length=length, truncation=True, return_offsets_mapping=True).offset_mapping
        return [(int(start), int(end)) for start, end in found]

    def encode(self, pictures: Sequence[Image]) -> Tensor:
        """Pictures of one size as normalised tokens (B N C)."""
        vae = self.pipeline.vae
        with torch.inference_mode(), self.autocast():
            pixels = torch.cat([to_pixels(picture) for picture in pictures]).to(vae.device, vae.dtype)
            code = vae.encode(pixels).latent_dist.mode().float()
        return pack(((code - vae.config.shift_factor) * vae.config.scaling_factor).contiguous()).cpu()

    def decode(self, tokens: Tensor, rows: int, columns: int) -> Image:
        """Tokens (N C) of `rows` x `columns` as a picture."""
        vae = self.pipeline.vae
        code = unpack(tokens[None], rows * 2, columns * 2).to(vae.device, vae.dtype)
        with torch.inference_mode(), self.autocast():
            made = vae.decode(code / vae.config.scaling_factor + vae.config.shift_factor).sample.float().cpu()
        return to_picture(made)

    def noise(self, tokens: int, seed: int) -> Tensor:
        """Where a picture of so many tokens begins (1 N C); the same on every machine."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(1, tokens, self.transformer.config.in_channels, generator=generator)

    def autocast(self) -> Any:
        """bfloat16 where the device gains by it, for whatever does."""
        return autocast(self.device)
