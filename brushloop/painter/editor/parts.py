"""The parts of the editor (AnyEdit, section 4.2): projector, task embeddings, router, and nine experts in every layer.

A frozen image encoder's features go through a resampler and become the visual prompt: 16 tokens. The embedding of
the kind of edit stands before them. A router reads that embedding and gives each expert its weight. An expert is a
decoupled attention with keys and values of its own, made from the same visual prompt:

    Z = Attn(Q, K, V) + g Σᵢ wᵢ Attn(Q, Kᵢ, Vᵢ)

Its projections are those of the text, and a low-rank difference with one shared A and a B for each expert: the
asymmetric LoRA of the domains, with the router in the place of ω. So an expert begins as the text's own keys and
values. The gate g of a layer begins at zero, so that an untaught editor leaves its base as it is; it is learned as a
tenth of itself, since an optimizer such as AdamW would open it by no more than a learning rate a step.

Shapes: B batch, P visual tokens, F features of the encoder, W width of the transformer, E experts, H heads, D head
size, R rank, S tokens of the sequence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from brushloop.canvas import EditType
from brushloop.edits import Expert
from brushloop.painter.condition import attend

EXPERTS = len(Expert)
TASKS = ("general", *(kind.value for kind in EditType))
"""Task embeddings, in the order of their rows."""


GATE = 10.0
"""The gate of a layer is this times the number that is learned."""


class Resampler(nn.Module):
    """Any number of features as a fixed number of tokens (the perceiver resampler of Flamingo, section 3.1.1)."""

    def __init__(
        self, features: int, width: int, queries: int = 16, depth: int = 4, heads: int = 12, head_dim: int = 64
    ) -> None:
        super().__init__()
        inner = heads * head_dim
        self.heads = heads
        self.queries = nn.Parameter(torch.randn(1, queries, inner) / math.sqrt(inner))
        self.into = nn.Linear(features, inner)
        self.layers = nn.ModuleList(
            nn.ModuleDict(
                {
                    "norm_queries": nn.LayerNorm(inner),
                    "norm_features": nn.LayerNorm(inner),
                    "to_q": nn.Linear(inner, inner, bias=False),
                    "to_kv": nn.Linear(inner, 2 * inner, bias=False),
                    "to_out": nn.Linear(inner, inner, bias=False),
                    "mlp": nn.Sequential(
                        nn.LayerNorm(inner), nn.Linear(inner, 4 * inner), nn.GELU(), nn.Linear(4 * inner, inner)
                    ),
                }
            )
            for _ in range(depth)
        )
        self.out = nn.Sequential(nn.Linear(inner, width), nn.LayerNorm(width))

    def forward(self, features: Tensor) -> Tensor:
        """(B N F) to (B P W)."""
        seen = self.into(features)
        x = self.queries.expand(len(features), -1, -1)
        for layer in self.layers:
            own = layer["norm_queries"](x)  # type: ignore[index]
            both = torch.cat([layer["norm_features"](seen), own], dim=1)  # type: ignore[index]
            query = layer["to_q"](own)  # type: ignore[index]
            key, value = layer["to_kv"](both).chunk(2, dim=-1)  # type: ignore[index]
            query, key, value = (each.unflatten(-1, (self.heads, -1)).transpose(1, 2) for each in (query, key, value))
            mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
            x = x + layer["to_out"](mixed)  # type: ignore[index]
            x = x + layer["mlp"](x)  # type: ignore[index]
        made: Tensor = self.out(x)
        return made


class Router(nn.Module):
    """From the embedding of a kind of edit to the weights of the experts: softmax, then the best `top` of them."""

    def __init__(self, width: int, top: int = 2) -> None:
        super().__init__()
        self.top = top
        self.gate = nn.Linear(width, EXPERTS)

    def forward(self, task: Tensor) -> tuple[Tensor, Tensor]:
        """(B W) to weights (B E) that sum to one, and the load-balance loss (scalar).

        The loss is E Σᵢ fᵢ Pᵢ, with fᵢ the share of the batch's choices that fell on expert i and Pᵢ its mean
        probability (Switch Transformers, equation 4); it is 1 when all experts are used alike.
        """
        chances = self.gate(task).softmax(-1)
        best = chances.topk(self.top, dim=-1).indices
        chosen = torch.zeros_like(chances).scatter(-1, best, 1.0)
        weights = chances * chosen
        balance = EXPERTS * (chosen.mean(0) / self.top * chances.mean(0)).sum()
        return weights / weights.sum(-1, keepdim=True), balance


class Experts(nn.Module):
    """Keys and values of all experts in one attention layer, from the text's projections and low-rank differences."""

    def __init__(self, width: int, inner: int, rank: int) -> None:
        super().__init__()
        self.down = nn.ParameterDict({side: nn.Parameter(torch.empty(rank, width)) for side in ("k", "v")})
        self.up = nn.ParameterDict({side: nn.Parameter(torch.zeros(EXPERTS, inner, rank)) for side in ("k", "v")})
        self.gate = nn.Parameter(torch.zeros(1))
        for down in self.down.values():
            nn.init.kaiming_uniform_(down, a=math.sqrt(5))

    @property
    def opening(self) -> Tensor:
        """g, how much of what the experts tell is let in (1)."""
        return GATE * self.gate

    def forward(self, attn: Any, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Visual tokens (B P W) to keys and values (B E P H D)."""
        double = getattr(attn, "add_k_proj", None) is not None
        to_k, to_v = (attn.add_k_proj, attn.add_v_proj) if double else (attn.to_k, attn.to_v)
        norm = attn.norm_added_k if double else attn.norm_k
        key, value = (
            project(tokens)[:, None] + torch.einsum("bpw,rw,eor->bepo", tokens, self.down[side], self.up[side])
            for side, project in (("k", to_k), ("v", to_v))
        )
        return norm(key.unflatten(-1, (-1, attn.head_dim))), value.unflatten(-1, (-1, attn.head_dim))


class VisualPrompt:
    """A visual prompt as the attention layers read it; unless they are learned, keys and values are made once a layer.

    Args:
        tokens: task and visual tokens (B P W).
        weights: of the experts (B E).
        experts: by attention layer.
        words: text tokens at the head of a joint sequence, which do not read the prompt.
        top: experts that have a share in a sample, at most; the others are not asked.
    """

    def __init__(
        self, tokens: Tensor, weights: Tensor, experts: Mapping[Any, Experts], words: int, top: int = EXPERTS
    ) -> None:
        self.tokens, self.experts, self.words = tokens, experts, words
        self.shares, self.chosen = weights.topk(top, dim=-1)
        self._made: dict[Any, tuple[Tensor, Tensor]] = {}

    def add(self, attn: Any, query: Tensor, mixed: Tensor) -> Tensor:
        """`mixed` (B S H D) with what the picture's tokens take from the prompt; see `condition.Prompt`."""
        layer = self.experts.get(attn)
        if layer is None:
            return mixed
        learning = torch.is_grad_enabled()  # then each layer is met once, or computed again for its gradient
        if learning or attn not in self._made:
            self._made[attn] = layer(attn, self.tokens)
        keys, values = self._made[attn]
        asked = query[:, self.words :].transpose(1, 2)
        taken, batch = torch.zeros_like(asked), torch.arange(len(asked), device=asked.device)
        for share, expert in zip(self.shares.unbind(1), self.chosen.unbind(1), strict=True):
            key, value = (each[batch, expert].transpose(1, 2).to(asked.dtype) for each in (keys, values))
            seen = attend(asked, key, value)
            taken = taken + share[:, None, None, None].to(seen) * seen
        taken = (layer.opening.to(taken) * taken).transpose(1, 2)
        return torch.cat([mixed[:, : self.words], mixed[:, self.words :] + taken], dim=1)
