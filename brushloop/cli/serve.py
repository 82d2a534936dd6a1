"""The commands that serve: creations over HTTP and MCP, and the vision-language model over vLLM."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from brushloop.cli.console import result
from brushloop.cli.options import VLM, Json, Painter
from brushloop.errors import BackendError, BrushloopError, ServerError

if TYPE_CHECKING:
    from brushloop.serve.guard import Rules

Host = Annotated[str, typer.Option(help="Address to listen on; any but this machine's own needs an API key.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes any that is free.")]
Hosts = Annotated[
    list[str] | None, typer.Option("--allow-host", help="Another name this server is called by. May be repeated.")
]
Origins = Annotated[
    list[str] | None, typer.Option("--allow-origin", help="A web origin whose pages may call it. May be repeated.")
]
Upload = Annotated[int, typer.Option(min=1000, help="Most bytes of a request.")]
Rate = Annotated[
    str | None, typer.Option(help="Most requests of a key, for example 600/minute, which it is where keys are set.")
]


def serve(
    host: Host = "127.0.0.1",
    port: Port = 8765,
    painter: Painter = "embedded",
    vlm: VLM = "embedded",
    allow_host: Hosts = None,
    allow_origin: Origins = None,
    max_upload: Upload = 20_000_000,
    rate: Rate = None,
    as_json: Json = False,
) -> None:
    """Serve creations and an OpenAI-compatible images API over HTTP; keys come from BRUSHLOOP_API_KEY."""
    _needs("fastapi", "uvicorn", "sse_starlette", "filelock", "multipart", "limits")
    from brushloop.agent.studio import Studio
    from brushloop.serve.app import create_app

    rules = _rules(host, allow_host, allow_origin, max_upload, rate)
    _run(create_app(Studio(painter, vlm), rules), host, port, "", as_json)


def mcp(
    http: Annotated[bool, typer.Option("--http", help="Over HTTP at /mcp, in place of stdin and stdout.")] = False,
    host: Host = "127.0.0.1",
    port: Port = 8766,
    painter: Painter = "embedded",
    vlm: VLM = "embedded",
    allow_host: Hosts = None,
    allow_origin: Origins = None,
    max_upload: Upload = 20_000_000,
    rate: Rate = None,
    as_json: Json = False,
) -> None:
    """Serve creations to agents as tools of the Model Context Protocol, over stdin and stdout or over HTTP."""
    _needs("mcp", "filelock", "limits")
    from brushloop.agent.studio import Studio
    from brushloop.serve.tools import create_server, over_http

    server, jobs = create_server(Studio(painter, vlm))
    rules = _rules(host, allow_host, allow_origin, max_upload, rate) if http else None
    jobs.start()
    try:
        if rules:
            _run(over_http(server, rules), host, port, "/mcp", as_json)
        else:
            server.run("stdio")
    finally:
        jobs.close()


def serve_vlm(
    folder: Annotated[
        str | None, typer.Argument(help="A transformers folder; by default the model that ships.", metavar="[FOLDER]")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to serve on.")] = "127.0.0.1",
    port: Port = 8000,
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


def _rules(host: str, hosts: list[str] | None, origins: list[str] | None, upload: int, rate: str | None) -> Rules:
    from brushloop.serve.guard import rules_for

    keys = [key.strip() for key in os.environ.get("BRUSHLOOP_API_KEY", "").split(",") if key.strip()]
    return rules_for(host, keys, hosts or (), origins or (), upload, rate)


def _run(app: object, host: str, port: int, path: str, as_json: bool) -> None:
    """Listen until Ctrl-C; where is told on stdout once it can be reached.

    Raises:
        BrushloopError: the address cannot be listened on.
    """
    import asyncio
    import socket

    import uvicorn

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, UnicodeError) as error:
        listener.close()
        said = getattr(error, "strerror", None) or str(error)
        raise BrushloopError(
            f"cannot listen on {host} port {port} ({said}): choose another --host or --port"
        ) from error
    listener.listen(128)
    name = f"[{host}]" if ":" in host else host
    url = f"http://{name}:{listener.getsockname()[1]}{path}"
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=3, server_header=False)  # type: ignore[arg-type]
    result({"url": url, "pid": os.getpid()}, [url], as_json)
    try:
        asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))
    except KeyboardInterrupt:
        pass
    finally:
        listener.close()
    print("stopped", file=sys.stderr, flush=True)


def _needs(*modules: str) -> None:
    """Raise `BackendError` if the packages of the extra `serve` are not installed."""
    from importlib.util import find_spec

    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise BackendError(f"{', '.join(missing)} is not installed: pip install 'brushloop[serve]'")
