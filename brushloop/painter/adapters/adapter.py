"""Asymmetric LoRA as a value: one shared A a layer, one B a domain, mixed by weights ω.

W = W0 + Σ ωᵢ Bᵢ A (MakeAnything, equation 3; α/r is folded into B). An ordinary LoRA is the case of one
domain, so that styles and domains are one mechanism.

Shapes: D domains, R rank.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from brushloop.errors import InputError, WeightsError

if TYPE_CHECKING:
    from diffusers import FluxTransformer2DModel

Form = Literal["tokens", "in_grid"]
"""How given frames reach the painter: as clean condition tokens, or written into their cells of the noisy grid."""

Omega = str | Mapping[str, float] | Sequence[float] | Tensor | None
"""A domain's name (one-hot), weights by name or in order, or None where there is but one domain."""


@dataclass(frozen=True)
class Adapter:
    """An asymmetric LoRA in memory."""

    name: str
    """What errors call it: mostly its file."""
    domains: tuple[str, ...]
    down: Mapping[str, Tensor]
    """A of each layer (R in), by the layer's name in the transformer."""
    up: Mapping[str, Tensor]
    """B of each layer (D out R)."""
    form: Form = "tokens"
    cells: Mapping[str, int] = field(default_factory=dict)
    """Pixels along a side of a cell, by layout, that it was trained with."""

    def __post_init__(self) -> None:
        if not self.down or self.down.keys() != self.up.keys():
            odd = sorted(self.down.keys() ^ self.up.keys())
            raise WeightsError(f"{self.name} is no LoRA: {odd[0] + ' lacks its A or B' if odd else 'it has no layer'}")
        for layer, up in self.up.items():
            down = self.down[layer]
            if up.ndim != 3 or down.ndim != 2 or up.shape[2] != down.shape[0]:
                raise WeightsError(
                    f"{self.name}: A of {layer} has rank {down.shape[0]}, its B has rank {up.shape[-1]}; "
                    "the file is damaged or mixes two adapters"
                )
            if up.shape[0] != len(self.domains):
                raise WeightsError(f"{self.name}: {layer} has {up.shape[0]} B for {len(self.domains)} domains")

    @cached_property
    def digest(self) -> str:
        """SHA-256 of its domains and of what it adds, whatever the file's layout."""
        total = hashlib.sha256("\n".join(self.domains).encode())
        for layer in sorted(self.up):
            total.update(layer.encode())
            for value in (self.down[layer], self.up[layer]):
                total.update(str(tuple(value.shape)).encode())
                total.update(value.detach().cpu().float().contiguous().numpy().tobytes())
        return total.hexdigest()

    @property
    def rank(self) -> int:
        """The largest rank of its layers."""
        return max(down.shape[0] for down in self.down.values())

    def weights(self, omega: Omega = None) -> Tensor:
        """ω as (D) weights that sum to one.

        Raises:
            InputError: an unknown domain, a negative weight, another number of weights, or another sum.
        """
        count = len(self.domains)
        if omega is None and count == 1:
            return torch.ones(1)
        if omega is None:
            raise InputError(f"{self.name} has {count} domains: name one of {', '.join(self.domains)}")
        if isinstance(omega, str):
            omega = {omega: 1.0}
        if isinstance(omega, Mapping):
            for name in omega:
                if name not in self.domains:
                    near = difflib.get_close_matches(name, self.domains, n=3, cutoff=0.4) or self.domains
                    raise InputError(f"{self.name} has no domain {name!r}: use {', '.join(near)}")
            omega = [omega.get(name, 0.0) for name in self.domains]
        made = torch.as_tensor(omega, dtype=torch.float32).detach().flatten().cpu()
        if len(made) != count:
            raise InputError(f"{len(made)} weights for the {count} domains of {self.name}: give one for each")
        if not made.isfinite().all() or (made < 0).any() or abs(float(made.sum()) - 1) > 1e-3:
            raise InputError(
                f"the weights of {self.name}'s domains sum to {float(made.sum()):.3f}, the least is "
                f"{float(made.min()):.3f}: give weights of at least 0 that sum to 1"
            )
        return made

    def mixed(self, omega: Omega = None) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Layer, A (R in) and Σ ωᵢ Bᵢ (out R): exactly one ordinary LoRA."""
        weights = self.weights(omega)
        for layer, up in self.up.items():
            yield layer, self.down[layer].float(), torch.einsum("d,dor->or", weights, up.float())

    def check(self, transformer: FluxTransformer2DModel) -> None:
        """Raise `WeightsError`, naming both sizes, if it was made for another base."""
        layers = linears(transformer)
        for layer, up in self.up.items():
            linear = layers.get(layer)
            if linear is None:
                blocks, singles = transformer.config.num_layers, transformer.config.num_single_layers
                raise WeightsError(
                    f"{self.name} is for another base: it has a {layer}, which this one, of {blocks} double and "
                    f"{singles} single blocks, has not"
                )
            wants, has = (self.down[layer].shape[1], up.shape[1]), (linear.in_features, linear.out_features)
            if wants != has:
                raise WeightsError(
                    f"{self.name} is for another base: its {layer} goes from {wants[0]} to {wants[1]} features, "
                    f"here it goes from {has[0]} to {has[1]}"
                )


def linears(transformer: Any) -> dict[str, nn.Linear]:
    """Every Linear of the blocks (double, single; FLUX.3's of one mode), by name; adapted ones by their base layer."""
    found: dict[str, nn.Linear] = {}
    for name, module in transformer.named_modules():
        inside = "transformer_blocks." in name or "mode_blocks." in name
        if isinstance(module, nn.Linear) and "lora_" not in name and inside:
            found[name.removesuffix(".base_layer")] = module
    return found
