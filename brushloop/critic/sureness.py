"""How sure a model was of what it said: the probability of the words it chose."""

from __future__ import annotations

import math
import re

from brushloop.vlm import Reply

_STATUS = re.compile(r'"status"\s*:\s*"(\w+)"')
"""A status in a reply. Inside an instruction the quotes would be escaped, so it is not mistaken for one."""


def sureness(reply: Reply, findings: int) -> list[float]:
    """Probability (0-1) of the status named by each finding, in order; 1 where the model tells none.

    The status of finding `i` is found in the text; its probability is the product over the tokens
    that spell it: p = exp(sum of log-probabilities).
    """
    spans = [match.span(1) for match in _STATUS.finditer(reply.text)]
    if len(spans) != findings or "".join(token.text for token in reply.tokens) != reply.text:
        return [1.0] * findings
    return [_probability(reply, start, end) for start, end in spans]


def _probability(reply: Reply, start: int, end: int) -> float:
    total, at = 0.0, 0
    for token in reply.tokens:
        before, at = at, at + len(token.text)
        if before < end and at > start:
            if token.logprob is None:
                return 1.0
            total += token.logprob
    return min(1.0, math.exp(total))
