"""The creations API: everything a page or a program needs to make, watch, correct and fork creations."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request, Response
from sse_starlette import EventSourceResponse, ServerSentEvent

from brushloop.agent import crafts
from brushloop.agent.given import fitted
from brushloop.agent.names import step_of
from brushloop.creation import Creation
from brushloop.errors import InputError, StoreError, UnknownCreationError
from brushloop.record import frames_of
from brushloop.serve import pictures
from brushloop.serve.export import Form, exported, forms
from brushloop.serve.jobs import Jobs
from brushloop.serve.log import ALIVE
from brushloop.serve.views import (
    Answered,
    CreationList,
    CreationView,
    Failure,
    Forked,
    Hash,
    Resumed,
    Said,
    Spoken,
    StepList,
    TurnList,
    Wanted,
    creation_view,
    event_view,
    step_view,
    turn_views,
)
from brushloop.store import Store

if TYPE_CHECKING:
    from PIL.Image import Image

    from brushloop.agent.human import Edit

PATIENCE = 10.0
"""Seconds that a cancel waits for the end."""

ERRORS: dict[int | str, dict[str, Any]] = {
    code: {"model": Failure, "description": what}
    for code, what in (
        (400, "It cannot be done as asked."),
        (404, "There is no such creation, step or picture."),
        (409, "It does not fit the state that the creation is in."),
        (422, "The request is not as described here."),
        ("default", "Anything else that went wrong."),
    )
}
PNG: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            f"image/{form}": {"schema": {"type": "string", "format": "binary"}} for form in ("png", "jpeg", "webp")
        }
    }
}

EXAMPLE = """id: 3
event: denoise
data: {"type": "denoise", "at": "2026-11-21T09:30:00.123+00:00", "node": "draft", "done": 1, "total": 10}

"""

Id = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$", description="A creation's id.")]
Key = Annotated[
    str | None,
    Header(alias="Idempotency-Key", min_length=1, max_length=255, description="The same key, the same creation."),
]
Redact = Annotated[bool, Query(description="Without words of people and models, names, paths and metadata.")]
Width = Annotated[int | None, Query(ge=16, le=4096, description="At most so many pixels wide and high.")]

router = APIRouter(prefix="/v1/creations", tags=["creations"], responses=ERRORS)


def jobs_of(request: Request) -> Jobs:
    """The jobs of the server that a request came to."""
    jobs: Jobs = request.app.state.jobs
    return jobs


def owner_of(request: Request) -> str:
    """Who asks."""
    return str(getattr(request.state, "owner", ""))


@router.post("", status_code=202, response_model=CreationView)
def submit(wanted: Wanted, request: Request, response: Response, key: Key = None) -> CreationView:
    """Ask for a creation. It is recorded before this answers, and worked on even if the server restarts."""
    jobs, studio = jobs_of(request), jobs_of(request).studio
    limits = wanted.budget.limits() if wanted.budget else None
    picture = pictures.decode(wanted.picture, "the picture") if wanted.picture is not None else None
    mask = pictures.decode(wanted.mask, "the mask") if wanted.mask is not None else None
    if mask and not picture:
        raise InputError("a mask was given without a picture: it says where a picture may change")
    if wanted.domain is None and wanted.frames is not None:
        raise InputError("frames were given without a domain: say how it is made")
    if wanted.domain is not None and (mask or wanted.size or limits or wanted.pause):
        raise InputError("a process has no mask, size, budget or pause: leave them out")
    if picture and wanted.size and wanted.size != studio.painter.size:
        raise InputError("an edit has the painter's own size: leave size out")

    def record(id: str | None) -> Creation:
        if wanted.domain is not None:
            return crafts.begin(studio, wanted.prompt, wanted.domain, picture, wanted.frames, wanted.seed, id=id)
        if picture:
            return studio.begin_edit(picture, wanted.prompt, mask, wanted.seed, limits, id=id)
        return studio.begin(wanted.prompt, wanted.seed, wanted.size, limits, id=id)

    id, _ = jobs.submit(record, owner_of(request), wanted.pause, key, "create " + wanted.model_dump_json())
    response.headers["Location"] = f"/v1/creations/{id}"
    return _view(request, id)


@router.get("", response_model=CreationList)
def list_(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: Annotated[str | None, Query(max_length=64, description="The last id of the page before.")] = None,
) -> CreationList:
    """The creations, the newest first. Damaged ones are left out: `brushloop list` names them."""
    jobs, owner, shown = jobs_of(request), owner_of(request), []
    ids = [head.id for head in jobs.store.heads()]
    begin = ids.index(after) + 1 if after in ids else 0
    for id in ids[begin:]:
        try:
            shown.append(creation_view(jobs.store, id, jobs.known(id, owner)))
        except (StoreError, UnknownCreationError):
            continue
        if len(shown) > limit:
            break
    return CreationList(data=shown[:limit], has_more=len(shown) > limit)


@router.get("/{id}", response_model=CreationView)
def status(id: Id, request: Request) -> CreationView:
    """A creation as it stands."""
    return _view(request, id)


@router.get(
    "/{id}/events",
    response_class=EventSourceResponse,
    responses={
        200: {"content": {"text/event-stream": {"example": EXAMPLE}}},
        204: {"description": "All was told, and nothing more is to come before somebody acts."},
    },
)
async def events(
    id: Id,
    request: Request,
    last: Annotated[str | None, Header(alias="Last-Event-ID", description="The last event that was read.")] = None,
    after: Annotated[int, Query(ge=0, le=2**53, description="The same, for those who cannot send the header.")] = 0,
    wait: Annotated[bool, Query(description="Whether to wait for what is to come.")] = True,
) -> Response:
    """What happens to a creation, from its first event on, or from after the one that was read last.

    Events have numbers that never change. The stream ends when nothing more can come before somebody acts: it
    is finished, failed, or waits for a person.
    """
    jobs = jobs_of(request)
    job = await asyncio.to_thread(jobs.known, id, owner_of(request))
    if last and last.isdecimal() and len(last) < 16:
        after = max(after, int(last))
    if job.state not in ALIVE:  # what was painted without a server stands in its chain alone
        await asyncio.to_thread(jobs.catch_up, id)
    lines = await asyncio.to_thread(jobs.log.lines, id)
    if len(lines) <= after and job.state not in ALIVE:
        return Response(status_code=204)

    async def told() -> AsyncIterator[ServerSentEvent]:
        deadline = asyncio.get_running_loop().time() + request.app.state.stream_seconds
        async for number, line in jobs.follow(id, after, wait=wait, until=deadline):
            view = await asyncio.to_thread(event_view, jobs.store, id, line)
            yield ServerSentEvent(json.dumps(view), id=str(number), event=line["type"])

    return EventSourceResponse(told(), ping=15, headers={"Cache-Control": "no-store"})


@router.get("/{id}/steps", response_model=StepList)
def steps(
    id: Id,
    request: Request,
    first: Annotated[int, Query(ge=0, le=2**31, description="The number of the first step to show.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
) -> StepList:
    """The chain, the oldest step first, with plans, critiques, pictures and what was measured."""
    jobs = jobs_of(request)
    jobs.known(id, owner_of(request))
    hashes = Creation(id, jobs.store.head(id), jobs.store).hashes
    numbers = range(len(hashes))[first : first + limit]
    shown = [step_view(jobs.store, id, hashes[number], number) for number in numbers]
    return StepList(data=shown, has_more=first + limit < len(hashes))


@router.get("/{id}/image", responses=PNG)
def image(id: Id, request: Request, width: Width = None, format: pictures.Form = "png") -> Response:
    """The picture as it stands: the best one of a creation that is finished, else the newest."""
    jobs = jobs_of(request)
    jobs.known(id, owner_of(request))
    creation = Creation(id, jobs.store.head(id), jobs.store)
    if creation.frame is None:
        raise UnknownCreationError(f"creation {id} has no picture yet")
    return _picture(jobs.store, creation.frame.hash, width, format, "no-cache")


@router.get("/{id}/images/{hash}", responses=PNG)
def images(id: Id, hash: Hash, request: Request, width: Width = None, format: pictures.Form = "png") -> Response:
    """Any picture of a creation. It never changes."""
    jobs = jobs_of(request)
    jobs.known(id, owner_of(request))
    if hash not in _frames(jobs.store, jobs.store.head(id)):
        told = [line["hash"] for line in jobs.log.lines(id) if line and line["type"] == "step"]
        if not any(hash in {frame.hash for frame in frames_of(jobs.store.get_step(step))} for step in told):
            raise UnknownCreationError(f"creation {id} has no picture {hash}")
    return _picture(jobs.store, hash, width, format, "private, max-age=31536000, immutable")


@router.post("/{id}/interrupt", status_code=202, response_model=CreationView)
def interrupt(id: Id, request: Request) -> CreationView:
    """Let it wait for a person before its next node."""
    jobs = jobs_of(request)
    jobs.known(id, owner_of(request))
    jobs.interrupt(id)
    return _view(request, id)


@router.post("/{id}/answer", status_code=202, response_model=CreationView)
def answer(id: Id, said: Answered, request: Request) -> CreationView:
    """Approve, or give another plan, critique, correction or picture; then it goes on."""
    jobs = jobs_of(request)
    jobs.known(id, owner_of(request))
    edit, mask = _edit(jobs, said)
    jobs.answer(id, edit, mask, said.head, said.pause)
    return _view(request, id)


@router.post("/{id}/resume", status_code=202, response_model=CreationView)
def resume(id: Id, resumed: Resumed, request: Request) -> CreationView:
    """Go on with one that waits, failed, was cancelled, or was left by another program."""
    jobs = jobs_of(request)
    jobs.known(id, owner_of(request))
    jobs.resume(id, resumed.pause)
    return _view(request, id)


@router.post("/{id}/cancel", response_model=CreationView)
async def cancel(id: Id, request: Request) -> CreationView:
    """End it with its best picture. What is answered after some seconds may still be `cancelling`."""
    jobs = jobs_of(request)
    await asyncio.to_thread(jobs.known, id, owner_of(request))
    await asyncio.to_thread(jobs.cancel, id)
    deadline = asyncio.get_running_loop().time() + PATIENCE
    async for _ in jobs.follow(id, until=deadline):
        pass
    return await asyncio.to_thread(_view, request, id)


@router.post("/{id}/fork", status_code=202, response_model=CreationView)
def fork(id: Id, forked: Forked, request: Request, response: Response, key: Key = None) -> CreationView:
    """Begin another creation at any step of this one, which stays as it is."""
    jobs = jobs_of(request)
    jobs.known(id, owner_of(request))
    old = Creation(id, jobs.store.head(id), jobs.store)
    digest = old.head if forked.at is None else step_of(old, forked.at)
    (edit, mask), limits = _edit(jobs, forked), forked.budget.limits() if forked.budget else None

    def record(new: str | None) -> Creation:
        return jobs.studio.branch(digest, forked.prompt, forked.seed, edit, limits, mask=mask, id=new)

    new, _ = jobs.submit(record, owner_of(request), forked.pause, key, f"fork {id} {forked.model_dump_json()}")
    response.headers["Location"] = f"/v1/creations/{new}"
    return _view(request, new)


@router.post("/{id}/chat", status_code=202, response_model=CreationView)
def chat(id: Id, spoken: Spoken, request: Request, response: Response) -> CreationView:
    """Take a turn of a conversation over a finished creation: say what to change, or which picture to go back to.

    Going back (`undo`, `back to the second one`) makes another creation, which `Location` names. What turns out not
    to be possible only while it is worked on is told as the event `refused`, and the creation stays as it was.
    """
    jobs, owner = jobs_of(request), owner_of(request)
    jobs.known(id, owner)
    there = jobs.chat(id, spoken.said, owner, spoken.head, spoken.pause)
    response.headers["Location"] = f"/v1/creations/{there}"
    return _view(request, there)


@router.get("/{id}/chat", response_model=TurnList)
def turns(id: Id, request: Request) -> TurnList:
    """The conversation so far: what was said in each turn, and the picture that it ended with."""
    jobs = jobs_of(request)
    jobs.known(id, owner_of(request))
    return TurnList(data=turn_views(Creation(id, jobs.store.head(id), jobs.store)))


@router.get("/{id}/tree", response_model=CreationList)
def tree(id: Id, request: Request) -> CreationList:
    """A creation and all that share its first step, the oldest first, each with where it was forked from."""
    jobs, owner = jobs_of(request), owner_of(request)
    jobs.known(id, owner)
    first = _chain(jobs.store, jobs.store.head(id))[0]
    family: dict[str, str] = {}
    members = []
    for head in reversed(jobs.store.heads()):
        try:
            job, chain = jobs.known(head.id, owner), _chain(jobs.store, head.head)
        except (StoreError, UnknownCreationError):
            continue
        if chain[0] == first:
            members.append(creation_view(jobs.store, head.id, job, family))
            for digest in chain:
                family.setdefault(digest, head.id)
    return CreationList(data=members, has_more=False)


@router.get(
    "/{id}/export",
    responses={200: {"content": {form.media: {"schema": {"type": "string", "format": "binary"}} for form in forms()}}},
)
def export(id: Id, request: Request, format: Form = "png", redact: Redact = False) -> Response:
    """The picture with its recipe; how it was made as a document of any kind; or the chain as JSON."""
    jobs = jobs_of(request)
    jobs.known(id, owner_of(request))
    data, kind, name = exported(Creation(id, jobs.store.head(id), jobs.store), format, redact)
    return Response(data, media_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'})


def _view(request: Request, id: str) -> CreationView:
    jobs = jobs_of(request)
    return creation_view(jobs.store, id, jobs.known(id, owner_of(request)))


def _edit(jobs: Jobs, said: Said) -> tuple[Edit, Image | None]:
    """What a person said, as the studio takes it, and the mask that holds it."""
    given = [name for name in ("plan", "critique", "correction", "picture") if getattr(said, name) is not None]
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)} were given: give one of them")
    if said.mask is not None and said.correction is None:
        raise InputError("a mask was given without a correction: say also what is to change there")
    if said.picture is not None:
        return fitted(pictures.decode(said.picture, "the picture"), jobs.studio.painter.size), None
    mask = pictures.decode(said.mask, "the mask") if said.mask is not None else None
    return said.plan or said.critique or said.correction, mask


def _picture(store: Store, digest: str, width: int | None, form: pictures.Form, cache: str) -> Response:
    image = store.get_image(digest)
    data = pictures.thumbnail(image, width, form) if width else pictures.encode(image, form)
    return Response(
        data, media_type=f"image/{form}", headers={"Cache-Control": cache, "ETag": f'"{digest}-{width}-{form}"'}
    )


@lru_cache(maxsize=256)
def _frames(store: Store, head: str) -> frozenset[str]:
    return frozenset(frame.hash for _, step in store.chain(head) for frame in frames_of(step))


@lru_cache(maxsize=1024)
def _chain(store: Store, head: str) -> tuple[str, ...]:
    return tuple(digest for digest, _ in store.chain(head))
