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
    Flux3DistilledModularPipeline,
    Flux3ModularPipeline,
    Flux3Transformer2DModel,
    FluxFillPipeline,
    FluxKontextPipeline,
    FluxPipeline,
    FluxTransformer2DModel,
)
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM, Qwen3VLConfig
from transformers import Qwen3VLForConditionalGeneration as Qwen3VL
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from brushloop.vlm_hf import without_video

TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}IMAGE{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}END\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def tokenizer(end: str, image: str, *special: str, shape: str = "") -> PreTrainedTokenizerFast:
    """A byte-level tokenizer of a few words with one family's special tokens and chat template."""
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    learner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    words = ['{"findings":[{"element":0,"status":"present"}],"verdict":"accept"}', "look plan a red cat and an äpfel"]
    learner.train_from_iterator(
        words * 9, trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    )
    learner.add_special_tokens([AddedToken(token, special=True) for token in ("<pad>", end, image, *special)])
    template = TEMPLATE.replace("IMAGE", shape or image).replace("END", end)
    return PreTrainedTokenizerFast(
        tokenizer_object=learner, pad_token="<pad>", eos_token=end, chat_template=template, model_max_length=512
    )


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


def flux3(where: Path, distilled: bool = False, context: int = 512) -> Path:
    """The layout of FLUX.3 on disk: 33 layers in the text encoder, of which the transformer reads every fourth.

    Args:
        where: the new folder.
        distilled: the form that takes no guidance and is told where each denoising step leads.
        context: tokens that the text encoder reads as a vision-language model.
    """
    width = 8
    marks = ["<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"]
    tokens = tokenizer("<|im_end|>", *marks, shape="<|vision_start|><|image_pad|><|vision_end|>")
    image, video, start, stop = tokens.convert_tokens_to_ids(marks)
    text = {
        "hidden_size": width, "intermediate_size": 8, "num_hidden_layers": 33, "num_attention_heads": 1, "head_dim": 8,
        "num_key_value_heads": 1, "max_position_embeddings": context, "vocab_size": len(tokens), "bos_token_id": None,
        "eos_token_id": tokens.eos_token_id, "pad_token_id": tokens.pad_token_id, "tie_word_embeddings": True,
        "rope_parameters": {
            "rope_type": "default", "mrope_section": [2, 1, 1], "mrope_interleaved": True, "rope_theta": 1e4
        },
    }  # fmt: skip
    vision = {
        "hidden_size": 8, "intermediate_size": 8, "depth": 2, "num_heads": 1, "patch_size": 8, "out_hidden_size": width,
        "spatial_merge_size": 2, "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1],
    }  # fmt: skip
    encoder = Qwen3VL(Qwen3VLConfig(
        text_config=text, vision_config=vision, image_token_id=image, video_token_id=video,
        vision_start_token_id=start, vision_end_token_id=stop, tie_word_embeddings=True,
    ))  # fmt: skip
    torch.manual_seed(0)
    for value in encoder.parameters():
        torch.nn.init.normal_(value, std=0.3)
    encoder.save_pretrained(where / "text_encoder")
    images = Qwen2VLImageProcessorPil(patch_size=8, size={"shortest_edge": 256, "longest_edge": 4096})
    processor = without_video("Qwen3VLProcessor")(images, tokens, chat_template=tokens.chat_template)
    processor.save_pretrained(where / "tokenizer")
    Flux3Transformer2DModel(
        in_channels=16, cond_in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16,
        num_attention_heads=2, joint_attention_dim=8 * width, timestep_channels=16, axes_dims_rope=(4, 4, 4, 4),
        flow_map=distilled,
    ).save_pretrained(where / "transformer")  # fmt: skip
    AutoencoderKLFlux2(
        block_out_channels=(4, 4, 4, 4), layers_per_block=1, latent_channels=4, norm_num_groups=2, sample_size=64
    ).save_pretrained(where / "vae")
    pipeline = (Flux3DistilledModularPipeline if distilled else Flux3ModularPipeline)()
    pipeline.save_config(where)
    return where
