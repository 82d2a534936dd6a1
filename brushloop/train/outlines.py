"""Models of which only the configuration is known: what a dry run takes its step over (`train/dry.py`).

A painter's outline is its transformer without weights; what stands beside it takes no part. A pen's outline is the
vision-language model without weights, which reads a question and writes a reply of the usual length.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from brushloop.canvas import ModelRef
from brushloop.errors import InputError
from brushloop.painter.backbone import Backbone
from brushloop.painter.condition import prepare
from brushloop.painter.eighths import shrink
from brushloop.supervision.build.recipes import recipe as data
from brushloop.supervision.build.run import build
from brushloop.supervision.process import See
from brushloop.supervision.targets import Saying
from brushloop.train.course import Course, folders
from brushloop.train.supervise import Dense, Pen
from brushloop.vlm_hf import CONFIG, WORDS, load_processor

FLUX1_DEV: dict[str, Any] = {
    "in_channels": 64, "num_layers": 19, "num_single_layers": 38, "attention_head_dim": 128, "num_attention_heads": 24,
    "joint_attention_dim": 4096, "pooled_projection_dim": 768, "axes_dims_rope": (16, 56, 56), "guidance_embeds": True,
}  # fmt: skip
PAINTERS: dict[str, dict[str, Any]] = {
    "flux1-dev": FLUX1_DEV, "flux1-schnell": {**FLUX1_DEV, "guidance_embeds": False},
}  # fmt: skip
"""Configurations that are known without a folder, from the model cards of Black Forest Labs."""
PROMPT = 512
"""Text tokens that FLUX.1 reads."""


class Outline(Backbone):
    """A painter's base of which only the transformer's configuration is known.

    Args:
        name: one of `PAINTERS`, or a folder with `transformer/config.json`; no weights need to be there.

    Raises:
        InputError: neither.
    """

    def __init__(self, name: str, small: bool = False) -> None:
        from diffusers import FluxTransformer2DModel

        config = Path(name) / "transformer" / CONFIG
        if name not in PAINTERS and not config.is_file():
            raise InputError(f"no base {name!r} to estimate: name {', '.join(PAINTERS)}, or a folder with {config}")
        told = PAINTERS.get(name) or json.loads(config.read_text())
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.bfloat16)
        try:
            transformer = prepare(FluxTransformer2DModel.from_config(told))
        finally:
            torch.set_default_dtype(before)
        if small:
            shrink(transformer)
        self.ref = ModelRef(id=name)
        self._device = transformer.device
        self.pipeline = SimpleNamespace(  # what stands still beside it takes no part
            transformer=transformer, vae=nn.Identity(), text_encoder=nn.Identity(), text_encoder_2=nn.Identity(),
            vae_scale_factor=8, tokenizer_2=SimpleNamespace(model_max_length=PROMPT), encode_prompt=self._prompt,
        )  # fmt: skip

    def _prompt(self, texts: str | Sequence[str], *_: Any, max_sequence_length: int) -> tuple[Tensor, Tensor, None]:
        number, config = 1 if isinstance(texts, str) else len(texts), self.transformer.config
        words = torch.zeros(number, max_sequence_length, config.joint_attention_dim, dtype=torch.bfloat16)
        return words, torch.zeros(number, config.pooled_projection_dim, dtype=torch.bfloat16), None

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Every token stands for nothing."""
        return [(0, 0)] * PROMPT

    def encode(self, pictures: Sequence[Any]) -> Tensor:
        """As many tokens as the pictures have."""
        size = pictures[0].size
        tokens = (size[0] // self.unit) * (size[1] // self.unit)
        return torch.zeros(len(pictures), tokens, self.transformer.config.in_channels)


def _qwen(kind: str, rotary: dict[str, Any], tied: bool, words: dict[str, int], sight: dict[str, Any]) -> Any:
    text = {**words, "tie_word_embeddings": tied, "rope_parameters": {"rope_type": "default", **rotary}}
    return {"model_type": kind, "tie_word_embeddings": tied, "text_config": text, "vision_config": sight}


def _qwen25(hidden: int, inner: int, layers: int, heads: int, shared: int, words: int, tied: bool) -> Any:
    text = {"hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers, "vocab_size": words,
            "num_attention_heads": heads, "num_key_value_heads": shared}  # fmt: skip
    sight = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": hidden,
             "patch_size": 14, "window_size": 112, "fullatt_block_indexes": [7, 15, 23, 31]}  # fmt: skip
    return _qwen("qwen2_5_vl", {"rope_theta": 1e6, "mrope_section": [16, 24, 24]}, tied, text, sight)


def _qwen3(hidden: int, inner: int, tied: bool, sight: dict[str, Any]) -> Any:
    text = {"hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": 36, "vocab_size": 151936,
            "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128}  # fmt: skip
    rotary = {"rope_theta": 5e6, "mrope_section": [24, 20, 20], "mrope_interleaved": True}
    sight |= {"num_heads": 16, "out_hidden_size": hidden, "patch_size": 16, "num_position_embeddings": 2304}
    return _qwen("qwen3_vl", rotary, tied, text, sight)


PENS: dict[str, dict[str, Any]] = {
    "qwen2.5-vl-3b": _qwen25(2048, 11008, 36, 16, 2, 151936, tied=True),
    "qwen2.5-vl-7b": _qwen25(3584, 18944, 28, 28, 4, 152064, tied=False),
    "qwen3-vl-4b": _qwen3(2560, 9728, True, {
        "depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "deepstack_visual_indexes": [5, 11, 17]}),
    "qwen3-vl-8b": _qwen3(4096, 12288, False, {
        "depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "deepstack_visual_indexes": [8, 16, 24]}),
}  # fmt: skip
"""Configurations that are known without a folder: `config.json` of Qwen's Instruct models. They come to the numbers of
parameters that the model cards have, 3,754,622,976, 8,292,166,656, 4,437,815,808 and 8,767,123,696."""
LETTERS = 3.5
"""Characters of a token: with Qwen's vocabulary 3.5 and 3.8 of a look's question and reply, 3.8 and 3.3 of a plan's."""
PICTURE = {"qwen2_vl": (4, 16384), "qwen2_5_vl": (4, 16384), "qwen3_vl": (64, 16384)}
"""Tokens of a picture at least and at most, by family (`preprocessor_config.json`)."""
RECORDS = 24
"""How many records are built to find the usual question, where none are given."""


class Reader:
    """A processor that knows how many tokens there are, and not which: for the families of `PICTURE`."""

    pad_token_id = eos_token_id = 0
    padding_side = "left"

    def __init__(self, config: Any) -> None:
        if config.model_type not in PICTURE:
            raise InputError(
                f"how many tokens {config.model_type} makes of a picture is not known: only {', '.join(PICTURE)} are "
                "estimated from a configuration alone; put the tokenizer's and processor's files beside it"
            )
        self.config, self.tokenizer = config, self

    def __call__(self, text: str, **_: Any) -> dict[str, Any]:
        """Ids of a text, and where each begins and ends."""
        edges = [round(LETTERS * number) for number in range(round(len(text) / LETTERS))] + [len(text)]
        return {"input_ids": [0] * (len(edges) - 1), "offset_mapping": list(pairwise(edges))}

    def apply_chat_template(self, turns: Any, **_: Any) -> dict[str, Tensor]:
        """Ids of conversations of one length, which may be one or many; pictures stand where the text ends."""
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

        sight, rows, grids = self.config.vision_config, list[list[int]](), list[list[int]]()
        unit, (least, most) = sight.patch_size * sight.spatial_merge_size, PICTURE[self.config.model_type]
        for conversation in turns if isinstance(turns[0], list) else [turns]:
            row: list[int] = []
            for part in (part for turn in conversation for part in turn["content"]):
                if part["type"] == "text":
                    row += self(part["text"])["input_ids"]
                    continue
                wide, high = part["image"].size
                high, wide = smart_resize(high, wide, unit, least * unit**2, most * unit**2)
                grids.append([1, high // sight.patch_size, wide // sight.patch_size])
                start, end = self.config.vision_start_token_id, self.config.vision_end_token_id
                row += [start, *[self.config.image_token_id] * (high // unit * (wide // unit)), end]
            rows.append(row)
        ids, values = torch.tensor(rows), sight.in_channels * sight.temporal_patch_size * sight.patch_size**2
        return {
            "input_ids": ids, "attention_mask": torch.ones_like(ids), "image_grid_thw": torch.tensor(grids),
            "mm_token_type_ids": (ids == self.config.image_token_id).long(),
            "pixel_values": torch.zeros(sum(high * wide for _, high, wide in grids), values),
        }  # fmt: skip


class Usual(Pen):
    """A pen whose model may be without weights, and whose every row is the usual question and reply: the middle one of
    the looks in length, its pictures scaled to one side.

    Args:
        recipe: numbers of the step.
        base: one of `PENS`, or a folder with `config.json`; where the folder has a tokenizer, that counts the tokens.
        side: of the pictures, pixels.
        records: folders of records; by default a few are built.

    Raises:
        InputError: no such base, or its family is not known and there is no tokenizer.
    """

    def __init__(self, recipe: Dense, base: str, side: int, records: Sequence[str] = ()) -> None:
        from transformers import AutoConfig, AutoModelForImageTextToText

        folder = Path(base)
        if base not in PENS and not (folder / CONFIG).is_file():
            raise InputError(
                f"no base {base!r} to estimate: name {', '.join(PENS)}, or a folder with {folder / CONFIG}"
            )
        config = AutoConfig.for_model(**PENS[base]) if base in PENS else AutoConfig.from_pretrained(folder)
        self.recipe, self.side = recipe, side
        self.bare = (folder / "world.json").is_file()
        self.device = torch.device("cpu")
        self.model: Any = AutoModelForImageTextToText.from_config(
            config, dtype=torch.bfloat16 if recipe.rank else torch.float32
        ).eval()
        self.learn()
        with torch.device("cpu"), tempfile.TemporaryDirectory() as place:
            self.processor: Any = load_processor(folder) if (folder / WORDS).is_file() else Reader(config)
            self.processor.tokenizer.padding_side = "left"
            if not records:
                build(data("mixed"), Path(place), RECORDS)
            self.course = Course(folders(records or [place]))
            if not any(map(len, self.course.looks)):
                raise InputError("the records have no look to estimate: loss.text is not set in any")
            self._read = super()._rows(self.draw(0))

    def draw(self, step: int) -> list[tuple[Saying, See]]:
        """The same look in every row."""
        looks = self.course.draw_sayings(random.Random(0), "look", 99)
        saying, see = sorted(looks, key=lambda look: len(look[0].text) + len(look[0].reply))[49]
        return [(saying, lambda frame: see(frame).resize((self.side, self.side)))] * self.recipe.batch

    def _rows(self, batch: Any) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        return self._read

    @property
    def told(self) -> str:
        """What a row consists of."""
        inputs, answers, _ = self._read
        ids, reply = inputs["input_ids"][0], answers.shape[1]
        seen = int((ids == self.model.config.image_token_id).sum())
        return (
            f"; a row has {seen} tokens of pictures of {self.side} px, {len(ids) - seen - reply} of the question's "
            f"words and {reply} of the reply"
        )
