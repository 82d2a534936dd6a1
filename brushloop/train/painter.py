"""Recipe `painter`: a small Flux that paints scenes from text and edits them from instructions.

Flow matching (Lipman et al. 2023; the rectified form of FLUX): x_t = (1 - t) x_0 + t ε, target ε - x_0,
mean squared error. Steps take turns: text to picture, with and without places; edits of the whole canvas; edits
of a window (the canvas joins as a condition), of any kind or such as bring something new. A window is what
`FluxPainter` paints when an edit is local: only the tokens around its regions are denoised. Each picture is
encoded once and met at several timesteps. Text encoders and transformer learn together; the latents come from
the autoencoder, which is frozen.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

from brushloop.canvas import Box, EditType
from brushloop.painter.condition import encode_condition, join, positions, prepare, velocity
from brushloop.painter.tokens import LENGTH, SIDE, Window, mask, pack
from brushloop.supervision.faults import spoil
from brushloop.supervision.world import edits, scenes, words
from brushloop.supervision.world.worlds import current
from brushloop.train.autoencoder import mean_code
from brushloop.train.begin import shared, take_over
from brushloop.train.flow import SHIFT, noised
from brushloop.train.loop import Recipe, Turns, fit
from brushloop.train.machine import autocast, device
from brushloop.train.text import clip_tokenizer, t5_tokenizer


@dataclass(frozen=True)
class Drawn(Recipe):
    """The numbers of a painter's run."""

    draws: int = 4
    """Timesteps at which a window is met in one batch; a whole canvas at half as many, a whole edit at a quarter.

    Fewer draws of more pictures meet more things in the same time.
    """
    compiled: bool = False
    """Compile what the transformer computes: a third less time on a CPU, after some minutes for each kind of turn."""
    turns: str = "window paint window placed window edit"
    """What the steps show in turn, of `COSTS`. Of many things to know `new` shows most in the same time."""
    shift: float = SHIFT
    """Mean of the logit-normal timesteps: the more, the more often words alone must say what is to be seen."""


RECIPE = Drawn(steps=9000, batch=12, lr=1.1e-3, warmup=80, ema=0.998, stable=True, log_every=40, muon=True)
COSTS = {"new": 1, "window": 1, "paint": 2, "placed": 2, "edit": 4}
"""How many draws of a window one of a turn's pictures counts for."""
NEW = (EditType.ADD, EditType.ADD, EditType.ADD, EditType.REPLACE)
"""Kinds of edit that bring something new."""
WIDTH, HEADS = 256, 8
LAYERS = 2, 7
"""Double- and single-stream blocks."""
READERS = {
    "text_encoder": ("embeddings.token_embedding.weight", "tokenizer"),
    "text_encoder_2": ("shared.weight", "tokenizer_2"),
}
"""What reads texts, with the table that has a row for each token, and the tokenizer that numbers them."""


@dataclass(frozen=True)
class Example:
    """One picture to paint: its words, what it shows, where its things go, and the canvas it starts from."""

    text: str
    picture: Image.Image
    focus: tuple[Box, ...]
    regions: tuple[Box, ...] = ()
    canvas: Image.Image | None = None


def build(
    tokens: int, clip_tokens: int, end: int, channels: int = 16, width: int = WIDTH, layers: tuple[int, int] = LAYERS
) -> nn.ModuleDict:
    """A fresh transformer with its two text encoders; `width` is a multiple of 32."""
    transformer = FluxTransformer2DModel(
        in_channels=4 * channels,
        num_layers=layers[0],
        num_single_layers=layers[1],
        attention_head_dim=WIDTH // HEADS,
        num_attention_heads=width * HEADS // WIDTH,
        joint_attention_dim=width,
        pooled_projection_dim=128,
        axes_dims_rope=(8, 12, 12),
    )
    clip = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=clip_tokens, hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
            max_position_embeddings=LENGTH, bos_token_id=0, eos_token_id=end, pad_token_id=end,
        )
    )  # fmt: skip
    t5 = T5EncoderModel(
        T5Config(
            vocab_size=tokens, d_model=width, d_kv=32, d_ff=5 * width // 2, num_layers=3, num_heads=width // 32,
            feed_forward_proj="gated-gelu", dropout_rate=0.0,
        )
    )  # fmt: skip
    return nn.ModuleDict({"transformer": prepare(transformer), "text_encoder": clip, "text_encoder_2": t5})


def paint_example(rng: random.Random) -> Example:
    """Text to picture: a prompt as people write it."""
    scene = scenes.sample_split(rng, True)
    boxes = tuple(box for thing in scene.elements[1:] for box in thing.boxes)
    return Example(words.prompt(scene, rng)[0], scenes.render(scene.elements, scene.style, scene.variant), boxes)


def placed_example(rng: random.Random) -> Example:
    """Text to picture with places: mostly the first step of a plan, sometimes a whole prompt."""
    if rng.random() < 0.2:
        example = paint_example(rng)
        return replace(example, regions=example.focus)
    scene = scenes.sample_split(rng, True)
    thing = rng.choice(scene.elements[1:])
    text = words.begin(scene.elements[0], thing, scene.style)
    picture = scenes.render((scene.elements[0], thing), scene.style, scene.variant)
    return Example(text, picture, thing.boxes, thing.boxes)


def edit_example(rng: random.Random, window: Window, kinds: Sequence[EditType] = ()) -> Example:
    """An edit that fits the window, and whose style can be seen: the canvas before, the instruction, the canvas after.

    What is added where nothing stands is in the style that goes without saying. Without `kinds` it is of any kind.
    """
    while True:
        edit = edits.sample(rng, True, rng.choice(kinds) if kinds else None)
        bare = all(thing.role == "background" for thing in edit.before)
        if window.holds(edit.regions) and (not bare or edit.style == current().styles[0]):
            break
    before = scenes.render(edit.before, edit.style, edit.variant)
    after = scenes.render(edit.after, edit.style, edit.variant)
    if edit.kind in ("replace", "add") and rng.random() < 0.35:
        for box in edit.regions:
            spoil(before, box, rng)
    focus = edit.regions or tuple(box for thing in edit.after[1:] for box in thing.boxes)
    return Example(edit.text, after, focus, edit.regions, before)


class Painting:
    """The flow-matching task."""

    def __init__(
        self,
        recipe: Drawn,
        vae: AutoencoderKL,
        width: int = WIDTH,
        layers: tuple[int, int] = LAYERS,
    ) -> None:
        self.recipe, self.turns, self.device = recipe, Turns(recipe.turns, COSTS), device()
        self.vae = vae.eval().requires_grad_(False).to(self.device, memory_format=torch.channels_last)
        self.tokenizer, self.tokenizer_2 = clip_tokenizer(), t5_tokenizer()
        self.module: Any = build(
            len(self.tokenizer_2), len(self.tokenizer), self.tokenizer.eos_token_id, width=width, layers=layers
        ).to(self.device)
        self.ids = positions(SIDE, SIDE).to(self.device)
        self.guess = torch.compile(_guess, dynamic=False) if recipe.compiled else _guess

    def begin(self, folder: Path) -> None:
        """Take over a painter's transformer, and what its text encoders know of the words that are said here too."""
        take_over(self.module["transformer"], folder / "transformer")
        tokenizers = self.tokenizer, self.tokenizer_2
        for (name, (embedding, numbered)), tokenizer in zip(READERS.items(), tokenizers, strict=True):
            take_over(self.module[name], folder / name, {embedding: shared(tokenizer, folder / numbered)})

    def latents(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Pictures as (B N 4C) normalised tokens."""
        pixels = torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures]))
        pixels = pixels.permute(0, 3, 1, 2).to(self.device).float().div(127.5).sub(1)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        with torch.no_grad(), autocast(self.device, self.recipe.precision):
            code = mean_code(self.vae, pixels).float()
        return pack(((code - self.vae.config.shift_factor) * self.vae.config.scaling_factor).contiguous())

    def read(self, examples: Sequence[Example], dropped: Sequence[bool], length: int) -> tuple[Tensor, Tensor]:
        """Text features (B L D) and pooled features (B D); dropped texts are read as empty."""
        texts = ["" if gone else example.text for example, gone in zip(examples, dropped, strict=True)]
        padding: dict[str, Any] = {"padding": "max_length", "max_length": length, "truncation": True}
        short = self.tokenizer(texts, return_tensors="pt", **padding).input_ids.to(self.device)
        long = self.tokenizer_2(texts, return_tensors="pt", **padding).input_ids.to(self.device)
        return self.module["text_encoder_2"](long)[0], self.module["text_encoder"](short).pooler_output

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        rng = random.Random(f"painter/{self.recipe.seed}/{step}")
        turn = self.turns.at(step)
        window = Window.anywhere(rng) if turn in ("window", "new") else Window()
        makers: dict[str, Callable[[random.Random], Example]] = {
            "paint": paint_example, "placed": placed_example, "new": partial(edit_example, window=window, kinds=NEW),
        }  # fmt: skip
        make = makers.get(turn, partial(edit_example, window=window))
        examples = [make(rng) for _ in range(self.recipe.batch)]
        draws = max(1, self.recipe.draws // COSTS[turn])
        index = window.index()
        clean = self.latents([example.picture for example in examples])[:, index].repeat(draws, 1, 1)
        weight = torch.stack([_focus(example.focus)[index] for example in examples]).repeat(draws, 1).to(self.device)
        mixed, t, target = noised(clean, self.recipe.shift)
        with autocast(self.device, self.recipe.precision):
            features, pooled = self.read(examples, [rng.random() < 0.1 for _ in examples], window.words)
            clues = None
            if turn != "paint":
                canvases = [example.canvas for example in examples if example.canvas]
                before = self.latents(canvases) if canvases else None
                before = None if before is None else before + 0.05 * torch.randn_like(before)
                masks = torch.stack([mask(example.regions) for example in examples]).to(self.device)
                tokens, ids = join(before, masks, index)
                clues = tokens, ids.to(self.device)
            features, pooled = features.repeat(draws, 1, 1), pooled.repeat(draws, 1)
            guess = self.guess(self.module["transformer"], mixed, t, features, pooled, self.ids[index], clues, draws)
        error = (guess.float() - target).pow(2).mean(-1)
        loss = (error * weight).sum() / weight.sum()
        return loss, {turn: loss.item() / self.turns.share(turn)}


def _guess(
    transformer: Any,
    mixed: Tensor,
    t: Tensor,
    features: Tensor,
    pooled: Tensor,
    ids: Tensor,
    clues: tuple[Tensor, Tensor] | None,
    draws: int,
) -> Tensor:
    """The velocity of each draw of the pictures in a batch; `clues` are a condition's tokens and their places."""
    condition = clues and encode_condition(transformer, *clues).repeat(draws)
    return velocity(transformer, mixed, t, features, pooled, ids, condition)


def _focus(boxes: tuple[Box, ...]) -> Tensor:
    """Weights (N) of the tokens: 3 where the boxes are, 1 elsewhere."""
    weight = torch.ones(SIDE, SIDE)
    for left, top, right, bottom in boxes:
        weight[top * SIDE // 100 : -(-bottom * SIDE // 100), left * SIDE // 100 : -(-right * SIDE // 100)] = 3.0
    return weight.reshape(-1)


def save(task: Painting, average: nn.Module, folder: Path) -> None:
    """Write a diffusers folder that `FluxPipeline.from_pretrained` loads, in bfloat16."""
    from diffusers import FluxPipeline

    parts = {name: part.to(torch.bfloat16) for name, part in average.items()}  # type: ignore[operator]
    FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0, use_dynamic_shifting=False),
        vae=task.vae.to(torch.bfloat16),
        tokenizer=task.tokenizer,
        tokenizer_2=task.tokenizer_2,
        **parts,
    ).save_pretrained(folder)


def train(
    folder: Path,
    vae: Path,
    recipe: Drawn = RECIPE,
    seconds: float | None = None,
    width: int = WIDTH,
    layers: tuple[int, int] = LAYERS,
) -> None:
    """Train from the autoencoder at `vae` and write a diffusers folder at `folder/painter`."""
    import copy

    task = Painting(recipe, AutoencoderKL.from_pretrained(vae), width, layers)

    def keep(average: nn.Module, step: int) -> None:
        save(task, copy.deepcopy(average), folder / "painter")
        task.vae.to(torch.float32)

    fit(task, recipe, folder, on_save=keep, seconds=seconds)
