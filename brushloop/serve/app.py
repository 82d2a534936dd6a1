"""The HTTP application: the creations API, the images API and the studio page over one studio, behind a guard.

uvicorn --factory brushloop.serve.app:create_app      is what `brushloop serve` does, with its options
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

import brushloop
from brushloop.agent import crafts
from brushloop.agent.graph import NODES
from brushloop.agent.studio import Studio
from brushloop.canvas import EditType
from brushloop.edits import DEFINITIONS
from brushloop.errors import (
    BrushloopError,
    ConflictError,
    InputError,
    ModelError,
    StoreError,
    UnknownCreationError,
    UnwritableError,
)
from brushloop.painter.base import Painter, inner
from brushloop.serve import creations, front, images
from brushloop.serve.export import FormView, forms
from brushloop.serve.guard import COOKIE, Guard, Rules, failure
from brushloop.serve.jobs import Jobs

STATUS: tuple[tuple[type[BrushloopError], int], ...] = (
    (UnknownCreationError, 404),
    (ConflictError, 409),
    (InputError, 400),
    (ModelError, 503),
    (UnwritableError, 507),
    (StoreError, 500),
)
OPEN_PATHS = ("/v1/health", "/v1/session", "/openapi.json", *front.FILES)
"""What needs no key: nothing of anybody's is there."""


class Health(BaseModel):
    """That the server is there."""

    status: str = "ok"
    version: str


class EditView(BaseModel):
    """A kind of edit that a correction can ask for."""

    name: EditType
    about: str


class About(BaseModel):
    """What this server can do."""

    version: str
    size: tuple[int, int] = Field(description="The painter's own size: width and height in pixels.")
    painter: str
    vlm: str
    nodes: list[str] = Field(description="Where it can wait: before:<node> or after:<node>.")
    upload: int = Field(description="Most bytes of a request.")
    exports: list[FormView] = Field(description="The forms that a creation can be exported in.")
    domains: list[str] = Field(description="The domains in which a process can be painted here.")
    edits: list[EditView] = Field(description="The kinds of edit that a correction can ask of this painter.")


class Key(BaseModel):
    """An API key, to be kept in a cookie."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"key": "a-long-secret-of-yours"}]})

    key: Annotated[str, Field(max_length=200)]


def create_app(studio: Studio | None = None, rules: Rules | None = None, *, stream_seconds: float = 3600.0) -> FastAPI:
    """The application.

    Args:
        studio: who makes; by default one with the models that ship.
        rules: what is let in; by default only what comes from this machine.
        stream_seconds: after so long an event stream ends, and its reader comes again.
    """
    rules = rules or Rules()
    jobs = Jobs(studio or Studio())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        jobs.start()
        yield
        jobs.close()

    app = FastAPI(
        title="brushloop",
        version=brushloop.__version__,
        description="Pictures made the way a painter makes them: plan, draft, reflect, refine.",
        docs_url=None,  # it would load its scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.jobs, app.state.stream_seconds = jobs, stream_seconds
    app.include_router(creations.router)
    app.include_router(images.router)
    app.include_router(front.router)
    _add_own(app, rules)
    app.add_exception_handler(BrushloopError, _refused)
    app.add_exception_handler(RequestValidationError, _misread)
    app.add_exception_handler(HTTPException, _elsewhere)
    app.add_middleware(Guard, rules=rules, open_paths=OPEN_PATHS)
    return app


def _add_own(app: FastAPI, rules: Rules) -> None:
    """What is about the server itself."""

    @app.get("/v1/health", tags=["server"])
    def health() -> Health:
        """That the server is there. No model is loaded for it."""
        return Health(version=brushloop.__version__)

    @app.get("/v1/about", tags=["server"], responses=creations.ERRORS)
    def about(request: Request) -> About:
        """What it can do: sizes, models, and where it can wait for a person."""
        studio = creations.jobs_of(request).studio
        return About(
            version=brushloop.__version__,
            size=studio.painter.size,
            painter=studio.painter.ref.id,
            vlm=studio.vlm.ref.id,
            nodes=list(NODES),
            upload=rules.upload,
            exports=forms(),
            domains=[domain.name for domain in crafts.workshop(studio).domains()],
            edits=_edits(studio.painter),
        )

    @app.post("/v1/session", status_code=204, tags=["server"], responses=creations.ERRORS)
    def session(key: Key, response: Response) -> None:
        """Keep an API key in a cookie of this browser, for what cannot send headers: pictures and event streams."""
        if rules.keys and rules.owner_of(key.key) is None:
            raise HTTPException(401, "no valid API key")
        if rules.keys:
            response.set_cookie(COOKIE, key.key, httponly=True, samesite="strict")


def _edits(painter: Painter) -> list[EditView]:
    """The kinds that a painter was taught; those that follow a picture are for `brushloop edit`."""
    known = getattr(inner(painter), "edits", None)
    plain = {kind: told.about for kind, told in DEFINITIONS.items() if not told.visual}
    return [EditView(name=kind, about=about) for kind, about in plain.items() if known is None or kind in known]


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, BrushloopError)
    status = next((status for kind, status in STATUS if isinstance(error, kind)), 500)
    return _json(status, error.code, " ".join(str(error).split()))


def _misread(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    fault = error.errors()[0]
    where = ".".join(str(part) for part in fault["loc"] if part != "body") or "the body"
    return _json(422, "input", f"{where}: {fault['msg']}", where)


def _elsewhere(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {401: "key", 404: "unknown_path", 405: "method"}.get(error.status_code, "input")
    response = _json(error.status_code, code, f"{request.method} {request.url.path}: {error.detail}")
    for name, value in (error.headers or {}).items():
        response.headers[name] = value
    return response


def _json(status: int, code: str, message: str, param: str | None = None) -> Response:
    """In ASCII, so that whatever was sent can be named in the answer."""
    body: dict[str, Any] = failure(code, message, param)
    return Response(json.dumps(body), status, media_type="application/json")
