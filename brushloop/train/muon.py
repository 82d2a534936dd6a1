"""Muon (Jordan et al. 2024) in the precision that the device multiplies in; torch's own knows bfloat16 alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from brushloop.precision import in_bf16


class Muon(torch.optim.Muon):
    """As torch's with `adjust_lr_fn="match_rms_adamw"`, and with its state: a run may change machines."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Take a step; in bfloat16 it is torch's, in float32 the same sums written out."""
        groups = [group for group in self.param_groups if any(each.grad is not None for each in group["params"])]
        if all(in_bf16(group["params"][0].device) for group in groups):
            return super().step(closure)
        with torch.enable_grad():
            loss = None if closure is None else closure()
        for group in groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(weight.grad)
                momentum = state["momentum_buffer"].lerp_(weight.grad, 1 - group["momentum"])
                update = weight.grad.lerp(momentum, group["momentum"]) if group["nesterov"] else momentum
                update = orthogonal(update, group["ns_coefficients"], group["ns_steps"], group["eps"])
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(update, alpha=-group["lr"] * 0.2 * max(weight.shape) ** 0.5)  # "match_rms_adamw"
        return loss


def orthogonal(matrix: Tensor, factors: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """The nearest orthogonal matrix, nearly: `steps` of a Newton-Schulz iteration of the fifth order with `factors`."""
    first, third, fifth = factors
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / wide.norm().clamp(min=eps)
    for _ in range(steps):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=third, alpha=fifth), wide, beta=first)
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T
