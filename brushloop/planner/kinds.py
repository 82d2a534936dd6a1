"""Which kind of edit an instruction asks for, as a vision-language model reads it, and how sure it is.

AnyEdit's type predictor was never released; here any model behind the seam does it. The definitions of
`brushloop.edits` are part of the question, so that nothing has to be trained.
"""

from __future__ import annotations

import math
import re
from functools import cache
from typing import Any, Literal

from brushloop.canvas import EditType, Noun, Score
from brushloop.edits import DEFINITIONS
from brushloop.errors import InputError
from brushloop.planner.prompt import squeeze
from brushloop.vlm import VLM, Answer, Question, Reply, ask, own_questions

LEAD = "kind of edit:"
"""How the question begins."""
SURE = 0.6
"""Below this confidence an edit takes the general path: a wrong expert does more harm than none (AnySD, table 5)."""


class Said(Noun):
    """A model's reply."""

    edit: EditType | Literal["none"]
    confidence: Score


class Kind(Noun):
    """What an instruction asks for: a kind of edit, or None where the model was not asked or sees no edit in it."""

    edit: EditType | None
    confidence: Score

    @property
    def sure(self) -> EditType | None:
        """The kind, if it is certain enough to choose experts by."""
        return self.edit if self.confidence >= SURE else None


@cache
def instructions() -> str:
    """What a model must know that was not trained on the question: every kind, its meaning, an example."""
    lines = [f"{edit.value}: {each.about} (as in: {each.example})" for edit, each in DEFINITIONS.items()]
    return (
        "You sort instructions for editing a picture. Reply in JSON: edit is one of the kinds below, or none if the "
        "text asks for no change of a picture; confidence is the probability, from 0 to 1, that you are right. If "
        "several kinds fit, choose the narrowest.\n" + "\n".join(lines)
    )


@cache
def schema() -> dict[str, Any]:
    """The JSON schema of a reply."""
    return Said.model_json_schema()


def kind_of(vlm: VLM, instruction: str) -> Answer[Kind]:
    """Ask which kind of edit an instruction is; its words alone tell.

    The confidence is the probability that the model gave to the word it chose; a model that tells no probabilities
    is taken by the confidence it states. A model that knows only its own questions (`VLM.questions`) is not asked.

    Raises:
        InputError: the model is sure that the instruction asks for no edit.
        ReplyError: it answers with something else, twice.
    """
    known = own_questions(vlm)
    if known is not None and "kind" not in known:
        return Answer(Kind(edit=None, confidence=0.0), ())
    question = Question(f"{LEAD} {squeeze(instruction)}", schema(), max_tokens=64, instructions=instructions())
    answer = ask(vlm, question, Said)
    said = answer.value
    told = probability(answer.replies[-1])
    confidence = round(said.confidence if told is None else told, 4)
    if said.edit == "none":
        if confidence >= SURE:
            raise InputError(
                f"no edit is asked for in {instruction[:60]!r}: say what is to change, such as "
                f"{DEFINITIONS[EditType.COLOR].example!r}"
            )
        return Answer(Kind(edit=None, confidence=confidence), answer.replies)
    return Answer(Kind(edit=said.edit, confidence=confidence), answer.replies)


_EDIT = re.compile(r'"edit"\s*:\s*"(\w+)"')


def probability(reply: Reply) -> float | None:
    """Probability (0-1) of the tokens that spell the kind; None where the model tells none."""
    match = _EDIT.search(reply.text)
    if match is None or "".join(token.text for token in reply.tokens) != reply.text:
        return None
    total, at = 0.0, 0
    for token in reply.tokens:
        before, at = at, at + len(token.text)
        if before < match.end(1) and at > match.start(1):
            if token.logprob is None:
                return None
            total += token.logprob
    return min(1.0, math.exp(total))
