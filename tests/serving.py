"""A real server with toys in the place of the models, in a thread or in a process of its own.

python tests/serving.py HOME [seconds for a denoising step]      tells its URL on stdout
"""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from fakes import ToyPainter, ToyVLM

from brushloop import Studio
from brushloop.serve.app import create_app
from brushloop.serve.guard import Rules


def toy_studio(home: Path, slow: float = 0.0) -> Studio:
    """A studio of toys; `slow` is how long a denoising step takes, in seconds."""
    return Studio(ToyPainter(during=lambda done: time.sleep(slow)), ToyVLM(), home)


@contextmanager
def running(app: Any) -> Iterator[str]:
    """Serve on a free port; yields the URL."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


if __name__ == "__main__":
    slow = float(sys.argv[2]) if len(sys.argv) > 2 else 0.0
    with running(create_app(toy_studio(Path(sys.argv[1]), slow), Rules())) as url:
        print(url, flush=True)
        threading.Event().wait()
