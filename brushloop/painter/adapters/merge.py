"""Adapters merged in place from a pristine copy: a denoising step then costs what it costs the base alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from brushloop.errors import InputError
from brushloop.painter.adapters.adapter import Adapter, Omega, linears

if TYPE_CHECKING:
    from diffusers import FluxTransformer2DModel


@dataclass(frozen=True)
class Part:
    """An adapter, how its domains are mixed, and how strongly it is laid over the base."""

    adapter: Adapter
    omega: Omega = None
    strength: float = 1.0


def digest(base: str, parts: Sequence[Part]) -> str:
    """The hash of a base with adapters laid over it; without any, the base's own."""
    if not parts:
        return base
    told = [f"{part.adapter.digest} {part.omega} {part.strength}" for part in parts]
    return hashlib.sha256("\n".join([base, *told]).encode()).hexdigest()


class Merger:
    """Lays adapters over a transformer and takes them off again, without loading anything.

    The first touch of a layer keeps its weight; every later state is computed from that copy, so that
    switching leaves no rounding behind.

    Args:
        transformer: the base.
        keep: where those copies lie: beside the base it is fastest, on the processor it takes no memory of the GPU.
    """

    def __init__(self, transformer: FluxTransformer2DModel, keep: str | torch.device = "cpu") -> None:
        self.transformer, self._keep = transformer, keep
        self._layers = linears(transformer)
        self._pristine: dict[str, Tensor] = {}

    def use(self, *parts: Part) -> None:
        """Lay these adapters over the base, and no others: W0 + Σ strength · Σ ωᵢ Bᵢ A. Without any: the base.

        Raises:
            WeightsError: one is for another base; nothing has changed then.
            InputError: an ω that does not fit, or a strength that is no number; nothing has changed then.
        """
        weights = []
        for part in parts:
            part.adapter.check(self.transformer)
            weights.append(part.adapter.weights(part.omega))
            if not torch.tensor(part.strength).isfinite():
                raise InputError(f"the strength of {part.adapter.name} is {part.strength}: give a number such as 0.8")
        sums: dict[str, Tensor] = {}
        for part, omega in zip(parts, weights, strict=True):
            for layer, down, up in part.adapter.mixed(omega):
                delta = part.strength * (up @ down)
                sums[layer] = sums[layer] + delta if layer in sums else delta
        with torch.no_grad():
            for layer in self._pristine.keys() | sums.keys():
                weight = self._layers[layer].weight
                pristine = self._pristine.setdefault(layer, weight.detach().to(self._keep, copy=True))
                if layer in sums:
                    weight.copy_((pristine.float() + sums[layer].to(pristine.device)).to(weight.dtype))
                else:
                    weight.copy_(pristine)
