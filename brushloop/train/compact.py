"""The state of a run in a third of its bytes, so that a checkpoint can be moved.

Weights are rounded to bfloat16 by chance, up or down in proportion, so that on the average nothing is lost; their
moving average is kept as its difference from them and, like first moments, in 8 bits with a scale for every 128
numbers; second moments, whose range is wide, in bfloat16 (8-bit optimizers, Dettmers et al. 2022, keep moments in this
manner). A run that writes such checkpoints goes on from what they say, so that a resume is as exact as ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

BLOCK = 128
"""Numbers that share a scale."""
LEAST = 4096
"""Tensors of fewer numbers stay as they are."""


def shrunk(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state of a run (`module`, `average`, `optimizers`, `step`, …), smaller."""
    chance = torch.Generator().manual_seed(int(state["step"]))
    module = {key: rounded(value.cpu(), chance) if _large(value) else value for key, value in state["module"].items()}
    average = {
        key: eighths(value.cpu() - base.float()) if (base := _under(module, key)) is not None else value
        for key, value in state["average"].items()
    }
    optimizers = [
        {**each, "state": {number: _moments(own) for number, own in each["state"].items()}}
        for each in state["optimizers"]
    ]
    return {**state, "module": module, "average": average, "optimizers": optimizers}


def whole(state: Mapping[str, Any]) -> dict[str, Any]:
    """What `shrunk` was given, but for rounding; a state that is whole comes back as it is."""
    module = {key: _float(value) for key, value in state["module"].items()}
    average = {
        key: _float(value) + module[key.removeprefix("module.")] if isinstance(value, dict) else value
        for key, value in state["average"].items()
    }
    optimizers = [
        {**each, "state": {number: {key: _float(v) for key, v in own.items()} for number, own in each["state"].items()}}
        for each in state["optimizers"]
    ]
    return {**state, "module": module, "average": average, "optimizers": optimizers}


def rounded(values: Tensor, chance: torch.Generator) -> Tensor:
    """float32 numbers as bfloat16, each up or down with a probability that keeps its mean."""
    bits = values.contiguous().view(torch.int32)
    return (
        ((bits + torch.randint(1 << 16, bits.shape, generator=chance, dtype=torch.int32)) & -(1 << 16))
        .view(torch.float32)
        .bfloat16()
    )


def eighths(values: Tensor) -> dict[str, Any]:
    """Numbers in 8 bits, by blocks, each with a scale; `_float` reads them."""
    blocks = F.pad(values.float().flatten(), (0, -values.numel() % BLOCK)).view(-1, BLOCK)
    scale = (blocks.abs().amax(1, keepdim=True) / 127).bfloat16()
    codes = (blocks / scale.float().clamp_min(1e-30)).round().clamp(-127, 127)
    return {"eighths": codes.to(torch.int8), "scale": scale, "shape": list(values.shape)}


def _moments(own: Mapping[str, Any]) -> dict[str, Any]:
    """What an optimizer knows of one parameter; what is small, or not known here, stays as it is."""
    kept = dict(own)
    for key, value in own.items():
        if isinstance(value, Tensor) and _large(value):
            if key in ("momentum_buffer", "exp_avg"):
                kept[key] = eighths(value.cpu())
            elif key == "exp_avg_sq":
                kept[key] = value.cpu().bfloat16()
    return kept


def _large(value: Tensor) -> bool:
    return value.dtype is torch.float32 and value.numel() >= LEAST


def _under(module: Mapping[str, Tensor], key: str) -> Tensor | None:
    """The rounded weights that an average of that name is the average of."""
    found = module.get(key.removeprefix("module."))
    return found if found is not None and found.dtype is torch.bfloat16 else None


def _float(value: Any) -> Any:
    if isinstance(value, dict):
        found = (value["eighths"].float() * value["scale"].float()).flatten()
        return found[: torch.Size(value["shape"]).numel()].view(value["shape"])
    return value.float() if isinstance(value, Tensor) and value.dtype is torch.bfloat16 else value
