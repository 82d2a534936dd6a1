"""A question and its reply as they go over the wire, in OpenAI's chat protocol, and what a server says instead."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Container, Iterable
from typing import TYPE_CHECKING, Any

from brushloop.vlm import LONGEST, Question, Reply, Token, few
from brushloop.vlm_grammar import spelled

if TYPE_CHECKING:
    from PIL.Image import Image

OPTIONAL = ("logprobs", "seed", "stream_options", "response_format", "max_tokens")
"""What a server may not know: left out from then on if it says so."""


class Broken(Exception):
    """A stream that ended before its reply did."""


def request(question: Question, model: str, left_out: Container[str] = ()) -> dict[str, Any]:
    """The body of a request. What never changes comes first, and pictures last: servers cache prefixes.

    Of `OPTIONAL` and `system`, those in `left_out` are left out. Without `response_format` the schema is told in words.
    """
    told = question.instructions
    if "response_format" in left_out:
        told = f"{told}\n\nThe JSON schema of your reply:\n{json.dumps(question.schema)}".strip()
    content: list[dict[str, Any]] = [{"type": "text", "text": question.text}]
    content += [{"type": "image_url", "image_url": {"url": data_url(image)}} for image in question.images]
    turns: list[dict[str, Any]] = [{"role": "user", "content": content}]
    if told and "system" in left_out:
        content.insert(0, {"type": "text", "text": told})
    elif told:
        turns.insert(0, {"role": "system", "content": told})
    body = {
        "model": model,
        "messages": turns,
        "stream": True,
        "temperature": question.temperature,
        "logprobs": True,
        "seed": question.seed % 2**31,
        "stream_options": {"include_usage": True},
        "response_format": {"type": "json_schema", "json_schema": {"name": "reply", "schema": question.schema}},
        "max_tokens": question.max_tokens,
    }
    return {name: value for name, value in body.items() if name not in left_out}


def read(stream: Iterable[Any], most: int) -> Reply:
    """Read a streamed reply to its end, or to its limit of `most` tokens or `LONGEST` characters.

    Raises:
        Broken: the stream ends without saying that the reply does.
    """
    texts: list[str] = []
    pieces: list[tuple[bytes, float | None]] = []
    refusal, ended, usage, length = "", None, None, 0
    for chunk in stream:
        usage = getattr(chunk, "usage", None) or usage
        for choice in (getattr(chunk, "choices", None) or [])[:1]:
            if choice.delta.content:
                texts.append(choice.delta.content)
                length += len(choice.delta.content)
            refusal += getattr(choice.delta, "refusal", None) or ""
            for one in (choice.logprobs and choice.logprobs.content) or ():
                pieces.append((bytes(one.bytes) if one.bytes else one.token.encode(), one.logprob))
            ended = choice.finish_reason or ended
        if length > LONGEST or len(refusal) > LONGEST or (max(len(texts), len(pieces)) > most and not ended):
            ended = "length"
            break
    if ended is None:
        raise Broken("broke off in the middle of a reply" if texts else "sends no reply of a chat server")
    if ended == "content_filter":
        refusal = refusal or "a content filter stopped the reply"
    text, details = "".join(texts), getattr(usage, "prompt_tokens_details", None)
    return Reply(
        text,
        _tokens(pieces, len(text)),
        tokens_in=getattr(usage, "prompt_tokens", None) or 0,
        tokens_out=getattr(usage, "completion_tokens", None) or max(len(texts), len(pieces)),
        tokens_cached=getattr(details, "cached_tokens", None) or 0,
        cut=ended == "length",
        refusal=refusal,
    )


def _tokens(pieces: list[tuple[bytes, float | None]], length: int) -> tuple[Token, ...]:
    """The tokens that spell a text of that length; the one that ended it is in none."""
    tokens, at = [], 0
    for word, (_, logprob) in zip(spelled([piece for piece, _ in pieces]), pieces, strict=True):
        if at < length:
            tokens.append(Token(word, logprob))
        at += len(word)
    return tuple(tokens)


def data_url(image: Image) -> str:
    """A picture as a PNG in a data URL."""
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def passing(status: int) -> bool:
    """Whether the same request may succeed later."""
    return status in (408, 409, 425, 429) or status >= 500


def overflows(said: str) -> bool:
    """Whether a server's words, in lower case, say that a question is too long."""
    return any(words in said for words in ("context length", "context_length", "maximum model length", "max_model_len"))


def message_of(error: Any) -> str:
    """What a server said with an error status, on one short line."""
    body = error.body if isinstance(error.body, dict) else {}
    inner = body.get("error", body)
    text = inner.get("message") if isinstance(inner, dict) else inner
    return few(str(text)) if text else "no reason given"


def trouble_of(error: Exception) -> str:
    """What went wrong on the way to a server."""
    import openai

    if isinstance(error, openai.APITimeoutError):
        return "does not answer in time"
    if isinstance(error, openai.APIConnectionError):
        return f"cannot be reached ({few(str(error.__cause__ or error))})"
    return f"broke off ({few(str(error))})"
