"""A vision-language model behind a server that speaks OpenAI's chat protocol: vLLM, or any other.

`openai:http://127.0.0.1:8000/v1#model`. Replies are streamed, so that a stalled server is noticed in seconds and a
babbling one is stopped at its token limit. A hiccup is tried again here; a server that stays away is reported as
`AwayError`, and the loop decides how long to wait for it.

Environment: `BRUSHLOOP_VLM_KEY`, the key, if the server asks for one; `BRUSHLOOP_VLM_TIMEOUT`, seconds of silence
until it counts as away (120).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from brushloop.canvas import ModelRef
from brushloop.errors import AwayError, BackendError, ContextError, InputError, ServerError
from brushloop.vlm import Question, Reply, few
from brushloop.vlm_wire import OPTIONAL, Broken, message_of, overflows, passing, read, request, trouble_of

PAUSES = (0.2, 0.6, 1.8)
"""Seconds before each further try of one question."""
AGAIN = " and try again"
"""What helps when nothing was asked yet."""


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

    shared = True
    """Whether several threads may ask it at once."""

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
            asked = request(question, self.model, self._left_out)
            try:
                with self._client.chat.completions.create(**asked) as stream:
                    return read(stream, question.max_tokens)
            except Broken as error:
                away = self._away(str(error))
            except openai.APIStatusError as error:
                if self._can_do_without(error, asked):
                    continue
                if not passing(error.status_code):
                    raise self._refusal(error, question) from error
                away = self._away(f"answers {error.status_code}: {message_of(error)}")
            except openai.APIError as error:
                away = self._away(trouble_of(error))
            except Exception as error:  # broken in transit, or never a reply: the client raises what it trips over
                away = self._away(f"sends no whole reply of a chat server ({type(error).__name__})")
            wait = next(tries, None)
            if wait is None:
                raise away
            self._pause(wait)

    def unknown_words(self, prompt: str) -> Sequence[tuple[str, Sequence[str]]]:
        """None: its world is not written down."""
        return ()

    # What a server says instead

    def _can_do_without(self, error: Any, asked: dict[str, Any]) -> bool:
        """Whether a refused request is worth asking again without something that the server does not know."""
        said = message_of(error).lower()
        if error.status_code not in (400, 422):
            return False
        if overflows(said):
            doubtful = ["max_tokens"]  # the server then gives what room is left; the limit is kept here
        else:
            doubtful = [name for name in OPTIONAL if name in said]
            if "system" in said and asked["messages"][0]["role"] == "system":
                doubtful.append("system")
        new = [name for name in doubtful if name in asked or name == "system"]
        self._left_out.update(new[:1])
        return bool(new)

    def _refusal(self, error: Any, question: Question) -> ServerError | ContextError:
        status, said = error.status_code, message_of(error)
        if overflows(said.lower()):
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

    def _away(self, why: str, then: str = ", then brushloop resume goes on") -> AwayError:
        return AwayError(f"{self.url} {why}: start the server (brushloop serve-vlm){then}")

    def _known(self, model: str) -> str:
        """The model's name as the server has it; a server that keeps no list is believed."""
        import openai

        try:
            ids = [few(one.id) for one in self._client.models.list(timeout=10.0).data or ()]
        except openai.APIStatusError as error:
            if error.status_code in (401, 403):
                raise ServerError(f"{self.url} refuses the key ({message_of(error)}): set BRUSHLOOP_VLM_KEY") from error
            if passing(error.status_code):
                raise self._away(f"answers {error.status_code}: {message_of(error)}", AGAIN) from error
            ids = []
        except openai.APIConnectionError as error:
            raise self._away(trouble_of(error), AGAIN) from error
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
