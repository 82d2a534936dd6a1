"""The key layout of kohya's training scripts, in which the public MakeAnything weights come.

Layers carry Black Forest Labs' names (`lora_unet_double_blocks_0_img_attn_qkv`), where one Linear computes
query, key and value: B is cut along its rows, A is shared by the pieces.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from brushloop.errors import WeightsError

_DOUBLE = {
    "img_attn_qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn_qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "img_attn_proj": ("attn.to_out.0",),
    "txt_attn_proj": ("attn.to_add_out",),
    "img_mlp_0": ("ff.net.0.proj",),
    "img_mlp_2": ("ff.net.2",),
    "txt_mlp_0": ("ff_context.net.0.proj",),
    "txt_mlp_2": ("ff_context.net.2",),
    "img_mod_lin": ("norm1.linear",),
    "txt_mod_lin": ("norm1_context.linear",),
}
_SINGLE = {
    "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
    "linear2": ("proj_out",),
    "modulation_lin": ("norm.linear",),
}
_KEY = re.compile(r"lora_unet_(?P<layer>\w+)\.(?:(?P<down>lora_down)|lora_ups?(?:\.(?P<number>\d+))?)\.weight")


def is_kohya(keys: Mapping[str, Tensor]) -> bool:
    """Whether a file's keys are in this layout."""
    return any(key.startswith("lora_unet_") for key in keys)


def convert(state: Mapping[str, Tensor], what: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A (R in) and B (D out R), α/r folded in, by the names of diffusers' layers.

    Raises:
        WeightsError: a key that is none of this layout, or a layer without A or with gaps among its B.
    """
    downs: dict[str, Tensor] = {}
    ups: dict[str, dict[int, Tensor]] = {}
    for key, value in state.items():
        match = _KEY.fullmatch(key)
        if match is None and not key.endswith(".alpha"):
            raise WeightsError(f"{what}: {key} is no key of a Flux LoRA in kohya's layout: is it for another model?")
        if match and match["down"]:
            downs[match["layer"]] = value.float()
        elif match:
            ups.setdefault(match["layer"], {})[int(match["number"] or 0)] = value.float()
    down: dict[str, Tensor] = {}
    up: dict[str, Tensor] = {}
    for layer, numbered in ups.items():
        if layer not in downs or sorted(numbered) != list(range(len(numbered))):
            raise WeightsError(f"{what}: {layer} lacks its A or one of its B: the file is incomplete")
        shared, stacked = downs[layer], torch.stack([numbered[number] for number in sorted(numbered)])
        rank = shared.shape[0]
        stacked = stacked * (float(state.get(f"lora_unet_{layer}.alpha", rank)) / rank)
        names = _names(layer, what)
        for name, piece in zip(names, _cut(stacked, shared.shape[1], len(names)), strict=True):
            down[name], up[name] = shared, piece.contiguous()
    return down, up


def _names(layer: str, what: str) -> list[str]:
    match = re.fullmatch(r"(double|single)_blocks_(\d+)_(\w+)", layer)
    table, folder = (
        (_DOUBLE, "transformer_blocks") if match and match[1] == "double" else (_SINGLE, "single_transformer_blocks")
    )
    if match is None or match[3] not in table:
        raise WeightsError(f"{what}: {layer} is no Linear of a Flux block")
    return [f"{folder}.{match[2]}.{name}" for name in table[match[3]]]


def _cut(stacked: Tensor, width: int, pieces: int) -> tuple[Tensor, ...]:
    """Rows of a joined Linear: query, key and value are `width` wide each, and an MLP takes the rest."""
    if pieces == 1:
        return (stacked,)
    sizes = [width] * min(pieces, 3) + [stacked.shape[1] - 3 * width] * (pieces - 3)
    return stacked.split(sizes, dim=1)
