"""Tokenizers for the embedded models, built from the words of the world."""

from __future__ import annotations

import random
import string
from collections.abc import Iterator

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer, T5Tokenizer

from brushloop.painter.tokens import LENGTH
from brushloop.supervision.world import edits, scenes, words
from brushloop.supervision.world.worlds import current


def sentences(number: int, seed: int = 0) -> Iterator[str]:
    """Prompts, instructions and edits of the world."""
    rng = random.Random(f"sentences/{seed}")
    for _ in range(number):
        scene = scenes.sample(rng)
        yield words.prompt(scene, rng)[0]
        for step in words.plan(scene).steps:
            yield step.instruction
        yield edits.sample(rng, training=True).text


def vocabulary_of(number: int) -> set[str]:
    """The words of so many scenes of the world, and all others that it can say."""
    said = {word for text in sentences(number) for word in text.lower().replace(",", " ").split()}
    return said | words.lexicon()


def pieces(least: int) -> int:
    """How many pieces of words a tokenizer learns: eight more for each object beyond the small world's."""
    return least + 8 * max(0, len(current().things) - 44)


def t5_tokenizer() -> T5Tokenizer:
    """A unigram tokenizer whose pieces are whole words, small numbers, and letters for everything else."""
    vocabulary = sorted(vocabulary_of(6000))
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0), ("▁", -6.0), (",", -2.0)]
    pieces += [(f"▁{word}", -1.0) for word in vocabulary if not word.isdigit()]
    pieces += [("▁I", -1.0)] if "i" in vocabulary else []
    pieces += [(f"▁{number}", -1.0) for number in range(33)]
    pieces += [(letter, -12.0) for letter in string.ascii_lowercase + string.digits + ".'-"]
    return T5Tokenizer(vocab=pieces, extra_ids=0, additional_special_tokens=[], model_max_length=LENGTH)


def clip_tokenizer() -> CLIPTokenizer:
    """A byte-pair tokenizer in CLIP's manner, learned on the world's sentences."""
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token="<|endoftext|>"))
    learner.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    learner.pre_tokenizer = pre_tokenizers.Split(
        Regex(r"[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"), behavior="removed", invert=True
    )
    learner.train_from_iterator(
        (*sentences(6000), *sorted(words.lexicon())),
        trainers.BpeTrainer(
            vocab_size=pieces(700), end_of_word_suffix="</w>", special_tokens=["<|startoftext|>", "<|endoftext|>"],
            initial_alphabet=list(string.ascii_lowercase + string.digits + ",.'-"), show_progress=False,
        ),
    )  # fmt: skip
    import json

    learned = json.loads(learner.to_str())["model"]
    merges = [tuple(merge) if isinstance(merge, list) else tuple(merge.split(" ")) for merge in learned["merges"]]
    return CLIPTokenizer(vocab=learned["vocab"], merges=merges, model_max_length=LENGTH)
