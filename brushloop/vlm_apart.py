"""A vision-language model in a process of its own, so that it thinks while the painter of this process paints.

Models as small as those that ship spend half of their time in Python, where two threads take turns. Questions and
replies go through a pipe, as lines of JSON; the other process ends when this one does, however that ends.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import fields
from typing import Any

from brushloop import errors
from brushloop.errors import ModelError
from brushloop.vlm import VLM, Question, Reply, Token, open_vlm

SHARE = max(1, (os.cpu_count() or 2) // 2)
"""Threads of torch in each of the two processes: half of the machine."""


class ApartVLM:
    """The model of a name (`open_vlm`), asked in another process. What needs no weights is told here.

    Raises:
        ModelError: as from `open_vlm`.
    """

    def __init__(self, name: str) -> None:
        self.vlm = open_vlm(name)
        self.ref = self.vlm.ref
        self._turn = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "brushloop.vlm_apart", name], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def ask(self, question: Question) -> Reply:
        """As the model's.

        Raises:
            ModelError: its process has ended; besides what the model itself raises.
        """
        there, back = self._process.stdin, self._process.stdout
        assert there is not None and back is not None
        with self._turn:
            try:
                there.write(_asked(question))
                there.flush()
                told = json.loads(back.readline())
            except (OSError, ValueError) as error:
                code = self._process.poll()
                ended = f"ended with exit code {code}" if code is not None else "does not answer"
                raise ModelError(
                    f"the process of {self.ref.id} {ended}: is there memory for it? what is made is kept, start again"
                ) from error
        if "error" in told:
            raise getattr(errors, told["error"], ModelError)(told["message"])
        return Reply(**told | {"tokens": tuple(Token(*token) for token in told["tokens"])})

    def close(self) -> None:
        """End the other process."""
        with suppress(BrokenPipeError), self._process:  # its end of the pipe closed, it has nothing more to read
            pass

    def __getattr__(self, name: str) -> Any:
        return getattr(self.vlm, name)  # its words, names, world and questions


def _asked(question: Question) -> bytes:
    """A question as a line of JSON; pictures as their pixels."""
    pictures = [[each.mode, each.size, base64.b64encode(each.tobytes()).decode()] for each in question.images]
    told = {field.name: getattr(question, field.name) for field in fields(question)}
    return json.dumps(told | {"images": pictures}).encode() + b"\n"


def _question(line: bytes) -> Question:
    """The question that a line asks."""
    from PIL import Image

    told = json.loads(line)
    pictures = [Image.frombytes(mode, tuple(size), base64.b64decode(data)) for mode, size, data in told["images"]]
    return Question(**told | {"images": tuple(pictures)})


def _answer(vlm: VLM, question: Question) -> dict[str, Any]:
    """The reply, or the name of the error and what it says."""
    try:
        reply = vlm.ask(question)
    except errors.BrushloopError as error:
        return {"error": type(error).__name__, "message": str(error)}
    except Exception as error:
        return {"error": "ModelError", "message": f"the model failed: {type(error).__name__}: {error}"}
    tokens = [(token.text, token.logprob) for token in reply.tokens]
    return {field.name: getattr(reply, field.name) for field in fields(reply)} | {"tokens": tokens}


def main() -> None:
    """The other process: answer until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asks
    back = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no reply
    import torch

    torch.set_num_threads(SHARE)
    vlm = open_vlm(sys.argv[1])
    for line in sys.stdin.buffer:
        back.write(json.dumps(_answer(vlm, _question(line))).encode() + b"\n")
        back.flush()


if __name__ == "__main__":
    main()
