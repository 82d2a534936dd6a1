"""Recipe `autoencoder`: the painter's latent space, learned on rendered scenes.

FLUX's own class and shape of code (`AutoencoderKL`, 8x downsampling, 16 channels), with narrow layers and
no sampling: the code is the posterior's mean. It is kept small and smooth for the painter's sake: noise
is added to it in training, and its size is penalised.
"""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn
from torch.nn import functional as F

from brushloop.supervision.world import scenes
from brushloop.train.begin import take_over
from brushloop.train.loop import Recipe, fit
from brushloop.train.machine import autocast, device

CHANNELS = 16
CROP = 48
"""Side in pixels of the crops it is trained on (it is convolutional: any size goes in afterwards)."""
RECIPE = Recipe(steps=4000, batch=16, lr=2e-3, warmup=100, ema=0.995, weight_decay=0.0, log_every=25)


def build() -> AutoencoderKL:
    """A fresh autoencoder: (B 3 H W) in -1..1 outside, (B 16 H/8 W/8) latents, narrow where pictures are large."""
    vae = AutoencoderKL(
        block_out_channels=(16, 32, 64, 128),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=CHANNELS,
        norm_num_groups=8,
        sample_size=scenes.CANVAS,
        mid_block_add_attention=False,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    for part in vae.modules():  # residual branches start at zero: the net starts as a well-conditioned pyramid
        if isinstance(part, ResnetBlock2D):
            nn.init.zeros_(part.conv2.weight)
        elif isinstance(part, (Downsample2D, Upsample2D)):
            nn.init.orthogonal_(part.conv.weight)
    nn.init.orthogonal_(vae.encoder.conv_in.weight)
    return vae


def to_tensor(pictures: list[np.ndarray]) -> Tensor:
    """RGB pictures as (B 3 H W) floats in -1..1."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


class Reconstruction:
    """Give back the scene from its code."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe, self.device = recipe, device()
        self.module: Any = build().to(self.device)

    def begin(self, folder: Path) -> None:
        """Take over the autoencoder in a folder, or in a painter's."""
        take_over(self.module, folder / "vae" if (folder / "vae").is_dir() else folder)

    def batch(self, step: int) -> Tensor:
        rng = random.Random(f"autoencoder/{self.recipe.seed}/{step}")
        pictures = []
        for _ in range(self.recipe.batch):
            scene = scenes.sample_split(rng, True)
            picture = np.asarray(scenes.render(scene.elements, scene.style, scene.variant))
            x, y = scenes.center(rng.choice([box for thing in scene.elements for box in thing.boxes]))
            left, top = (
                min(max(round(at * scenes.CANVAS / 100 - rng.uniform(0.2, 0.8) * CROP), 0), scenes.CANVAS - CROP)
                for at in (x, y)
            )
            pictures.append(picture[top : top + CROP, left : left + CROP])
        return to_tensor(pictures).to(self.device)

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        x = self.batch(step).to(memory_format=torch.channels_last)
        with autocast(self.device, self.recipe.precision):
            code = mean_code(self.module, x)
            back = self.module.decoder(code + 0.1 * torch.randn_like(code))
        code, back = code.float(), back.float()
        pixel = (back - x).abs().mean()
        edges = sum((d(back) - d(x)).abs().mean() for d in (_dx, _dy))
        square = F.mse_loss(back, x)
        size = code.pow(2).mean()
        figures = {"l1": pixel.item(), "psnr": 10 * math.log10(4 / square.item()), "code": size.item()}
        return pixel + edges + 2 * square + 1e-3 * (size - 1).clamp_min(0), figures


def mean_code(vae: Any, pixels: Tensor) -> Tensor:
    """The mean of the code of (B 3 H W) pixels."""
    moments: Tensor = vae.encoder(pixels)
    return moments.chunk(2, dim=1)[0]


def _dx(x: Tensor) -> Tensor:
    return x[..., :, 1:] - x[..., :, :-1]


def _dy(x: Tensor) -> Tensor:
    return x[..., 1:, :] - x[..., :-1, :]


def train(folder: Path, recipe: Recipe = RECIPE, seconds: float | None = None) -> None:
    """Train and write a diffusers folder at `folder/vae`, with the latents' scale and shift in its config."""
    task = Reconstruction(recipe)
    task.module.to(memory_format=torch.channels_last)

    def save(average: Any, step: int) -> None:
        with torch.no_grad():
            code = mean_code(average, task.batch(-1))
        average.register_to_config(scaling_factor=float(1 / code.std()), shift_factor=float(code.mean()))
        average.save_pretrained(folder / "vae")

    fit(task, recipe, folder, on_save=save, seconds=seconds)
