"""The command that serves the vision-language model to others."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from brushloop.agent.console import result
from brushloop.agent.looking import Json
from brushloop.errors import ServerError


def serve_vlm(
    folder: Annotated[
        str | None, typer.Argument(help="A transformers folder; by default the model that ships.", metavar="[FOLDER]")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to serve on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to serve on; 0 takes any that is free.")] = 8000,
    python: Annotated[
        str | None, typer.Option(help="A Python that has vLLM; by default this one, or .venv-vllm/bin/python.")
    ] = None,
    vllm: Annotated[
        str, typer.Option(help='Further options of vLLM, for example "--gpu-memory-utilization 0.3".')
    ] = "",
    as_json: Json = False,
) -> None:
    """Start a vLLM server and tell the name to give as --vlm; Ctrl-C ends it."""
    from brushloop.vlm_server import last_words, serving

    print("starting vLLM, which takes a minute", file=sys.stderr, flush=True)
    try:
        with serving(folder, host, port, python, vllm) as served:
            value = {"vlm": served.name, "pid": served.process.pid, "log": str(served.log)}
            result(value, [served.name], as_json)
            code = served.process.wait()
            raise ServerError(f"vLLM ended with exit code {code}: {last_words(served.log)} (all of it: {served.log})")
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr, flush=True)
