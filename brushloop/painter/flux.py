"""The Flux painter: a diffusers folder, sampled by flow matching with classifier-free guidance.

One mechanism paints and edits. Without a canvas the picture starts from noise; with one, the canvas and a
mask of the regions join as clean condition tokens whose keys and values are computed once, and a local
edit denoises only the window of tokens around its regions.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from brushloop.canvas import EditType, ModelRef
from brushloop.errors import SizeError
from brushloop.painter.base import OnDenoise, PaintRequest
from brushloop.weights import Weights, called, find

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

FILES = (
    "model_index.json",
    "transformer/config.json",
    "transformer/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
    "text_encoder/model.safetensors",
    "text_encoder_2/model.safetensors",
    "scheduler/scheduler_config.json",
)


class FluxPainter:
    """A painter folder written by `python -m brushloop.train painter`; without a folder, the one that ships."""

    edits = frozenset(EditType(name) for name in ("add", "remove", "replace", "color", "move", "resize", "background"))
    """Kinds of edit that its recipe teaches."""

    def __init__(self, folder: str | None = None) -> None:
        self.weights: Weights = find("painter", folder, FILES)
        self.ref = ModelRef(id=called(folder, "flux"), weights=self.weights.digest)
        self.size = (128, 128)

    def check_size(self, size: tuple[int, int]) -> None:
        """Raise `SizeError` for any size but the one the painter learned."""
        if size != self.size:
            raise SizeError(
                f"the embedded painter paints {self.size[0]}x{self.size[1]} pixels, not {size[0]}x{size[1]}; "
                "leave the size out, or name a larger painter"
            )

    def paint(self, request: PaintRequest, on_denoise: OnDenoise | None = None) -> Image:
        """Paint one picture. See `Painter.paint`."""
        return self.paint_many([request], on_denoise)[0]

    def paint_many(self, requests: list[PaintRequest], on_denoise: OnDenoise | None = None) -> list[Image]:
        """Paint several pictures of the same kind (all edits, or none; same steps, guidance and strength) at once."""
        import torch

        from brushloop.painter.condition import encode_condition, join, positions, velocity
        from brushloop.painter.tokens import Window, mask, pack, to_picture, unpack
        from brushloop.precision import autocast

        first = requests[0]
        for request in requests:
            self.check_size(request.size)
        parts = self._parts
        high, wide = first.size[1] // 8, first.size[0] // 8
        ids = positions(high // 2, wide // 2)
        transformer, scheduler = parts["transformer"], parts["scheduler"]
        with torch.inference_mode(), autocast("cpu"):
            noise = torch.stack([self._noise(request.seed, high * wide // 4) for request in requests])
            local = first.canvas is not None and len(requests) == 1
            window = Window.around(first.regions) if local else Window()
            index = window.index()
            words, pooled = self._read(requests, window.words)
            condition = canvas = whole = None
            if first.canvas is not None:
                whole = pack(self._encode([request.canvas for request in requests if request.canvas is not None]))
            if whole is not None or first.regions:
                masks = torch.stack([mask(request.regions) for request in requests])
                condition = encode_condition(transformer, *join(whole, masks, index))
            if whole is not None:
                canvas, noise, ids = whole[:, index], noise[:, index], ids[index]
            steps = max(1, round(first.denoising_steps * first.strength))
            scheduler.set_timesteps(sigmas=np.linspace(first.strength, first.strength / steps, steps))
            start = float(scheduler.sigmas[0])
            x = noise if canvas is None or start >= 1 else start * noise + (1 - start) * canvas
            guided = first.guidance != 1
            if guided:
                condition = condition and condition.repeat(2)
                blank_words, blank_pooled = self._read([_blank(request) for request in requests], window.words)
                words, pooled = torch.cat([words, blank_words]), torch.cat([pooled, blank_pooled])
            for done, t in enumerate(scheduler.timesteps, start=1):
                both = torch.cat([x, x]) if guided else x
                v = velocity(transformer, both, (t / 1000).expand(len(both)), words, pooled, ids, condition).float()
                if guided:
                    told, blank = v.chunk(2)
                    v = blank + first.guidance * (told - blank)
                x = scheduler.step(v, t, x, return_dict=False)[0]
                if on_denoise is not None:
                    on_denoise(done, steps)
            if whole is not None:  # what was not denoised is the canvas
                whole[:, index] = x
                x = whole
            pictures = self._decode(unpack(x, high, wide))
        return [to_picture(picture[None]) for picture in pictures]

    @cached_property
    def _parts(self) -> dict[str, Any]:
        from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
        from transformers import CLIPTextModel, CLIPTokenizer, T5EncoderModel, T5Tokenizer

        from brushloop.painter.condition import prepare

        load, folder = self.weights.load, self.weights.folder
        with self.weights.loading():
            return {
                "transformer": _rounded(prepare(load(FluxTransformer2DModel, "transformer"))),
                "vae": load(AutoencoderKL, "vae"),
                "text_encoder": load(CLIPTextModel, "text_encoder"),
                "text_encoder_2": load(T5EncoderModel, "text_encoder_2"),
                "tokenizer": CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True),
                "tokenizer_2": T5Tokenizer.from_pretrained(folder / "tokenizer_2", local_files_only=True),
                "scheduler": FlowMatchEulerDiscreteScheduler.from_pretrained(folder / "scheduler"),
            }

    def _noise(self, seed: int, tokens: int) -> Tensor:
        import torch

        generator = torch.Generator().manual_seed(seed)
        return torch.randn(tokens, self._parts["transformer"].config.in_channels, generator=generator)

    def _read(self, requests: list[PaintRequest], length: int) -> tuple[Tensor, Tensor]:
        def ids(tokenizer: Any, texts: list[str]) -> Tensor:
            out: Tensor = tokenizer(
                texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt"
            ).input_ids
            return out

        parts, texts = self._parts, [request.prompt for request in requests]
        pooled = parts["text_encoder"](ids(parts["tokenizer"], texts)).pooler_output
        return parts["text_encoder_2"](ids(parts["tokenizer_2"], texts))[0], pooled

    def _encode(self, pictures: list[Image]) -> Tensor:
        import torch

        from brushloop.painter.tokens import to_pixels

        vae = self._parts["vae"]
        code = vae.encode(torch.cat([to_pixels(picture) for picture in pictures])).latent_dist.mode().float()
        scaled: Tensor = (code - vae.config.shift_factor) * vae.config.scaling_factor
        return scaled

    def _decode(self, latents: Tensor) -> Tensor:
        vae = self._parts["vae"]
        pixels: Tensor = vae.decode(latents / vae.config.scaling_factor + vae.config.shift_factor).sample.float()
        return pixels


def _rounded(model: Any) -> Any:
    """With the weights of linear layers in bfloat16, as autocast would round them anew in every denoising step."""
    import torch

    from brushloop.precision import in_bf16

    if not in_bf16("cpu"):
        return model
    for layer in model.modules():
        if isinstance(layer, torch.nn.Linear):
            layer.to(torch.bfloat16)
    return model


def _blank(request: PaintRequest) -> PaintRequest:
    from dataclasses import replace

    return replace(request, prompt="")
