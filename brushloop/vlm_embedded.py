"""The vision-language model that ships with the package: a small Idefics3 that was trained on our questions."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Sequence
from functools import cached_property
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

from brushloop.canvas import ModelRef
from brushloop.vlm import Question, Reply
from brushloop.vlm_grammar import Writing
from brushloop.weights import Weights, called, find

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
        self.weights: Weights = find("vlm", folder, FILES)
        self.ref = ModelRef(id=called(folder, "hf"), weights=self.weights.digest)

    def ask(self, question: Question) -> Reply:
        """Answer with JSON that fits the schema. Forced tokens go to the model together with the one before them.

        `question.instructions` are left out: this model was trained on the questions alone.
        """
        import torch

        text = conversation(question.text, len(question.images))
        ids = self._tokenizer.encode(text, add_special_tokens=False)
        writing = Writing(self._vocabulary, question)
        pixels = self._pixels(question.images)
        fresh, seen, past = ids, {} if pixels is None else {"pixel_values": pixels}, None
        with torch.inference_mode():
            while not writing.done:
                result = self._model(input_ids=torch.tensor([fresh]), past_key_values=past, use_cache=True, **seen)
                past, seen = result.past_key_values, {}
                fresh = writing.take(result.logits[:, -1])
        return writing.reply(tokens_in=len(ids))

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

    def named(self, prompt: str) -> list[Named]:
        """Objects and colours of its world as a prompt names them, in order; one of several goes by its own name.

        `two cats` are two, `cats` one or more. A colour counts once where it stands before an object; before anything
        else, such as a meadow, it may mean nothing.
        """
        forms, pattern = self._names
        colors, objects, text = self.world["colors"], self.world["objects"], prompt.lower()
        matches, number, found = list(pattern.finditer(text)), None, list[Named]()
        for match, after in zip_longest(matches, matches[1:]):
            name = forms.get(form := match[0])
            leads = after is not None and after[0] in forms and text[match.end() : after.start()].isspace()
            if name is None:
                number = NUMBERS.get(form) or int(form)
            elif name in colors and leads:
                found.append(Named(name, 1, 1))
            elif name in colors and name not in objects:
                found.append(Named(name, 0, None))
            elif form != name and form.endswith("s") and number in (None, 1):
                found.append(Named(name, 1, None))
            else:
                found.append(Named(name, number or 1, number or 1))
                number = None
        return found

    @cached_property
    def _names(self) -> tuple[dict[str, str], re.Pattern[str]]:
        """What each form of a name means, and a pattern of forms and numbers."""
        forms = {form: name for name in (*self.world["objects"], *self.world["colors"]) for form in _forms(name)}
        forms |= self.world.get("means", {})
        either = "|".join(map(re.escape, (*sorted(forms, key=len, reverse=True), *NUMBERS)))
        return forms, re.compile(rf"(?<![^\W_])(?:{either}|\d\d?)(?![^\W_])")

    @cached_property
    def questions(self) -> frozenset[str]:
        """The questions this model was trained on; asked another, it would answer with noise."""
        return frozenset(self.world.get("questions", ("plan", "look")))

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
    def _vocabulary(self) -> Any:
        import llguidance.hf

        return llguidance.hf.from_tokenizer(self._tokenizer, n_vocab=self._model.config.text_config.vocab_size)

    def _pixels(self, images: tuple[Image, ...]) -> Tensor | None:
        if not images:
            return None
        import torch

        size = self._model.config.vision_config.image_size
        return torch.stack([pixels(image, size) for image in images])[None]


class Named(NamedTuple):
    """What a prompt names: at least and at most how often it is wished for (None: as often as one likes)."""

    name: str
    least: int
    most: int | None


NUMBERS = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "pair": 2, "couple": 2}


def _forms(name: str) -> tuple[str, ...]:
    """A name as it is written of one thing and of several."""
    return name, f"{name}s", f"{name}es", f"{name.removesuffix('y')}ies"


def pixels(image: Image, size: int) -> Tensor:
    """A picture as (3 size size) in -1..1, as the model's image processor makes it."""
    import numpy as np
    import torch
    from PIL.Image import Resampling

    picture = image.convert("RGB")
    if picture.size != (size, size):
        picture = picture.resize((size, size), Resampling.LANCZOS)
    return torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1).float() / 127.5 - 1
