"""A vision-language model behind a server that speaks OpenAI's chat protocol: vLLM, or any other.

`openai:http://127.0.0.1:8000/v1#model`. Replies are streamed, so that a stalled server is noticed in seconds and a
babbling one is stopped at its token limit. A hiccup is tried again here; a server that stays away is reported as
`AwayError`, and the loop decides how long to wait for it.

Environment: `BRUSHLOOP_VLM_KEY`, the key, if the server asks for one; `BRUSHLOOP_VLM_TIMEOUT`, seconds of silence
until it counts as away (120).
"""

from __future__ import annotations

import base64
import io
import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from brushloop.canvas import ModelRef
from brushloop.errors import AwayError, BackendError, ContextError, InputError, ServerError
from brushloop.vlm import LONGEST, Question, Reply, Token
from brushloop.vlm_grammar import spelled

if TYPE_CHECKING:
    from PIL.Image import Image

PAUSES = (0.2, 0.6, 1.8)
"""Seconds before each further try of one question."""

OPTIONAL = ("logprobs", "seed", "stream_options", "response_format", "max_tokens")
"""What a server may not know: left out from then on if it says so."""


class ServedVLM:
    """One model of one server. Opening it asks the server for its models, so that a mistake shows at once.

    Args:
        where: `<base url>#<model>`; without a model, the only one that the server has.
        pause: waits that many seconds before another try.

    Raises:
        BackendError: the client library is missing.
        InputError: that is no URL, or it carries a password.
        ServerError: what answers there is no model server, refuses the key, or has no such model.
        AwayError: nothing answers.
    """

    def __init__(self, where: str, pause: Callable[[float], None] = time.sleep) -> None:
        try:
            import openai
        except ImportError:
            raise BackendError("the openai backend needs the package openai: pip install 'brushloop[openai]'") from None
        self.url, _, model = where.partition("#")
        self._check_url()
        self._pause, self._left_out = pause, set[str]()
        self._client = openai.OpenAI(
            base_url=self.url,
            api_key=os.environ.get("BRUSHLOOP_VLM_KEY") or "none",
            timeout=openai.Timeout(seconds_from("BRUSHLOOP_VLM_TIMEOUT", 120.0), connect=5.0),
            max_retries=0,
        )
        self.model = self._known(model)
        self.ref = ModelRef(id=f"openai:{self.url}#{self.model}")

    def ask(self, question: Question) -> Reply:
        """Answer with JSON text; whether it fits the schema is the server's doing, and is checked by the caller.

        Raises:
            AwayError: it did not answer in several tries.
            ServerError: it refuses the question.
            ContextError: the question is longer than what the model can read.
        """
        import openai

        tries = iter(PAUSES)
        while True:
            asked = self._request(question)
            try:
                return self._stream(asked, question.max_tokens)
            except AwayError as error:
                away = error
            except openai.APIStatusError as error:
                if self._can_do_without(error, asked):
                    continue
                if not _passing(error.status_code):
                    raise self._refusal(error, question) from error
                away = self._away(f"answers {error.status_code}: {_said(error)}")
            except openai.APIError as error:
                away = self._away(_told(error))
            except Exception as error:  # broken in transit, or never a reply: the client raises what it trips over
                away = self._away(f"sends no whole reply of a chat server ({type(error).__name__})")
            wait = next(tries, None)
            if wait is None:
                raise away
            self._pause(wait)

    def unknown_words(self, prompt: str) -> Sequence[tuple[str, Sequence[str]]]:
        """None: its world is not written down."""
        return ()

    # One question

    def _request(self, question: Question) -> dict[str, Any]:
        """The body of a request. What never changes comes first, and pictures last: servers cache prefixes."""
        told = question.instructions
        if "response_format" in self._left_out:
            told += f"\n\nThe JSON schema of your reply: {question.schema}"
        content: list[dict[str, Any]] = [{"type": "text", "text": question.text}]
        content += [{"type": "image_url", "image_url": {"url": data_url(image)}} for image in question.images]
        turns: list[dict[str, Any]] = [{"role": "user", "content": content}]
        if told and "system" in self._left_out:
            content.insert(0, {"type": "text", "text": told})
        elif told:
            turns.insert(0, {"role": "system", "content": told})
        body = {
            "model": self.model,
            "messages": turns,
            "stream": True,
            "temperature": question.temperature,
            "logprobs": True,
            "seed": question.seed % 2**31,
            "stream_options": {"include_usage": True},
            "response_format": {"type": "json_schema", "json_schema": {"name": "reply", "schema": question.schema}},
            "max_tokens": question.max_tokens,
        }
        return {name: value for name, value in body.items() if name not in self._left_out}

    def _stream(self, asked: dict[str, Any], most: int) -> Reply:
        """Read a streamed reply to its end, or to its limit in tokens and characters."""
        texts: list[str] = []
        pieces: list[tuple[bytes, float | None]] = []
        refusal, ended, usage, length, chunks = "", None, None, 0, 0
        with self._client.chat.completions.create(**asked) as stream:
            for chunk in stream:
                usage = getattr(chunk, "usage", None) or usage
                for choice in (getattr(chunk, "choices", None) or [])[:1]:
                    texts.append(choice.delta.content or "")
                    refusal += getattr(choice.delta, "refusal", None) or ""
                    for one in (choice.logprobs and choice.logprobs.content) or ():
                        pieces.append((bytes(one.bytes) if one.bytes else one.token.encode(), one.logprob))
                    ended = choice.finish_reason or ended
                    length, chunks = length + len(texts[-1]), chunks + bool(texts[-1])
                if length > LONGEST or len(refusal) > LONGEST or (max(chunks, len(pieces)) > most and not ended):
                    ended = "length"
                    break
        if ended is None:
            raise self._away("broke off in the middle of a reply" if texts else "sends no reply of a chat server")
        if ended == "content_filter":
            refusal = refusal or "its content filter stopped the reply"
        text = "".join(texts)
        spelt = zip(spelled([piece for piece, _ in pieces]), pieces, strict=True)
        tokens = tuple(Token(word, logprob) for word, (_, logprob) in spelt)
        details = getattr(usage, "prompt_tokens_details", None)
        return Reply(
            text,
            tokens,
            tokens_in=getattr(usage, "prompt_tokens", None) or 0,
            tokens_out=getattr(usage, "completion_tokens", None) or max(chunks, len(pieces)),
            tokens_cached=getattr(details, "cached_tokens", None) or 0,
            cut=ended == "length",
            refusal=refusal,
        )

    # What a server says instead

    def _can_do_without(self, error: Any, asked: dict[str, Any]) -> bool:
        """Whether a refused request is worth asking again without something that the server does not know."""
        said = _said(error).lower()
        if error.status_code not in (400, 422):
            return False
        if _overflows(said):
            doubtful = ["max_tokens"]  # the server then gives what room is left; the limit is kept here
        else:
            doubtful = [name for name in OPTIONAL if name in said]
            if "system" in said and asked["messages"][0]["role"] == "system":
                doubtful.append("system")
        new = [name for name in doubtful if name in asked or name == "system"]
        self._left_out.update(new[:1])
        return bool(new)

    def _refusal(self, error: Any, question: Question) -> ServerError | ContextError:
        status, said = error.status_code, _said(error)
        if _overflows(said.lower()):
            return ContextError(
                f"the question does not fit into the context of {self.ref.id} ({said}): "
                "use a smaller picture, a shorter prompt, or a longer --max-model-len"
            )
        if status in (401, 403):
            return ServerError(f"{self.url} refuses the key ({status}: {said}): set BRUSHLOOP_VLM_KEY")
        if status == 404:
            return ServerError(f"{self.url} has no model {self.model!r} ({said}): name one that it serves, after #")
        if question.images and "image" in said.lower():
            return ServerError(
                f"{self.ref.id} refuses the picture ({status}: {said}): use a model that sees, or let its server take "
                f"{len(question.images)} pictures a question"
            )
        return ServerError(f"{self.ref.id} refuses the question ({status}: {said})")

    def _away(self, why: str) -> AwayError:
        return AwayError(f"{self.url} {why}: start the server (brushloop serve-vlm), then brushloop resume goes on")

    def _known(self, model: str) -> str:
        """The model's name as the server has it; a server that keeps no list is believed."""
        import openai

        try:
            ids = [_short(one.id) for one in self._client.models.list(timeout=10.0).data or ()]
        except openai.APIStatusError as error:
            if error.status_code in (401, 403):
                raise ServerError(f"{self.url} refuses the key ({_said(error)}): set BRUSHLOOP_VLM_KEY") from error
            if _passing(error.status_code):
                raise self._away(f"answers {error.status_code}: {_said(error)}") from error
            ids = []
        except openai.APIConnectionError as error:
            raise self._away(_told(error)) from error
        except Exception as error:  # a page, half a list, a list of something else: the client raises many things
            raise ServerError(f"{self.url} is no model server: is it the base URL, which often ends in /v1?") from error
        if not model and len(ids) != 1:
            raise ServerError(f"{self.url} has {len(ids)} models ({_names(ids)}): name one after #")
        if ids and model and model not in ids:
            raise ServerError(f"{self.url} has no model {model[:80]!r}: it has {_names(ids)}")
        return model or ids[0]

    def _check_url(self) -> None:
        try:
            parts = urlsplit(self.url)
            sound = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            sound = False
        if not sound:
            raise InputError(f"{self.url[:80]!r} is no URL: write openai:http://127.0.0.1:8000/v1#model")
        if parts.username or parts.password or parts.query:
            raise InputError(
                "a VLM's URL is recorded with every creation, so it may hold no user, password or query: "
                "put the key in BRUSHLOOP_VLM_KEY"
            )


def data_url(image: Image) -> str:
    """A picture as a PNG in a data URL."""
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _passing(status: int) -> bool:
    """Whether the same request may succeed later."""
    return status in (408, 409, 425, 429) or status >= 500


def _overflows(said: str) -> bool:
    return any(words in said for words in ("context length", "context_length", "maximum model length", "max_model_len"))


def _said(error: Any) -> str:
    """What a server said, on one short line."""
    body = error.body if isinstance(error.body, dict) else {}
    inner = body.get("error", body)
    text = inner.get("message") if isinstance(inner, dict) else inner
    return _short(str(text)) if text else "no reason given"


def _told(error: Exception) -> str:
    import openai

    if isinstance(error, openai.APITimeoutError):
        return "does not answer in time"
    if isinstance(error, openai.APIConnectionError):
        return f"cannot be reached ({_short(str(error.__cause__ or error))})"
    return f"broke off ({_short(str(error))})"


def _short(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text[:600]).split())[:200]


def _names(ids: Sequence[str]) -> str:
    return ", ".join(id[:80] for id in ids[:5]) or "none"


def seconds_from(name: str, usual: float) -> float:
    """Seconds from an environment variable.

    Raises:
        InputError: it holds something else.
    """
    try:
        value = float(os.environ.get(name) or usual)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise InputError(f"{name} is {os.environ[name]!r}: give a number of seconds above 0")
    return value
