"""Folders of a few kilobytes of the other Flux families, random-initialised from the true classes."""

from __future__ import annotations

import string
from pathlib import Path

import tiny_flux
import torch
from diffusers import (
    AutoencoderKLFlux2,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinKVPipeline,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    FluxFillPipeline,
    FluxKontextPipeline,
    FluxPipeline,
    FluxTransformer2DModel,
)
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM


def kontext(where: Path) -> Path:
    base = FluxPipeline.from_pretrained(tiny_flux.folder(where / "flux"))
    FluxKontextPipeline(**base.components).save_pretrained(where / "kontext")
    return where / "kontext"


def fill(where: Path) -> Path:
    """Its transformer also reads the masked picture and the mask: 16 + 16 + 4 x 8 x 8 channels."""
    base = FluxPipeline.from_pretrained(tiny_flux.folder(where / "flux"))
    torch.manual_seed(0)
    parts = {key: value for key, value in base.components.items() if key not in ("image_encoder", "feature_extractor")}
    parts["transformer"] = FluxTransformer2DModel(
        in_channels=2 * 16 + 4 * 64, out_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16,
        num_attention_heads=2, joint_attention_dim=32, pooled_projection_dim=24, axes_dims_rope=(4, 4, 8),
        guidance_embeds=True,
    )  # fmt: skip
    FluxFillPipeline(**parts).save_pretrained(where / "fill")
    return where / "fill"


def klein(where: Path, cached: bool = False) -> Path:
    torch.manual_seed(0)
    letters = sorted(set(string.printable))
    vocabulary = {"<pad>": 0, "<unk>": 1, **{letter: 2 + index for index, letter in enumerate(letters)}}
    spelling = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    spelling.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=spelling, pad_token="<pad>", unk_token="<unk>")
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    text = Qwen3Config(
        vocab_size=len(vocabulary), hidden_size=8, intermediate_size=8, num_hidden_layers=28, num_attention_heads=2,
        num_key_value_heads=1, head_dim=4, max_position_embeddings=512,
    )  # fmt: skip
    made = (Flux2KleinKVPipeline if cached else Flux2KleinPipeline)(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=AutoencoderKLFlux2(
            block_out_channels=(4, 4, 4, 4), layers_per_block=1, latent_channels=4, norm_num_groups=2, sample_size=64,
        ),
        text_encoder=Qwen3ForCausalLM(text),
        tokenizer=tokenizer,
        transformer=Flux2Transformer2DModel(
            in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=24, timestep_guidance_channels=16, axes_dims_rope=(4, 4, 4, 4), guidance_embeds=False,
        ),
        is_distilled=True,
    )  # fmt: skip
    made.save_pretrained(where / "klein")
    return where / "klein"
