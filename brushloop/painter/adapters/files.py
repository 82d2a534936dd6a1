"""Adapters on disk: safetensors in the layout that diffusers and peft write, and in the public weights' own.

A file of ours is what `transformer.save_lora_adapter` writes: `<layer>.lora_A.weight` (R in) and
`<layer>.lora_B.weight` (D·out R, the domains' B one below the other), with the configuration in the header.
A file of one domain is an ordinary LoRA.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from brushloop.errors import InputError, UnwritableError, WeightsError
from brushloop.painter.adapters.adapter import Adapter, Omega
from brushloop.painter.adapters.kohya import convert, is_kohya
from brushloop.painter.domains import domains
from brushloop.weights import SHIPPED

CONFIG = "lora_adapter_metadata"
"""Where diffusers keeps an adapter's configuration in a file's header."""
OURS = "asymmetric"
"""What we add to it, inside its free field `auto_mapping`: domains, form, cells."""
INSTALLED = SHIPPED / "adapters"
"""The adapters that come with the package, in bfloat16: `process.safetensors` and `recraft.safetensors`."""


def read(path: str | Path, names: Sequence[str] = ()) -> Adapter:
    """Read an adapter: ours, an ordinary LoRA of diffusers or peft, or kohya's layout with one B or many.

    Args:
        path: a safetensors file.
        names: the domains of a public file, in its order; by default those of `domains.json`.

    Raises:
        WeightsError: there is no such file, or it is no LoRA of a Flux transformer.
    """
    path = Path(path).expanduser()
    state, config = _load(path)
    if is_kohya(state):
        down, up = convert(state, path.name)
        count = next(iter(up.values())).shape[0] if up else 0
        known = tuple(names) or _public(count, path)
        return Adapter(path.name, known, down, {layer: each[: len(known)] for layer, each in up.items()}, "in_grid")
    down, stacked = {}, {}
    for key, value in state.items():
        layer, _, which = key.removeprefix("base_model.model.").removeprefix("transformer.").partition(".lora_")
        if which == "A.weight":
            down[layer] = value.float()
        elif which == "B.weight":
            stacked[layer] = value.float()
        elif not key.endswith(".alpha"):
            raise WeightsError(f"{path.name}: {key} is no part of a LoRA of a Flux transformer")
    ours = _ours(config)
    known = tuple(ours.get("domains") or names or (path.stem,))
    up = {}
    for layer, value in stacked.items():
        rank = value.shape[1]
        alpha = state.get(f"transformer.{layer}.alpha", state.get(f"{layer}.alpha"))
        scale = float(alpha) / rank if alpha is not None else config.get("lora_alpha", rank) / config.get("r", rank)
        if value.shape[0] % len(known):
            raise WeightsError(f"{path.name}: {layer} has {value.shape[0]} rows of B for {len(known)} domains")
        up[layer] = value.view(len(known), -1, rank) * scale
    return Adapter(path.name, known, down, up, ours.get("form", "tokens"), ours.get("cells", {}))


def write(adapter: Adapter, path: str | Path) -> Path:
    """Write all domains into one file, as `transformer.save_lora_adapter` would.

    Raises:
        UnwritableError: it cannot be written there.
    """
    state: dict[str, Tensor] = {}
    for layer, up in adapter.up.items():
        state[f"{layer}.lora_A.weight"] = adapter.down[layer].clone()
        state[f"{layer}.lora_B.weight"] = up.reshape(-1, up.shape[2]).clone()
    ranks = {layer: down.shape[0] for layer, down in adapter.down.items() if down.shape[0] != adapter.rank}
    config = {
        "peft_type": "LORA", "r": adapter.rank, "lora_alpha": adapter.rank, "target_modules": sorted(adapter.up),
        "rank_pattern": ranks, "alpha_pattern": ranks, "init_lora_weights": True,
        "auto_mapping": {
            OURS: {"domains": list(adapter.domains), "form": adapter.form, "cells": dict(adapter.cells)}
        },
    }  # fmt: skip
    return _save(state, {CONFIG: json.dumps(config, sort_keys=True)}, path)


def export(adapter: Adapter, omega: Omega, path: str | Path) -> Path:
    """Write one domain, or a mixture, as an ordinary LoRA that diffusers' `load_lora_weights` and ComfyUI read.

    Raises:
        InputError: no such domain, or weights that do not sum to 1.
        UnwritableError: it cannot be written there.
    """
    state: dict[str, Tensor] = {}
    for layer, down, up in adapter.mixed(omega):
        state[f"transformer.{layer}.lora_A.weight"] = down.clone()
        state[f"transformer.{layer}.lora_B.weight"] = up.contiguous()
    return _save(state, {}, path)


def install(path: Path) -> Path:
    """Copy an adapter to those that come with the package, in bfloat16: half the size, its header as it was.

    Raises:
        WeightsError: there is no such file, or it is damaged.
        UnwritableError: it cannot be written there.
    """
    from safetensors import safe_open

    state, _ = _load(path)
    with safe_open(path, "pt") as file:
        header = file.metadata() or {}
    return _save(state, header, INSTALLED / path.name, torch.bfloat16)


def installed(kind: str) -> Adapter | None:
    """The adapter of a kind, `process` or `recraft`, that comes with the package; None while there is none."""
    path = INSTALLED / f"{kind}.safetensors"
    return read(path) if path.is_file() else None


def trained(path: Path | None = None) -> tuple[str, ...]:
    """Names of the domains that an adapter of ours was trained for, by default the installed one."""
    path = path or INSTALLED / "process.safetensors"
    return tuple(_ours(_header(path)).get("domains", ())) if path.is_file() else ()


def _public(count: int, path: Path) -> tuple[str, ...]:
    order = tuple(domain.name for domain in domains())
    if count == 1:
        return (path.stem,)
    if count < len(order):
        raise InputError(
            f"{path.name} has {count} B, the public weights have {len(order)}: name its domains in order (--domains)"
        )
    return order


def _ours(config: Mapping[str, Any]) -> dict[str, Any]:
    return (config.get("auto_mapping") or {}).get(OURS) or {}


def _load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    from safetensors.torch import load_file

    if not path.is_file():
        raise WeightsError(f"there is no adapter at {path}: name a .safetensors file")
    config = _header(path)
    try:
        return load_file(path), config
    except Exception as error:
        raise _damaged(path) from error


def _header(path: Path) -> dict[str, Any]:
    from safetensors import safe_open

    try:
        with safe_open(path, "pt") as file:
            config: dict[str, Any] = json.loads((file.metadata() or {}).get(CONFIG, "{}"))
    except Exception as error:
        raise _damaged(path) from error
    return config


def _damaged(path: Path) -> WeightsError:
    return WeightsError(f"{path} is no whole safetensors file: copy it again, or name another")


def _save(
    state: Mapping[str, Tensor], header: Mapping[str, str], path: str | Path, dtype: torch.dtype = torch.float32
) -> Path:
    from safetensors.torch import save

    from brushloop.files import write_atomically

    target = Path(path)
    if target.suffix != ".safetensors":
        raise InputError(f"cannot write an adapter to {target}: let the name end in .safetensors")
    made = save({key: value.to(dtype) for key, value in state.items()}, {"format": "pt", **header})
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnwritableError(f"cannot make {target.parent} ({error.strerror}): choose another place") from error
    write_atomically(str(target), made)
    return target
