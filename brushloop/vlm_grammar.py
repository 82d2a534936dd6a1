"""Writing JSON token by token under a schema: one place that masks, chooses, and remembers how likely each word was.

The grammar (llguidance) masks every token that would leave the schema, so a finished reply always parses. Who runs
the model, and how, is the caller's affair: it gives logits and gets tokens.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from brushloop.errors import ModelError
from brushloop.vlm import Question, Reply, Token

if TYPE_CHECKING:
    from torch import Tensor


class Writing:
    """A reply in the making.

    Args:
        vocabulary: `llguidance.hf.from_tokenizer(tokenizer, n_vocab=...)`.
        question: its schema, temperature, seed and token limit are kept.

    Raises:
        ModelError: the schema cannot be turned into a grammar.
    """

    def __init__(self, vocabulary: Any, question: Question) -> None:
        import llguidance
        import llguidance.numpy  # its counterpart for torch compiles a kernel, which takes seconds and a compiler
        import torch

        grammar = llguidance.LLMatcher.grammar_from_json_schema(
            question.schema, defaults={"whitespace_flexible": False}
        )
        self._matcher = llguidance.LLMatcher(vocabulary, grammar)
        if self._matcher.is_error():
            raise ModelError(f"the schema cannot be turned into a grammar: {self._matcher.get_error()}")
        self._vocabulary, self._question = vocabulary, question
        self._mask = llguidance.numpy.allocate_token_bitmask(1, vocabulary.vocab_size)
        self._generator = torch.Generator().manual_seed(question.seed)
        self._taken: list[tuple[int, float]] = []
        self.done = False
        """Whether the reply is finished, or cut off by its token limit."""

    @property
    def end(self) -> int:
        """The token that ends a reply."""
        return int(self._vocabulary.eos_token)

    def take(self, logits: Tensor) -> list[int]:
        """Choose the next token by `logits` (1 V), and append it with all those that the schema then forces.

        At temperature 0 the likeliest that fits is chosen. Returns the tokens taken; none at the end.
        """
        import llguidance.numpy
        import torch

        logits = logits[:, : self._vocabulary.vocab_size].float().cpu().clone()
        llguidance.numpy.fill_next_token_bitmask(self._matcher, self._mask)
        llguidance.numpy.apply_token_bitmask_inplace(logits.numpy(), self._mask)
        logprobs = logits.log_softmax(-1)[0]
        if self._question.temperature > 0:
            spread = (logits[0] / self._question.temperature).softmax(-1)
            chosen = int(torch.multinomial(spread, 1, generator=self._generator))
        else:
            chosen = int(logprobs.argmax())
        self._matcher.consume_token(chosen)
        if self._matcher.is_stopped() and chosen == self._vocabulary.eos_token:
            self.done = True
            return []
        taken = [(chosen, float(logprobs[chosen]))]
        for forced in self._matcher.compute_ff_tokens():
            self._matcher.consume_token(forced)
            taken.append((forced, 0.0))
        self._taken += taken
        self.done = self._matcher.is_stopped() or len(self._taken) >= self._question.max_tokens
        return [token for token, _ in taken]

    def reply(self, tokens_in: int) -> Reply:
        """What was written, for a question of `tokens_in` tokens."""
        special = self._vocabulary.is_special_token
        pieces = [b"" if special(token) else self._vocabulary.decode_bytes([token]) for token, _ in self._taken]
        texts = spelled(pieces)
        tokens = tuple(Token(text, logprob) for text, (_, logprob) in zip(texts, self._taken, strict=True))
        cut = not self._matcher.is_stopped()
        return Reply("".join(texts), tokens, tokens_in, len(tokens), cut=cut)


def spelled(pieces: Iterable[bytes]) -> list[str]:
    """The text of each token: a letter whose bytes are spread over several belongs to the last of them."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    texts = [decoder.decode(piece) for piece in pieces]
    rest = decoder.decode(b"", final=True)
    if rest and texts:
        texts[-1] += rest
    return texts
