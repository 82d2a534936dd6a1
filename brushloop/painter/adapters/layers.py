"""Asymmetric LoRA while it learns: a layer of peft's own kind, with a weight ω for each sample of a batch.

peft keeps `lora_A` as it is and `lora_B` grows to one B a domain, stacked; so peft and diffusers save and load
it as any LoRA. Needs peft (extra `train` or `flux`).

Shapes: B batch, D domains, R rank.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, set_peft_model_state_dict
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import Tensor, nn

from brushloop.errors import InputError, WeightsError
from brushloop.painter.adapters.adapter import Adapter, Form, linears
from brushloop.painter.adapters.files import OURS


class AsymmetricLinear(LoraLinear):
    """W0 x + (α/r) Σ ωᵢ Bᵢ A x, with ω (B D) set by `mixing`."""

    omegas: dict[str, Tensor]

    def update_layer(self, adapter_name: str, r: int, lora_alpha: int, config: LoraConfig, **kwargs: Any) -> None:
        """Peft's, with a B for each domain."""
        super().update_layer(adapter_name, r, lora_alpha=lora_alpha, config=config, **kwargs)
        if not hasattr(self, "omegas"):
            self.omegas = {}
        count = len(getattr(config, "domains", None) or ("all",))
        weight = self.lora_B[adapter_name].weight
        stacked = nn.Linear(r, count * self.out_features, bias=False, device=weight.device, dtype=weight.dtype)
        nn.init.zeros_(stacked.weight)
        stacked.weight.requires_grad_(weight.requires_grad)
        self.lora_B[adapter_name] = stacked

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """(B … in) to (B … out). A batch that repeats ω's samples k times, one after the other, repeats ω."""
        result: Tensor = self.base_layer(x, *args, **kwargs)
        if self.disable_adapters:
            return result
        for name in self.active_adapters:
            if name in self.lora_A:
                result = result + self._delta(name, x).to(result.dtype)
        return result

    def _delta(self, name: str, x: Tensor) -> Tensor:
        up = self.lora_B[name].weight.view(-1, self.out_features, self.r[name])
        if not torch.is_autocast_enabled(x.device.type):  # which takes x as it is
            x = x.to(up.dtype)
        hidden = self.lora_A[name](self.lora_dropout[name](x))
        omega = self.omegas.get(name)
        if omega is None and len(up) > 1:
            raise RuntimeError(f"adapter {name!r} has {len(up)} domains: set their weights with mixing(transformer, ω)")
        if omega is None or len(up) == 1:
            return torch.nn.functional.linear(hidden, up[0]) * self.scaling[name]
        if len(x) % len(omega):
            raise RuntimeError(f"ω is for {len(omega)} samples, the batch has {len(x)}")
        mixed = torch.einsum("bd,dor->bor", omega.to(up.dtype), up).repeat(len(x) // len(omega), 1, 1)
        flat = hidden.reshape(len(x), -1, hidden.shape[-1])
        delta = torch.bmm(flat, mixed.to(flat.dtype).transpose(1, 2)) * self.scaling[name]
        return delta.view(*hidden.shape[:-1], self.out_features)

    def get_delta_weight(self, adapter: str) -> Tensor:
        """What merging adds to the weight: possible when all samples have one ω."""
        up = self.lora_B[adapter].weight.view(-1, self.out_features, self.r[adapter])
        omega = self.omegas.get(adapter, torch.ones(1, 1) if len(up) == 1 else torch.ones(0, len(up)))
        if len(omega) != 1:
            raise RuntimeError(f"adapter {adapter!r} can be merged for one ω only, not for {len(omega)}")
        return (
            torch.einsum("d,dor->or", omega[0].to(up.dtype), up) @ self.lora_A[adapter].weight * self.scaling[adapter]
        )


@dataclass
class AsymmetricConfig(LoraConfig):
    """Peft's LoRA configuration and the names of the domains, in the order of their B."""

    domains: list[str] = field(default_factory=lambda: ["all"])
    form: str = "tokens"
    cells: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._register_custom_module({nn.Linear: AsymmetricLinear})

    def to_dict(self) -> dict[str, Any]:
        """Fields of a plain `LoraConfig`; ours lie in its free field `auto_mapping`, so that diffusers can read it."""
        plain = {key: value for key, value in super().to_dict().items() if key not in _OURS}
        return plain | {"auto_mapping": self._mapping(plain["auto_mapping"])}

    def save_pretrained(self, save_directory: str, **kwargs: Any) -> None:
        """Peft's; it would put a mapping of its own in the place of ours."""
        super().save_pretrained(save_directory, **kwargs | {"auto_mapping_dict": self._mapping(kwargs.get(_MAPPING))})

    @classmethod
    def from_peft_type(cls, **kwargs: Any) -> AsymmetricConfig:
        """Read back what was saved: peft itself would make an ordinary `LoraConfig` of it."""
        known = {key: value for key, value in kwargs.items() if key in cls.__dataclass_fields__}
        return cls(**known | (kwargs.get("auto_mapping") or {}).get(OURS, {}))

    def _mapping(self, other: dict[str, Any] | None) -> dict[str, Any]:
        return {**(other or {}), OURS: {key: getattr(self, key) for key in _OURS}}


_OURS = ("domains", "form", "cells")
_MAPPING = "auto_mapping_dict"


def add(
    transformer: Any,
    domains: Sequence[str],
    *,
    rank: int = 64,
    name: str = "default",
    form: Form = "tokens",
    cells: dict[str, int] | None = None,
) -> list[nn.Parameter]:
    """Lay a fresh adapter over every Linear of the blocks and return its parameters; A is random (Kaiming), B zero."""
    config = AsymmetricConfig(
        r=rank, lora_alpha=rank, target_modules=sorted(linears(transformer)), domains=list(domains), form=form,
        cells=dict(cells or {}),
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Already found a `peft_config`")  # a second adapter is what is meant
        transformer.add_adapter(config, adapter_name=name)
    return list(parameters(transformer, name).values())


def put(transformer: Any, adapter: Adapter, name: str = "default") -> None:
    """Lay an adapter over a transformer as layers that can learn on.

    Raises:
        WeightsError: it is for another base, or a different adapter of that name is there; both are named.
    """
    there = getattr(transformer, "peft_config", {}).get(name)
    if there is None:
        adapter.check(transformer)
        add(transformer, adapter.domains, rank=adapter.rank, name=name, form=adapter.form, cells=dict(adapter.cells))
    elif there.r != adapter.rank or len(there.domains) != len(adapter.domains):
        raise WeightsError(
            f"{adapter.name} has rank {adapter.rank} and {len(adapter.domains)} domains, the adapter {name!r} in the "
            f"transformer has rank {there.r} and {len(there.domains)}: they do not fit"
        )
    state = {f"{layer}.lora_A.weight": down for layer, down in adapter.down.items()}
    state |= {f"{layer}.lora_B.weight": up.reshape(-1, up.shape[2]) for layer, up in adapter.up.items()}
    set_peft_model_state_dict(transformer, state, adapter_name=name)


def parameters(transformer: Any, name: str = "default") -> dict[str, nn.Parameter]:
    """An adapter's parameters, by their names in the transformer."""
    return {key: value for key, value in transformer.named_parameters() if f".{name}." in key and ".lora_" in key}


def learning(transformer: Any, name: str = "default") -> nn.ParameterDict:
    """Let an adapter's parameters learn and nothing else, in float32 over whatever precision the base has."""
    transformer.requires_grad_(False)
    learned = parameters(transformer, name)
    for parameter in learned.values():
        parameter.data = parameter.data.float()
        parameter.requires_grad_(True)
    return slashed(learned)


def slashed(learned: Mapping[str, nn.Parameter]) -> nn.ParameterDict:
    """Parameters by their names with a slash for each dot, which a module's own names cannot have."""
    return nn.ParameterDict({key.replace(".", "/"): value for key, value in learned.items()})


def gathered(
    learned: Mapping[str, Tensor],
    name: str,
    domains: Sequence[str],
    form: Form = "tokens",
    cells: Mapping[str, int] | None = None,
) -> Adapter:
    """Learned parameters (of `learning`, or an average of them) as an adapter; those given go on learning untouched."""
    down: dict[str, Tensor] = {}
    up: dict[str, Tensor] = {}
    for key, value in learned.items():
        layer, _, rest = key.replace("/", ".").partition(".lora_")
        tensor = value.detach().clone()
        if rest.startswith("A"):
            down[layer] = tensor
        else:
            up[layer] = tensor.view(len(domains), -1, tensor.shape[1])
    return Adapter(name, tuple(domains), down, up, form, dict(cells or {}))


def save(transformer: Any, path: Path, name: str = "default") -> Path:
    """Write an adapter with diffusers' own `save_lora_adapter`; `files.read` and `put` read it back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    transformer.save_lora_adapter(path.parent, adapter_name=name, weight_name=path.name, upcast_before_saving=True)
    return path


@contextmanager
def mixing(transformer: Any, omega: Tensor, name: str = "default") -> Iterator[None]:
    """Give every sample of a batch its own weights of the domains, ω (B D), inside the `with`.

    ω may come from a router: its gradient flows.

    Raises:
        InputError: ω has another number of columns than the adapter has domains.
    """
    layers = mix(transformer, omega, name)
    try:
        yield
    finally:
        for layer in layers:
            layer.omegas.pop(name, None)


def mix(transformer: Any, omega: Tensor, name: str = "default") -> list[AsymmetricLinear]:
    """Give every sample of a batch its own weights of the domains, ω (B D), from now on; returns the layers.

    Raises:
        InputError: ω has another number of columns than the adapter has domains.
    """
    layers = [module for module in transformer.modules() if isinstance(module, AsymmetricLinear)]
    count = len(transformer.peft_config[name].domains)
    if omega.ndim != 2 or omega.shape[1] != count:
        raise InputError(f"ω of shape {tuple(omega.shape)} for {count} domains: give (batch, {count})")
    for layer in layers:
        layer.omegas[name] = omega
    return layers
