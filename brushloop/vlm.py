"""The seam to vision-language models: one method, asked with text, pictures and a JSON schema.

`open_vlm("embedded")` gives the small model that ships with the package. Other backends are named
`hf:<folder or id@commit>` (transformers) and `openai:<base url>#<model>` (a server, such as vLLM's).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from brushloop.canvas import ModelRef
from brushloop.errors import BackendError, ReplyError, WeightsError
from brushloop.telemetry import operation
from brushloop.weights import folder_of, is_own, own_names

if TYPE_CHECKING:
    from PIL.Image import Image

N = TypeVar("N", bound=BaseModel)

LONGEST = 65_536
"""Longest reply that is read, in characters. A plan of 64 elements and steps takes less than a third of it."""


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
    instructions: str = ""
    """What a model must know that was not trained on these questions. The same for every question of a kind."""


@dataclass(frozen=True)
class Reply:
    """What a model answered: JSON text, its tokens, and what it cost in tokens."""

    text: str
    tokens: tuple[Token, ...] = ()
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0
    """Of `tokens_in`: those a server took from its prefix cache, as far as it tells."""
    cut: bool = False
    """Whether the token limit ended it before the JSON was whole."""
    refusal: str = ""
    """Why the model does not want to answer, if it says so."""


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

    @property
    def usage(self) -> dict[str, int]:
        """What it cost: tokens in all, read, read from a cache, written, and how often the model was asked."""
        return {
            "tokens": self.tokens,
            "tokens_in": sum(reply.tokens_in for reply in self.replies),
            "tokens_cached": sum(reply.tokens_cached for reply in self.replies),
            "tokens_out": sum(reply.tokens_out for reply in self.replies),
            "replies": len(self.replies),
        }


def ask(vlm: VLM, question: Question, noun: type[N]) -> Answer[N]:
    """Ask, read the reply as `noun`, and repair once if it does not fit.

    A model is told what did not fit; one that knows only its own questions is asked the same again, warmer.

    Raises:
        ReplyError: the second reply does not fit either; the message names the first field at fault.
    """
    first = _asked(vlm, question)
    try:
        return Answer(_read(first, noun), (first,))
    except _Misfit as misfit:
        told = f"{question.text}\nYour last reply did not fit the schema ({misfit}). Answer again, JSON only."
    again = replace(question, seed=question.seed + 1)
    again = replace(again, text=told) if own_questions(vlm) is None else replace(again, temperature=1.0)
    second = _asked(vlm, again)
    try:
        return Answer(_read(second, noun), (first, second))
    except _Misfit as misfit:
        raise ReplyError(
            f"{vlm.ref.id} answered twice with something that is not a {noun.__name__}: {misfit}; "
            "try another model or seed"
        ) from misfit


def that_knows(prompt: str) -> str | None:
    """The first of the models that come with the package, by its name, which knows every word of a prompt."""
    for name in own_names():
        try:
            if not open_vlm(name).unknown_words(prompt):
                return name
        except WeightsError:  # a set of a painter alone
            continue
    return None


def own_questions(vlm: VLM) -> frozenset[str] | None:
    """The kinds of question that a model was trained on, where it knows no others; None for one that reads any."""
    known = getattr(vlm, "questions", None)
    return known if isinstance(known, frozenset) else None


def _asked(vlm: VLM, question: Question) -> Reply:
    with operation("chat", vlm.ref.id, request__model=vlm.ref.id, output__type="json") as told:
        told.tell(request__max_tokens=question.max_tokens, request__seed=question.seed)
        told.tell(request__temperature=question.temperature)
        told.words("system_instructions", "system", question.instructions)
        told.words("input.messages", "user", question.text)
        reply = vlm.ask(question)
        told.tell(usage__input_tokens=reply.tokens_in, usage__output_tokens=reply.tokens_out)
        told.tell(usage__cache_read__input_tokens=reply.tokens_cached)
        told.tell(response__finish_reasons=["content_filter" if reply.refusal else "length" if reply.cut else "stop"])
        told.words("output.messages", "assistant", reply.text)
    return reply


class _Misfit(Exception):
    """A reply that is no such noun; says why in a few printable words."""


def _read(reply: Reply, noun: type[N]) -> N:
    if reply.refusal:
        raise _Misfit(f"the model refuses: {few(reply.refusal)}")
    if not reply.text.strip():
        raise _Misfit("the reply is empty")
    if len(reply.text) > LONGEST:
        raise _Misfit(f"the reply has {len(reply.text)} characters, more than {LONGEST}")
    if reply.cut:
        raise _Misfit(f"the reply is not finished within {reply.tokens_out} tokens")
    try:
        return noun.model_validate_json(_bare(reply.text).encode())
    except UnicodeEncodeError:
        raise _Misfit("the reply is not valid Unicode") from None
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in fault["loc"]) or "the reply"
    raise _Misfit(f"{few(where)}: {few(fault['msg'])}")


def _bare(text: str) -> str:
    """The JSON of a reply that came in a fenced block, as models like to write it; any other text as it is."""
    text = text.strip()
    if text.startswith("```") and text.endswith("```") and "\n" in text:
        return text[text.index("\n") : -3]
    return text


def few(text: str) -> str:
    """The beginning of what a model or a library said, on one line, printable, and Unicode."""
    return " ".join("".join(c if c.isprintable() else " " for c in text[:400]).split())[:200]


def open_vlm(name: str) -> VLM:
    """Open a vision-language model by name.

    `embedded`, or `embedded:<set>` of the package's sets; `hf:<folder or id@commit>`, any model that transformers can
    load as image-text-to-text, or one in the embedded model's own format; `openai:<base url>#<model>`, a server.

    Raises:
        BackendError: no such backend, or its package is not installed.
        WeightsError: the folder is missing or damaged.
        ServerError: no server answers there, or it does not have that model.
    """
    kind, _, where = name.partition(":")
    if is_own(name) or (kind == "hf" and where and (Path(where).expanduser() / "world.json").is_file()):
        from brushloop.vlm_embedded import EmbeddedVLM

        return EmbeddedVLM(folder_of(name, "hf"))
    if kind == "hf" and where:
        from brushloop.vlm_hf import HubVLM

        return HubVLM(where)
    if kind == "openai" and where:
        from brushloop.vlm_openai import ServedVLM

        return ServedVLM(where)
    raise BackendError(
        f"unknown VLM backend {name!r}: use 'embedded', 'hf:<folder or id@commit>' or 'openai:<base url>#<model>'"
    )
