"""The HTTP service as a deployment of Ray Serve, which places it on a node, watches it, and starts it anew elsewhere.

    serve run brushloop.scale.deployment:build painter=flux:/weights vlm=openai:http://vlm:8000/v1#name gpus=0.5

It is one replica: who accepts a creation also works on it, and tells of it as it is painted. What it has accepted is in
the store, so the next replica goes on with it. For more than one painter, deploy it several times, each under a
`route_prefix` and with a `home` of its own; for many pictures, use `brushloop batch --on ray`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from brushloop.agent.studio import Studio
from brushloop.errors import BackendError

if TYPE_CHECKING:
    from fastapi import FastAPI


class Arguments(BaseModel):
    """What a deployment is given: `name=value` after `serve run`, or under `args` in Serve's configuration file."""

    model_config = ConfigDict(extra="forbid")

    painter: str = "embedded"
    vlm: str = "embedded"
    home: str | None = Field(default=None, description="Store that every node can reach; by default BRUSHLOOP_HOME.")
    gpus: float = Field(default=0.0, ge=0, description="GPUs, for example 0.5 beside a vision-language server.")
    cpus: float = Field(default=1.0, gt=0)
    hosts: list[str] = Field(default=[], description="Names it is called by, besides those of this machine.")
    origins: list[str] = Field(default=[], description="Web origins whose pages may call it.")
    upload: int = Field(default=20_000_000, ge=1000, description="Most bytes of a request.")
    rate: str | None = Field(default=None, description="Most requests of a key, for example 600/minute.")


def build(arguments: Arguments) -> Any:
    """A Serve application. API keys come from `BRUSHLOOP_API_KEY` on the node, as for `brushloop serve`.

    Raises:
        BackendError: Ray Serve is not installed.
    """
    return deployed(arguments, partial(Studio, arguments.painter, arguments.vlm, arguments.home))


def deployed(arguments: Arguments, makers: Callable[[], Studio]) -> Any:
    """As `build`, with whatever studio `makers` makes on the node."""
    try:
        from ray import serve
    except ImportError as error:
        raise BackendError(f"Ray Serve is not installed ({error}): pip install 'brushloop[ray]'") from error

    def builder() -> FastAPI:  # called on the node; Serve tells a builder from an application by its being a function
        return application(arguments, makers)

    service = serve.deployment(
        serve.ingress(builder)(),
        name="brushloop",
        num_replicas=1,
        max_ongoing_requests=1000,  # most of them wait for events
        ray_actor_options={"num_cpus": arguments.cpus, "num_gpus": arguments.gpus},
    )
    return service.bind()


def application(arguments: Arguments, makers: Callable[[], Studio]) -> FastAPI:
    """The application, on the node.

    Raises:
        InputError: it can be called by other names than this machine's, and no key is set.
    """
    from brushloop.serve.app import create_app
    from brushloop.serve.guard import rules_for

    keys = [key.strip() for key in os.environ.get("BRUSHLOOP_API_KEY", "").split(",") if key.strip()]
    host = arguments.hosts[0] if arguments.hosts else "127.0.0.1"
    rules = rules_for(host, keys, arguments.hosts, arguments.origins, arguments.upload, arguments.rate)
    return create_app(makers(), rules)
