"""The images API of OpenAI, so that its clients paint here: a request is `n` creations, and rounds are partial images.

What these models cannot do is refused in words. `quality` and the name of the model change nothing: this server
has one painter. Besides the fields of the original, `seed` and `budget` may be given.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, File, Form, Request, UploadFile
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from brushloop.agent.names import size_from
from brushloop.creation import Creation
from brushloop.errors import BrushloopError, InputError, ModelError
from brushloop.pictures import decode
from brushloop.serve import pictures
from brushloop.serve.creations import ERRORS, jobs_of, owner_of
from brushloop.serve.guard import failure
from brushloop.serve.jobs import Jobs
from brushloop.serve.views import PROMPT, BudgetAsked, Words

if TYPE_CHECKING:
    from PIL.Image import Image

router = APIRouter(prefix="/v1", tags=["images"], responses=ERRORS)

Kind = Literal["image_generation", "image_edit"]


class ImagesAsked(BaseModel):
    """A request of OpenAI's `images.generate`; fields that it has and we have no use for are passed over."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [{"prompt": PROMPT, "n": 1}]})

    prompt: Words
    model: Annotated[str, Field(max_length=200)] | None = None
    n: Annotated[int, Field(ge=1, le=10)] | None = 1
    size: Annotated[str, Field(max_length=20, examples=["auto"])] | None = "auto"
    response_format: Literal["url", "b64_json"] | None = None
    output_format: pictures.Form | None = "png"
    output_compression: Annotated[int, Field(ge=0, le=100)] | None = None
    background: Literal["opaque", "auto"] | None = None
    quality: Annotated[str, Field(max_length=20)] | None = None
    stream: bool | None = False
    partial_images: Annotated[int, Field(ge=0, le=100)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**62)] | None = None
    budget: BudgetAsked | None = None


class ImageMade(BaseModel):
    """One picture."""

    b64_json: str | None = None
    url: str | None = None
    creation: str
    """The creation it came from, for `/v1/creations`."""


class ImagesMade(BaseModel):
    """The answer to a request that does not stream."""

    created: int
    data: list[ImageMade]
    output_format: str
    size: str
    quality: str = "auto"
    background: str = "opaque"
    usage: dict[str, Any]


STREAM: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}}
"""Besides JSON, for requests with `stream`."""


@router.get("/models", tags=["models"])
def models(request: Request) -> dict[str, Any]:
    """The painter and the vision-language model, as OpenAI's clients list models."""
    studio = jobs_of(request).studio
    refs = (studio.painter.ref, studio.vlm.ref)
    return {
        "object": "list",
        "data": [{"id": ref.id, "object": "model", "created": 0, "owned_by": "brushloop"} for ref in refs],
    }


@router.post("/images/generations", response_model=ImagesMade, responses=STREAM)
async def generations(asked: ImagesAsked, request: Request) -> Response:
    """Paint `n` pictures; with `stream` the picture of each round is sent as it is done."""
    size = size_from(None if asked.size in (None, "auto") else asked.size)
    return await _serve(request, asked, "image_generation", None, None, size)


@router.post("/images/edits", response_model=ImagesMade, responses=STREAM)
async def edits(
    request: Request,
    prompt: Annotated[str, Form(min_length=1, max_length=2000)],
    image: Annotated[list[UploadFile] | None, File()] = None,
    image_list: Annotated[list[UploadFile] | None, File(alias="image[]")] = None,
    mask: Annotated[UploadFile | None, File(description="Transparent, or white, where it may change.")] = None,
    n: Annotated[int, Form(ge=1, le=10)] = 1,
    size: Annotated[str, Form(max_length=20)] = "auto",
    response_format: Annotated[Literal["url", "b64_json"] | None, Form()] = None,
    output_format: Annotated[pictures.Form, Form()] = "png",
    output_compression: Annotated[int | None, Form(ge=0, le=100)] = None,
    background: Annotated[Literal["opaque", "auto"] | None, Form()] = None,
    stream: Annotated[bool, Form()] = False,
    partial_images: Annotated[int | None, Form(ge=0, le=100)] = None,
    seed: Annotated[int | None, Form(ge=0, lt=2**62)] = None,
) -> Response:
    """Work on a picture, maybe within a mask; the result has the painter's own size."""
    given = [*(image or []), *(image_list or [])]
    if len(given) != 1:
        raise InputError(f"{len(given)} pictures were given as image: give one")
    picture = await asyncio.to_thread(decode, await given[0].read(), "the image")
    area = await asyncio.to_thread(decode, await mask.read(), "the mask") if mask else None
    own = await asyncio.to_thread(lambda: jobs_of(request).studio.painter.size)
    if size != "auto" and size_from(size) != own:
        raise InputError(f"an edit has the painter's own size, {own[0]}x{own[1]}: ask for that, or for auto")
    asked = ImagesAsked(
        prompt=prompt,
        n=n,
        response_format=response_format,
        output_format=output_format,
        output_compression=output_compression,
        background=background,
        stream=stream,
        partial_images=partial_images,
        seed=seed,
    )
    return await _serve(request, asked, "image_edit", picture, area, None)


async def _serve(
    request: Request,
    asked: ImagesAsked,
    kind: Kind,
    picture: Image | None,
    mask: Image | None,
    size: tuple[int, int] | None,
) -> Response:
    jobs, owner = jobs_of(request), owner_of(request)
    limits = asked.budget.limits() if asked.budget else None
    first = asked.seed if asked.seed is not None else time.time_ns() % 2**32
    number = asked.n or 1
    if asked.stream and number > 1:
        raise InputError("only one picture can be streamed: leave n out")

    def submit(seed: int) -> str:
        def record(id: str | None) -> Creation:
            if picture is not None:
                return jobs.studio.begin_edit(picture, asked.prompt, mask, seed, limits, id=id)
            return jobs.studio.begin(asked.prompt, seed, size, limits, id=id)

        return jobs.submit(record, owner)[0]

    ids = [await asyncio.to_thread(submit, first + each) for each in range(number)]
    if asked.stream:
        return StreamingResponse(_stream(jobs, ids[0], asked, kind), media_type="text/event-stream")
    made = [await _finished(jobs, id) for id in ids]
    told = [await asyncio.to_thread(_told, request, creation, asked) for creation in made]
    body = ImagesMade(
        created=int(time.time()),
        data=told,
        output_format=asked.output_format or "png",
        size=_size(made[0]),
        usage=_usage(made),
    )
    return JSONResponse(body.model_dump(exclude_none=True))


async def _stream(jobs: Jobs, id: str, asked: ImagesAsked, kind: Kind) -> AsyncIterator[str]:
    """Server-sent events: a partial image for each round, up to as many as were asked for, and the picture."""
    sent, most = 0, 100 if asked.partial_images is None else asked.partial_images
    try:
        async for _, line in jobs.follow(id):
            if line["type"] != "step" or sent >= most:
                continue
            step = await asyncio.to_thread(jobs.store.get_step, line["hash"])
            if step.kind in ("draft", "refine"):
                told = await asyncio.to_thread(_event, jobs.store.get_image(step.outputs[-1]), asked, id)
                yield _sse(f"{kind}.partial_image", {**told, "partial_image_index": sent})
                sent += 1
        creation = await _finished(jobs, id)
        image = await asyncio.to_thread(lambda: creation.image)
        assert image is not None
        yield _sse(f"{kind}.completed", {**_event(image, asked, id), "usage": _usage([creation])})
    except BrushloopError as error:
        yield _sse("error", failure(error.code, str(error)))
    except asyncio.CancelledError:  # nobody listens any more
        jobs.cancel(id)
        raise


async def _finished(jobs: Jobs, id: str) -> Creation:
    """The creation, once it has a picture and is done.

    Raises:
        ModelError: it failed.
    """
    async for _ in jobs.follow(id):
        pass
    job = await asyncio.to_thread(jobs.known, id)
    if job.state != "finished":
        said = job.error["message"] if job.error else f"it is {job.state}"
        raise ModelError(f"creation {id} has no picture to send: {said}; POST /v1/creations/{id}/resume goes on")
    creation = jobs.studio.open(id)
    if creation.frame is None:
        raise ModelError(f"creation {id} was cancelled before it had a picture")
    return creation


def _told(request: Request, creation: Creation, asked: ImagesAsked) -> ImageMade:
    image, frame = creation.image, creation.frame
    assert image is not None and frame is not None
    form = asked.output_format or "png"
    if asked.response_format == "url":
        url = f"{request.base_url}v1/creations/{creation.id}/images/{frame.hash}?format={form}"
        return ImageMade(url=url, creation=creation.id)
    return ImageMade(b64_json=_base64(image, asked), creation=creation.id)


def _event(image: Image, asked: ImagesAsked, id: str) -> dict[str, Any]:
    return {
        "b64_json": _base64(image, asked),
        "background": "opaque",
        "created_at": int(time.time()),
        "creation": id,
        "output_format": asked.output_format or "png",
        "quality": "auto",
        "size": f"{image.width}x{image.height}",
    }


def _base64(image: Image, asked: ImagesAsked) -> str:
    quality = 90 if asked.output_compression is None else asked.output_compression
    return base64.b64encode(pictures.encode(image, asked.output_format or "png", quality)).decode("ascii")


def _usage(made: list[Creation]) -> dict[str, Any]:
    """Tokens of the vision-language model; a painter has none."""
    tokens = sum(
        int(creation.store.measurements(digest).get("tokens", 0)) for creation in made for digest in creation.hashes
    )
    details = {"image_tokens": 0, "text_tokens": tokens}
    return {"input_tokens": tokens, "input_tokens_details": details, "output_tokens": 0, "total_tokens": tokens}


def _size(creation: Creation) -> str:
    return f"{creation.frame.width}x{creation.frame.height}" if creation.frame else ""


def _sse(event: str, value: dict[str, Any]) -> str:
    return f"event: {event}\ndata: {json.dumps({'type': event, **value})}\n\n"
