"""The seam to vision-language models: one method, asked with text, pictures and a JSON schema.

`open_vlm("embedded")` gives the small model that ships with the package. Backends are names like
`embedded` or `hf:<folder or hub id>`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from brushloop.canvas import ModelRef
from brushloop.errors import BackendError, ReplyError

if TYPE_CHECKING:
    from PIL.Image import Image

N = TypeVar("N", bound=BaseModel)


@dataclass(frozen=True)
class Token:
    """One piece of a reply, and the log-probability the model gave it (natural log; None: not told)."""

    text: str
    logprob: float | None = None


@dataclass(frozen=True)
class Question:
    """What a model is asked: words, pictures, and the JSON schema its reply must fit."""

    text: str
    schema: dict[str, Any]
    images: tuple[Image, ...] = ()
    max_tokens: int = 1024
    seed: int = 0
    temperature: float = 0.0


@dataclass(frozen=True)
class Reply:
    """What a model answered: JSON text, its tokens, and what it cost in tokens."""

    text: str
    tokens: tuple[Token, ...] = ()
    tokens_in: int = 0
    tokens_out: int = 0


class VLM(Protocol):
    """A vision-language model."""

    ref: ModelRef

    def ask(self, question: Question) -> Reply:
        """Answer with JSON text that fits `question.schema`.

        Raises:
            ModelError: the model cannot be loaded or does not answer.
        """
        ...

    def unknown_words(self, prompt: str) -> Sequence[tuple[str, Sequence[str]]]:
        """Words of `prompt` outside this model's world, each with the nearest known ones; () for a big model."""
        ...


@dataclass(frozen=True)
class Answer(Generic[N]):
    """A reply read as a noun, and the replies it cost."""

    value: N
    replies: tuple[Reply, ...]

    @property
    def tokens(self) -> int:
        """Tokens read and written, over all replies."""
        return sum(reply.tokens_in + reply.tokens_out for reply in self.replies)


def ask(vlm: VLM, question: Question, noun: type[N]) -> Answer[N]:
    """Ask, read the reply as `noun`, and repair once if it does not fit.

    Raises:
        ReplyError: the second reply does not fit either; the message names the first field at fault.
    """
    first = vlm.ask(question)
    try:
        return Answer(noun.model_validate_json(first.text), (first,))
    except ValidationError as error:
        fault = _first_fault(error)
    again = Question(
        text=f"{question.text}\nYour last reply did not fit the schema ({fault}). Answer again, JSON only.",
        schema=question.schema,
        images=question.images,
        max_tokens=question.max_tokens,
        seed=question.seed + 1,
        temperature=question.temperature,
    )
    second = vlm.ask(again)
    try:
        return Answer(noun.model_validate_json(second.text), (first, second))
    except ValidationError as error:
        raise ReplyError(
            f"{vlm.ref.id} answered twice with something that is not a {noun.__name__}: {_first_fault(error)}; "
            "try another model or seed"
        ) from error


def open_vlm(name: str) -> VLM:
    """Open a vision-language model by name: `embedded`, or `hf:<folder>` in the embedded model's own format.

    Raises:
        BackendError: no such backend.
        WeightsError: the folder is missing or damaged.
    """
    kind, _, where = name.partition(":")
    if kind in ("embedded", "hf"):
        from brushloop.vlm_embedded import EmbeddedVLM

        return EmbeddedVLM(where or None)
    raise BackendError(f"unknown VLM backend {name!r}: use 'embedded' or 'hf:<folder>'")


def _first_fault(error: ValidationError) -> str:
    fault = error.errors()[0]
    where = ".".join(str(part) for part in fault["loc"]) or "the reply"
    return f"{where}: {fault['msg']}"
