"""Linear layers that keep their weights in 8 bits and stand still: half the memory under an adapter that learns.

A row of the weights is scaled to the range of float8 (e4m3: 4 bits of exponent, 3 of fraction) and rounded. In use it
is made whole again in the type of what comes in; gradients flow through to the input. Where blocks are computed again
in the backward pass, only one block's weights are ever whole. (LLM.int8 and QLoRA, Dettmers et al. 2022 and 2023, keep
a frozen base small in this manner; the format is NVIDIA's and ARM's of 2022.)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STORED = torch.float8_e4m3fn


class Eighths(nn.Linear):
    """A frozen linear layer: `weight` holds the bytes of its numbers, `scale` (out 1) what each row was divided by.

    To whoever looks at the type of a weight they are integers, to which nothing should be converted.
    """

    scale: Tensor

    def forward(self, input: Tensor) -> Tensor:
        """(… in) to (… out)."""
        kind = input.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else input.dtype
        return F.linear(input, self.weight.view(STORED).to(dtype) * self.scale.to(dtype), self.bias)


def shrink(module: nn.Module) -> Any:
    """Keep the weights of all linear layers of a module in 8 bits, in place; returns the module."""
    for layer in module.modules():
        if type(layer) is nn.Linear:
            weight = layer.weight.detach()
            scale = weight.abs().amax(1, keepdim=True).float().clamp_min(1e-12) / torch.finfo(STORED).max
            layer.weight = nn.Parameter((weight.float() / scale).to(STORED).view(torch.int8), requires_grad=False)
            layer.__class__ = Eighths
            layer.register_buffer("scale", scale, persistent=False)
    return module
