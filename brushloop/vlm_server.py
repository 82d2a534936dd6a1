"""Starting a vLLM server on a model folder, by default on the model that ships.

vLLM has its own idea of torch, so it lives in an environment of its own, and this process only starts it, waits until
it answers, and ends it. The command line given here is the one that was tested; what it sets beyond vLLM's defaults:

* JSON without white space between its parts, by llguidance: replies are then written as the other backends write them;
* the number of cached prompt tokens in every reply's usage;
* for a model in the embedded format, float32 and a template that reads questions as the model was trained on them,
  without the instructions that other models need.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from brushloop.errors import BackendError, InputError, ServerError
from brushloop.weights import find

SHORT_QUESTIONS = (
    "{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'] | capitalize }}:"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>{% endif %}{% endfor %}"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}"
    "<end_of_utterance>\n{% endif %}{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)
"""The embedded model's chat template (`vlm_embedded.conversation`), without system turns."""

SURROUNDINGS = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
}
"""Environment of the server, unless it is set already: no network, no telemetry, 1 GiB of cache on a CPU."""


@dataclass
class Served:
    """A server that answers."""

    name: str
    """What to give as `--vlm`."""
    process: subprocess.Popen[bytes]
    log: Path


@contextmanager
def serving(
    folder: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    python: str | None = None,
    options: str = "",
    seconds: float = 600.0,
) -> Iterator[Served]:
    """Start vLLM, wait until it answers, and end it on the way out.

    Args:
        folder: a transformers folder; None is the model that ships.
        port: 0 takes any that is free.
        python: of the environment that vLLM is installed in.
        options: further options of vLLM's own, as in a shell.
        seconds: how long it may take to start.

    Raises:
        WeightsError: there is no such folder.
        BackendError: no Python with vLLM was found.
        InputError: the port is taken.
        ServerError: it ended, or did not answer in time; the message has its last words.
    """
    weights = find("vlm", folder, ("config.json",))
    embedded = (weights.folder / "world.json").is_file()
    model = "embedded" if embedded else weights.folder.resolve().name
    executable = python_with_vllm(python)
    port = _free(host, port)
    more = _options(options)
    log = Path(tempfile.mkdtemp(prefix="brushloop-vllm-")) / "vllm.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [executable, *arguments(weights.folder, model, host, port, embedded), *more],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**SURROUNDINGS, **os.environ},
            start_new_session=True,
        )
    try:
        _await(process, f"http://{host}:{port}/health", log, seconds)
        yield Served(f"openai:http://{host}:{port}/v1#{model}", process, log)
    finally:
        end(process)


def arguments(folder: Path, model: str, host: str, port: int, embedded: bool) -> list[str]:
    """What follows the name of the Python."""
    words = ["-m", "vllm.entrypoints.openai.api_server"]
    words += ["--model", str(folder), "--served-model-name", model, "--host", host, "--port", str(port)]
    words += ["--limit-mm-per-prompt", json.dumps({"image": 2}), "--enable-prompt-tokens-details"]
    words += ["--structured-outputs-config", json.dumps({"backend": "guidance", "disable_any_whitespace": True})]
    if embedded:
        words += ["--dtype", "float32", "--chat-template", SHORT_QUESTIONS]
        words += ["--chat-template-content-format", "openai"]
    if not shutil.which("nvidia-smi"):
        words += ["--enforce-eager", "--block-size", "32"]  # on a CPU the cache is kept in blocks of 32 tokens or more
    return words


def python_with_vllm(named: str | None = None) -> str:
    """A Python that has vLLM: the one named, `BRUSHLOOP_VLLM_PYTHON`, this one, or the one in `.venv-vllm`.

    Raises:
        BackendError: there is none.
    """
    asked = named or os.environ.get("BRUSHLOOP_VLLM_PYTHON")
    if asked is None and importlib.util.find_spec("vllm"):
        return sys.executable
    candidate = asked or str(Path(".venv-vllm") / "bin" / "python")
    look = "import importlib.util as u, sys; sys.exit(u.find_spec('vllm') is None)"
    with suppress(OSError, subprocess.TimeoutExpired):
        if subprocess.run([candidate, "-c", look], capture_output=True, timeout=60).returncode == 0:
            return candidate
    raise BackendError(
        f"no vLLM in {candidate}: make .venv-vllm/.installed sets up an environment for it, "
        "or name a Python that has it with --python"
    )


def end(process: subprocess.Popen[bytes], seconds: float = 20.0) -> None:
    """End a server with everything it has started."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            break
        with suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
    with suppress(ProcessLookupError):  # what it may have left behind
        os.killpg(process.pid, signal.SIGKILL)


def last_words(log: Path) -> str:
    """The last line of a log that tells of an error, else its last line."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    telling = [line for line in lines if "Error" in line or "error:" in line]
    return (telling or lines or ["it said nothing"])[-1].strip()[-300:]


def _await(process: subprocess.Popen[bytes], health: str, log: Path, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if process.poll() is not None:
            raise ServerError(f"vLLM ended with exit code {process.returncode}: {last_words(log)} (all of it: {log})")
        with suppress(OSError), urllib.request.urlopen(health, timeout=2) as answer:
            if answer.status == 200:
                return
        time.sleep(0.25)
    raise ServerError(f"vLLM did not answer within {seconds:g} s: {last_words(log)} (all of it: {log})")


def _free(host: str, port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            raise InputError(f"cannot serve on {host}:{port} ({error}): choose another --host or --port") from error
        return int(probe.getsockname()[1])


def _options(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise InputError(f"{text[:80]!r} are no options: {error}") from error
