"""A vision-language model in a process of its own, so that it thinks while the painter of this process paints.

Models as small as those that ship spend half of their time in Python, where two threads take turns. Questions and
replies go through a pipe; the other process ends when this one does, however that ends.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from typing import Any

from brushloop.errors import ModelError
from brushloop.vlm import Question, Reply, open_vlm

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
                pickle.dump(question, there)
                there.flush()
                reply = pickle.load(back)
            except (OSError, ValueError, EOFError, pickle.UnpicklingError) as error:
                code = self._process.poll()
                ended = f"ended with exit code {code}" if code is not None else "does not answer"
                raise ModelError(
                    f"the process of {self.ref.id} {ended}: is there memory for it? what is made is kept, start again"
                ) from error
        if isinstance(reply, BaseException):
            raise reply
        assert isinstance(reply, Reply)
        return reply

    def close(self) -> None:
        """End the other process."""
        with suppress(BrokenPipeError), self._process:  # its end of the pipe closed, it has nothing more to read
            pass

    def __getattr__(self, name: str) -> Any:
        return getattr(self.vlm, name)  # its words, names, world and questions


def main() -> None:
    """The other process: answer until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asks
    back = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no reply
    import torch

    torch.set_num_threads(SHARE)
    vlm = open_vlm(sys.argv[1])
    while True:
        try:
            question = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        reply: Reply | Exception
        try:
            reply = vlm.ask(question)
        except Exception as error:
            reply = error
        pickle.dump(reply, back)
        back.flush()


if __name__ == "__main__":
    main()
