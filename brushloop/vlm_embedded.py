"""The vision-language model that ships with the package: a small Idefics3, decoded under a JSON grammar.

The grammar (llguidance) masks every token that would leave the schema, so a reply always parses; runs of
tokens that the grammar forces are appended without asking the model.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from brushloop.canvas import ModelRef
from brushloop.errors import ReplyError
from brushloop.vlm import Question, Reply, Token
from brushloop.weights import Weights, find

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

IMAGE_TOKENS = 36
FILES = ("config.json", "model.safetensors", "tokenizer.json", "world.json")
END = "<end_of_utterance>"
_PICTURE = "<fake_token_around_image><global-img>" + "<image>" * IMAGE_TOKENS + "<fake_token_around_image>"


def conversation(text: str, pictures: int = 0) -> str:
    """One turn as the model reads it, up to where its answer begins (what its chat template produces)."""
    return f"User:{_PICTURE * pictures}{text}{END}\nAssistant:"


class EmbeddedVLM:
    """An Idefics3 folder written by `python -m brushloop.train vlm`; without a folder, the one that ships."""

    def __init__(self, folder: str | None = None) -> None:
        self.weights: Weights = find(
            "vlm", folder, ("config.json", "model.safetensors", "tokenizer.json", "world.json")
        )
        self.ref = ModelRef(id=f"hf:{folder}" if folder else "embedded", weights=self.weights.digest)

    def ask(self, question: Question) -> Reply:
        """Answer with JSON that fits the schema; temperature 0 takes the likeliest token each time."""
        import torch

        text = conversation(question.text, len(question.images))
        ids = self._tokenizer.encode(text, add_special_tokens=False)
        with torch.inference_mode():
            tokens = self._decode(ids, self._pixels(question.images), question)
        answer = "".join(token.text for token in tokens)
        return Reply(answer, tuple(tokens), tokens_in=len(ids), tokens_out=len(tokens))

    def unknown_words(self, prompt: str) -> Sequence[tuple[str, Sequence[str]]]:
        """Words that the model never met, each with the nearest it knows (objects first)."""
        world: dict[str, Any] = self.world
        known = set(world["words"])
        found = []
        for word in dict.fromkeys(re.findall(r"[^\W_]+", prompt.lower())):
            if word not in known:
                names = [*world["objects"], *world["backgrounds"], *world["colors"]]
                near = difflib.get_close_matches(word, names, 3, 0.5) or difflib.get_close_matches(word, known, 3, 0.6)
                found.append((word, near))
        return found

    @cached_property
    def world(self) -> dict[str, Any]:
        """What the model knows: objects, colors, backgrounds, styles, relations, sizes, words."""
        with self.weights.loading():
            world: dict[str, Any] = json.loads((self.weights.folder / "world.json").read_text())
            for name in ("objects", "colors", "backgrounds", "styles", "relations", "sizes", "words"):
                if not isinstance(world[name], list):
                    raise ValueError(f"{name} in world.json is not a list")
        return world

    @cached_property
    def _model(self) -> Any:
        from transformers import Idefics3ForConditionalGeneration

        return self.weights.load(Idefics3ForConditionalGeneration)

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import PreTrainedTokenizerFast

        with self.weights.loading():
            return PreTrainedTokenizerFast.from_pretrained(self.weights.folder, local_files_only=True)

    @cached_property
    def _grammar(self) -> Any:
        import llguidance.hf

        return llguidance.hf.from_tokenizer(self._tokenizer, n_vocab=self._model.config.text_config.vocab_size)

    def _pixels(self, images: tuple[Image, ...]) -> Tensor | None:
        if not images:
            return None
        import torch

        size = self._model.config.vision_config.image_size
        return torch.stack([pixels(image, size) for image in images])[None]

    def _decode(self, ids: list[int], pixels: Tensor | None, question: Question) -> list[Token]:
        import llguidance
        import llguidance.torch as grammar_torch
        import torch

        grammar = llguidance.LLMatcher.grammar_from_json_schema(
            question.schema, defaults={"whitespace_flexible": False}
        )
        matcher = llguidance.LLMatcher(self._grammar, grammar)
        if matcher.is_error():
            raise ReplyError(f"the schema cannot be turned into a grammar: {matcher.get_error()}")
        generator = torch.Generator().manual_seed(question.seed)
        mask = grammar_torch.allocate_token_bitmask(1, self._grammar.vocab_size)
        model, past = self._model, None
        out: list[Token] = []
        fresh, kwargs = torch.tensor([ids]), {} if pixels is None else {"pixel_values": pixels}
        while len(out) < question.max_tokens:
            result = model(input_ids=fresh, past_key_values=past, use_cache=True, **kwargs)
            past, kwargs = result.past_key_values, {}
            logits = result.logits[:, -1].float()
            grammar_torch.fill_next_token_bitmask(matcher, mask)
            grammar_torch.apply_token_bitmask_inplace(logits, mask)
            logprobs = logits.log_softmax(-1)[0]
            if question.temperature > 0:
                spread = (logits[0] / question.temperature).softmax(-1)
                chosen = int(torch.multinomial(spread, 1, generator=generator))
            else:
                chosen = int(logprobs.argmax())
            matcher.consume_token(chosen)
            if matcher.is_stopped() and chosen == self._grammar.eos_token:
                break
            took = [chosen]
            out.append(Token(self._text(chosen), float(logprobs[chosen])))
            for forced in matcher.compute_ff_tokens():
                matcher.consume_token(forced)
                took.append(forced)
                out.append(Token(self._text(forced), 0.0))
            if matcher.is_stopped():
                break
            fresh = torch.tensor([took])
        else:
            raise ReplyError(
                f"{self.ref.id} did not finish its reply within {question.max_tokens} tokens; raise the token limit"
            )
        return out

    def _text(self, token: int) -> str:
        text: str = self._tokenizer.decode([token], skip_special_tokens=True)
        return text


def pixels(image: Image, size: int) -> Tensor:
    """A picture as (3 size size) in -1..1, as the model's image processor makes it."""
    import numpy as np
    import torch
    from PIL.Image import Resampling

    picture = image.convert("RGB")
    if picture.size != (size, size):
        picture = picture.resize((size, size), Resampling.LANCZOS)
    return torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1).float() / 127.5 - 1
