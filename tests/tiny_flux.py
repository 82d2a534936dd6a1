"""A whole FLUX.1 folder of a few kilobytes, random-initialised from the true classes."""

from __future__ import annotations

import string
from pathlib import Path

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel, T5Tokenizer

from brushloop.painter.adapters.adapter import Adapter, linears


def transformer(heads: int = 2, guidance: bool = False) -> FluxTransformer2DModel:
    torch.manual_seed(0)
    return FluxTransformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=heads,
        joint_attention_dim=32, pooled_projection_dim=24, axes_dims_rope=(4, 4, 8), guidance_embeds=guidance,
    ).eval()  # fmt: skip


def folder(where: Path, guidance: bool = False) -> Path:
    """Four latent channels, an autoencoder that makes pictures 8 times smaller, words spelled letter by letter."""
    torch.manual_seed(1)
    letters = string.ascii_lowercase + string.digits + ",.-"
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0), ("▁", -2.0), *((letter, -3.0) for letter in letters)]
    ends = {"<|startoftext|>": 0, "<|endoftext|>": 1}
    vocabulary = ends | {f"{letter}{end}": 2 + 2 * i + j for i, letter in enumerate(letters) for j, end in
                         enumerate(("", "</w>"))}  # fmt: skip
    clip = CLIPTextConfig(
        vocab_size=len(vocabulary), hidden_size=24, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=32, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    t5 = T5Config(vocab_size=len(pieces), d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=2, dropout_rate=0.0)
    FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0, use_dynamic_shifting=guidance),
        vae=AutoencoderKL(
            block_out_channels=(4, 4, 4, 4), layers_per_block=1, latent_channels=4, norm_num_groups=2,
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, shift_factor=0.1,
            scaling_factor=0.4, use_quant_conv=False, use_post_quant_conv=False,
        ),
        text_encoder=CLIPTextModel(clip),
        text_encoder_2=T5EncoderModel(t5),
        tokenizer=CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=32),
        tokenizer_2=T5Tokenizer(vocab=pieces, extra_ids=0, additional_special_tokens=[], model_max_length=32),
        transformer=transformer(guidance=guidance),
    ).save_pretrained(where)  # fmt: skip
    return where


def adapter(names: tuple[str, ...], *, rank: int = 4, seed: int = 2, size: float = 0.1, **fields: object) -> Adapter:
    """Random A and B for every Linear of the blocks of `transformer()`."""
    torch.manual_seed(seed)
    layers = linears(transformer())
    down = {name: torch.randn(rank, layer.in_features) * size for name, layer in layers.items()}
    up = {name: torch.randn(len(names), layer.out_features, rank) * size for name, layer in layers.items()}
    return Adapter("tiny", names, down, up, **fields)  # type: ignore[arg-type]
