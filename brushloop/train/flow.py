"""Flow matching as every painter's recipe does it (Lipman et al. 2023; the rectified form of FLUX).

Shapes: B batch, N tokens of a picture, C channels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from brushloop.painter.backbone import Backbone
from brushloop.train.machine import device

SHIFT = 0.6
"""Mean of the logit-normal timesteps: shapes are decided while much is noise (Esser et al. 2024, section 3.1)."""


def noised(clean: Tensor, shift: float = SHIFT) -> tuple[Tensor, Tensor, Tensor]:
    """x_t = (1 - t) x_0 + t ε (B N C) of clean tokens, its timesteps t (B) in 0-1, and the target ε - x_0 (B N C)."""
    noise = torch.randn_like(clean)
    t = torch.sigmoid(torch.randn(len(clean), device=clean.device) + shift)
    return (1 - t)[:, None, None] * clean + t[:, None, None] * noise, t, noise - clean


def guidance(transformer: Any, t: Tensor) -> Tensor | None:
    """What a guidance-distilled base (FLUX.1 dev) is told in training: a scale of 1, no guidance; None for others."""
    return torch.ones_like(t) if getattr(transformer.config, "guidance_embeds", False) else None


def still(base: Path | str | Backbone | None, small: bool = False) -> Backbone:
    """A base in which nothing learns, opened where this process computes, unless it is open; None is what ships."""
    backbone = (
        base if isinstance(base, Backbone) else Backbone(None if base is None else str(base), device(), small=small)
    )
    pipeline = backbone.pipeline
    for part in (pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2, pipeline.transformer):
        part.eval().requires_grad_(False)
    return backbone
