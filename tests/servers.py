"""A chat server of our own on a loopback port, scripted answer by answer: what a test needs to see of the real ones."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[["Handler", dict[str, Any]], None]


@dataclass
class ChatServer:
    """Answers each chat request with the next of `answers`, the last one again and again."""

    answers: Sequence[Answer]
    models: Sequence[str] = ("toy",)
    lists: Answer | None = None
    """Answers the request for the list of models instead."""
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    port: int = 0

    @property
    def name(self) -> str:
        return f"openai:http://127.0.0.1:{self.port}/v1#toy"

    @contextmanager
    def running(self) -> Iterator[ChatServer]:
        server = ThreadingHTTPServer(("127.0.0.1", self.port), type("Bound", (Handler,), {"chat": self}))
        server.daemon_threads = True
        self.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class Handler(BaseHTTPRequestHandler):
    chat: ChatServer

    def do_GET(self) -> None:
        self.chat.keys.append(self.headers["authorization"])
        if self.chat.lists:
            self.chat.lists(self, {})
        else:
            self.give(200, {"object": "list", "data": [{"id": id, "object": "model"} for id in self.chat.models]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        number = len(self.chat.asked)
        self.chat.asked.append(body)
        self.chat.answers[min(number, len(self.chat.answers) - 1)](self, body)

    def give(self, status: int, body: Any, kind: str = "application/json") -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def chunks(self, *chunks: dict[str, Any], end: bool = True) -> None:
        """A stream of server-sent events; without its end it breaks off."""
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for chunk in chunks:
            self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        if end:
            self.wfile.write(b"data: [DONE]\n\n")
        self.wfile.flush()

    def log_message(self, *_: Any) -> None:
        """Nothing: tests have their own words."""


def says(text: str, finish: str = "stop", refusal: str | None = None, logprob: float | None = -0.25) -> Answer:
    """A whole reply, in pieces of at most a thousandth of it, with its usage."""

    def answer(handler: Handler, body: dict[str, Any]) -> None:
        size = max(3, len(text) // 1000)
        pieces = [text[i : i + size] for i in range(0, len(text), size)]
        chunks = [chunk({"content": piece}, logprob=logprob) for piece in pieces]
        usage = {"prompt_tokens": 50, "completion_tokens": len(pieces), "total_tokens": 50 + len(pieces)}
        usage |= {"prompt_tokens_details": {"cached_tokens": 32}}
        last = chunk({"refusal": refusal} if refusal else {}, finish)
        end = {"token": "</s>", "bytes": list(b"</s>"), "logprob": -0.01, "top_logprobs": []}
        last["choices"][0]["logprobs"] = {"content": [end]}  # as vLLM: the token that ends a reply, without its text
        handler.chunks(chunk({"role": "assistant", "content": ""}), *chunks, last, {**chunk(), "usage": usage})

    return answer


def breaks(status: int, message: Any = "no", kind: str = "application/json") -> Answer:
    """An error with that message, as servers wrap it; or bytes as they are."""
    body = message if isinstance(message, bytes) else {"error": {"message": message, "code": status}}
    return lambda handler, _: handler.give(status, body, kind)


def hangs_up(handler: Handler, body: dict[str, Any]) -> None:
    """No answer at all."""
    handler.close_connection = True
    handler.connection.close()


def half(handler: Handler, body: dict[str, Any]) -> None:
    """Two pieces of a reply, and then the end."""
    handler.chunks(chunk({"content": '{"elem'}), chunk({"content": "ents"}), end=False)


def torn(handler: Handler, body: dict[str, Any]) -> None:
    """A connection that is cut within a piece."""
    handler.protocol_version = "HTTP/1.1"
    handler.send_response(200)
    handler.send_header("content-type", "text/event-stream")
    handler.send_header("transfer-encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"400\r\ndata: {")
    handler.wfile.flush()
    hangs_up(handler, body)


def chunk(
    delta: dict[str, Any] | None = None, finish: str | None = None, logprob: float | None = None
) -> dict[str, Any]:
    """One chunk of a stream."""
    made: dict[str, Any] = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "toy", "choices": []}
    if delta is not None:
        choice: dict[str, Any] = {"index": 0, "delta": delta, "finish_reason": finish}
        if logprob is not None and delta.get("content"):
            token = delta["content"]
            whole = token.encode("utf-8", "surrogatepass")
            choice["logprobs"] = {
                "content": [{"token": token, "bytes": list(whole), "logprob": logprob, "top_logprobs": []}]
            }
        made["choices"] = [choice]
    return made
