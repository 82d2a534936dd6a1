"""Pictures as conditions: clean tokens whose keys and values are computed once and read by every denoising step.

A condition's tokens are modulated at timestep 0, attend only to themselves and never see the text, so
that they are the same in every denoising step and in both guidance branches: caching them is exact. The
noisy picture's tokens and the text attend to them. (MakeAnything's ReCraft and ACE join condition tokens
in the same way; the mask that makes the cache exact is ours.)

Shapes: B batch, N noisy tokens, C condition tokens, L text tokens, H heads, D head size.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from diffusers import FluxTransformer2DModel
from diffusers.models.embeddings import apply_rotary_emb
from torch import Tensor
from torch.nn import functional as F

SHORT = 2**18
"""Pairs of tokens that a head may have in a short sequence."""


class Condition:
    """Keys and values of a condition's tokens, (B C H D) each, by the attention layer that reads them.

    It has no state but these: a layer that is computed again in the backward pass (checkpointing) reads the same.
    """

    def __init__(self) -> None:
        self.layers: dict[object, tuple[Tensor, Tensor]] = {}

    def repeat(self, times: int) -> Condition:
        """The same condition for a batch that is repeated."""
        if times == 1:
            return self
        many = Condition()
        many.layers = {
            attn: (key.repeat(times, 1, 1, 1), value.repeat(times, 1, 1, 1))
            for attn, (key, value) in self.layers.items()
        }
        return many

    def layer(self, attn: object, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """A layer's own keys and values, and behind them those of the condition."""
        kept_key, kept_value = self.layers[attn]
        batch = key.shape[0]
        return (
            torch.cat([key, kept_key.expand(batch, -1, -1, -1)], dim=1),
            torch.cat([value, kept_value.expand(batch, -1, -1, -1)], dim=1),
        )


class _Recording(Condition):
    """What a condition's own pass has in its place: it keeps, and adds nothing; computed again, it keeps no more."""

    closed = False

    def layer(self, attn: object, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        if not self.closed:
            self.layers[attn] = key, value
        return key, value

    def close(self) -> Condition:
        """What was kept, as a condition."""
        kept = Condition()
        kept.layers, self.layers, self.closed = self.layers, {}, True
        return kept


class Prompt(Protocol):
    """What an attention layer reads besides its own sequence: a visual prompt."""

    def add(self, attn: object, query: Tensor, mixed: Tensor) -> Tensor:
        """`mixed` (B S H D), and what each token of the picture takes from the prompt; `query` is (B S H D)."""
        ...


class ConditionedAttention:
    """Flux attention that also reads a `Condition` and a `Prompt`.

    They are passed as `joint_attention_kwargs={"condition": …, "prompt": …}`.
    """

    def __call__(  # type: ignore[no-untyped-def]
        self,
        attn,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        image_rotary_emb: tuple[Tensor, Tensor] | None = None,
        condition: Condition | None = None,
        prompt: Prompt | None = None,
    ):
        def heads(projected: Tensor) -> Tensor:
            return projected.unflatten(-1, (-1, attn.head_dim))

        query = attn.norm_q(heads(attn.to_q(hidden_states)))
        key = attn.norm_k(heads(attn.to_k(hidden_states)))
        value = heads(attn.to_v(hidden_states))
        text = 0
        if encoder_hidden_states is not None:
            text = encoder_hidden_states.shape[1]
            query = torch.cat([attn.norm_added_q(heads(attn.add_q_proj(encoder_hidden_states))), query], dim=1)
            key = torch.cat([attn.norm_added_k(heads(attn.add_k_proj(encoder_hidden_states))), key], dim=1)
            value = torch.cat([heads(attn.add_v_proj(encoder_hidden_states)), value], dim=1)
        if image_rotary_emb is not None:
            query = apply_rotary_emb(query, image_rotary_emb, sequence_dim=1)
            key = apply_rotary_emb(key, image_rotary_emb, sequence_dim=1)
        if condition is not None:
            key, value = condition.layer(attn, key, value)
        mixed = attend(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), attention_mask)
        mixed = mixed.transpose(1, 2)
        if prompt is not None:
            mixed = prompt.add(attn, query, mixed)
        mixed = mixed.flatten(2, 3).to(query.dtype)
        if encoder_hidden_states is None:
            return mixed
        words, picture = mixed[:, :text], mixed[:, text:]
        return attn.to_out[1](attn.to_out[0](picture)), attn.to_add_out(words)


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attn(Q, K, V), (B H … D) each.

    Where a CPU learns in bfloat16 from short sequences it is written out: there torch's fused kernel takes nine times
    as long backward as forward, and this a third of both.
    """
    learning = torch.is_grad_enabled() and query.device.type == "cpu" and torch.is_autocast_enabled("cpu")
    if not learning or mask is not None or query.shape[2] * key.shape[2] > SHORT:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    shares = (query @ key.transpose(2, 3) * query.shape[3] ** -0.5).softmax(-1)
    return shares @ value


def positions(height: int, width: int, index: int = 0) -> Tensor:
    """Position ids (height*width 3) of a picture's tokens; `index` 0 is the canvas being painted, 1… are conditions."""
    ids = torch.zeros(height, width, 3)
    ids[..., 0] = index
    ids[..., 1] = torch.arange(height)[:, None]
    ids[..., 2] = torch.arange(width)[None, :]
    return ids.reshape(-1, 3)


def prepare(transformer: FluxTransformer2DModel) -> FluxTransformer2DModel:
    """Let the transformer read conditions; without one it computes what it did before."""
    transformer.set_attn_processor(ConditionedAttention())
    return transformer


def join(canvas: Tensor | None, mask: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens (B C channels) and position ids (C 3) of a condition: a canvas if there is one, and its mask.

    The canvas's tokens stand at index 1 and the mask's at index 2 (ACE: a mask travels with its image);
    `index` (N) picks the tokens of a window of the whole canvas.
    """
    side = math.isqrt(mask.shape[1])
    tokens, ids = mask[:, index], positions(side, side, 2)[index]
    if canvas is None:
        return tokens, ids
    return torch.cat([canvas[:, index], tokens], dim=1), torch.cat([positions(side, side, 1)[index], ids])


def encode_condition(transformer: FluxTransformer2DModel, tokens: Tensor, ids: Tensor) -> Condition:
    """One pass over a condition's clean tokens (B C channels) with position ids (C 3); returns its keys and values."""
    batch = tokens.shape[0]
    guided = getattr(transformer.config, "guidance_embeds", False)  # a distilled base wants a guidance, here none
    recording = _Recording()
    transformer(
        hidden_states=tokens,
        encoder_hidden_states=tokens.new_zeros(batch, 0, transformer.config.joint_attention_dim),
        pooled_projections=tokens.new_zeros(batch, transformer.config.pooled_projection_dim),
        timestep=tokens.new_zeros(batch),
        guidance=tokens.new_zeros(batch) if guided else None,
        img_ids=ids,
        txt_ids=ids.new_zeros(0, 3),
        joint_attention_kwargs={"condition": recording},
        return_dict=False,
    )
    return recording.close()


def velocity(
    transformer: FluxTransformer2DModel,
    noisy: Tensor,
    timestep: Tensor,
    words: Tensor,
    pooled: Tensor,
    ids: Tensor,
    condition: Condition | None = None,
    guidance: Tensor | None = None,
    prompt: Prompt | None = None,
) -> Tensor:
    """Flow-matching velocity (noise minus data), (B N channels), at `timestep` (B) in 0-1.

    Args:
        noisy: tokens of the picture being painted (B N channels).
        words: text features (B L D).
        pooled: pooled text features (B D).
        ids: position ids of the picture's tokens (N 3).
        condition: read by every layer, of batch 1 or B.
        guidance: scale (B) that a guidance-distilled base reads; None for any other.
        prompt: a visual prompt of batch B.
    """
    extra = {name: each for name, each in (("condition", condition), ("prompt", prompt)) if each is not None}
    out: Tensor = transformer(
        hidden_states=noisy,
        encoder_hidden_states=words,
        pooled_projections=pooled,
        timestep=timestep,
        guidance=guidance,
        img_ids=ids,
        txt_ids=ids.new_zeros(words.shape[1], 3),
        joint_attention_kwargs=extra or None,
        return_dict=False,
    )[0]
    return out
