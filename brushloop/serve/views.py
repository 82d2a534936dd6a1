"""The values that travel over HTTP: what may be asked, and creations and steps as they are shown.

A view is made from the chain and the log each time it is asked for; nothing of it is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from brushloop.agent.chat import pictures
from brushloop.canvas import MAX_PROMPT, Correction, Critique, Frame, Plan, Task
from brushloop.creation import Creation
from brushloop.serve.log import Job, JobState, Line
from brushloop.store import Store

PROMPT = "a red apple left of two cats on a beach"
ID = "20261121-093000123-4f2a9c"
HASH = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", examples=[HASH])]
Words = Annotated[str, Field(min_length=1, max_length=MAX_PROMPT, examples=[PROMPT])]
Seed = Annotated[int, Field(ge=0, lt=2**63, examples=[7])]
Pixels = Annotated[int, Field(ge=1, le=65_536)]
Encoded = Annotated[str, Field(description="A picture: a data URL, or a file's bytes in base64.")]
Pauses = Annotated[
    list[Annotated[str, Field(max_length=40)]],
    Field(max_length=16, description="Where to wait for a person.", examples=[["before:refine"]]),
]


class Asked(BaseModel):
    """Base of what comes in: an unknown field is an error."""

    model_config = ConfigDict(extra="forbid")


class BudgetAsked(Asked):
    """Limits; what is left out is as usual."""

    rounds: Annotated[int, Field(ge=1, le=10_000)] | None = None
    seconds: Annotated[float, Field(gt=0, le=1e6)] | None = None
    tokens: Annotated[int, Field(ge=1, le=10**9)] | None = None
    pixels: Annotated[int, Field(ge=1, le=10**12)] | None = None
    stall: Annotated[int, Field(ge=1, le=1_000)] | None = None

    def limits(self) -> dict[str, float] | None:
        """Those that were named."""
        return self.model_dump(exclude_none=True) or None


class Said(Asked):
    """A person's word: one of these, or nothing to approve."""

    plan: Plan | None = None
    critique: Critique | None = None
    correction: Correction | None = None
    picture: Encoded | None = None
    mask: Encoded | None = Field(
        default=None,
        description="With a correction, of the picture's size: only its white may change.",
    )


class Wanted(Asked):
    """A new creation: a prompt, or an instruction and a picture to work on."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"prompt": PROMPT, "seed": 7}, {"prompt": "a cat", "domain": "icon"}]},
    )

    prompt: Words
    seed: Seed = 0
    size: tuple[Pixels, Pixels] | None = Field(default=None, description="Width and height; null: the painter's own.")
    budget: BudgetAsked | None = None
    pause: Pauses = []
    picture: Encoded | None = Field(default=None, description="A picture to work on; then the prompt says what to do.")
    mask: Encoded | None = Field(default=None, description="With a picture, of its size: only white may change.")
    domain: Annotated[str, Field(max_length=80, examples=["icon"])] | None = Field(
        default=None,
        description="How it is made: then the frames of its making are painted; with a picture, those that lead to it.",
    )
    frames: Annotated[int, Field(ge=1, le=99)] | None = Field(default=None, description="With a domain: how many.")


class Answered(Said):
    """An answer to one that waits."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {},
                {"correction": {"edit": "add", "instruction": "add a kite", "regions": [[50, 5, 70, 25]]}},
            ]
        },
    )

    head: Hash | None = Field(default=None, description="The step that is answered: refused if it is not the newest.")
    pause: Pauses | None = Field(default=None, description="Where to wait from now on; null: as before.")


class Resumed(Asked):
    """Going on."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{}, {"pause": ["before:refine"]}]})

    pause: Pauses | None = None


class Spoken(Asked):
    """A turn of a conversation."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"said": "add a rocket and make the cat blue"}]}
    )

    said: Words = Field(description="What to change, or which picture to go back to.", examples=["add a rocket"])
    head: Hash | None = Field(default=None, description="The step that was looked at: refused if it is not the newest.")
    pause: Pauses | None = Field(default=None, description="Where to wait; null: as before.")


class Forked(Said):
    """Another creation, from any step of one."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"at": "3", "prompt": "a blue apple on a beach"}]}
    )

    at: Annotated[str, Field(max_length=64)] | None = Field(
        default=None, description="A step: its number, its hash, or the beginning of its hash; null: the newest."
    )
    prompt: Words | None = None
    seed: Seed | None = None
    budget: BudgetAsked | None = None
    pause: Pauses = []


class PictureView(BaseModel):
    """A picture, and where to get it."""

    hash: Hash
    width: int
    height: int
    url: str


class StepView(BaseModel):
    """A step of the chain, with what was measured of it."""

    number: int | None = None
    hash: Hash
    parent: Hash | None
    kind: str
    text: str
    picture: PictureView | None
    frames: list[PictureView] = Field(default=[], description="What led to the picture, where it is a process.")
    inputs: list[PictureView] = []
    brief: dict[str, Any] | None = None
    plan: Plan | None = None
    critique: Critique | None = None
    model: dict[str, str] | None = None
    seed: int | None = None
    settings: dict[str, Any] = {}
    measured: dict[str, Any] = {}


class Progress(BaseModel):
    """The picture in work."""

    node: str
    done: int
    total: int


class Origin(BaseModel):
    """Where a fork began."""

    step: Hash
    creation: str | None = None


class CreationView(BaseModel):
    """A creation as it stands."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"id": ID, "state": "running", "prompt": PROMPT, "seed": 7, "head": HASH}]}
    )

    id: str
    object: Literal["creation"] = "creation"
    state: JobState
    prompt: str = Field(description="What it was asked for; later turns of a conversation stand in its chat.")
    task: Task
    seed: int
    head: Hash
    created: datetime
    updated: datetime
    steps: int
    events: int = Field(default=0, description="How many events there were so far: what to give as `after`.")
    picture: PictureView | None
    plan: Plan | None = None
    critique: Critique | None = None
    stop_reason: str | None = None
    next: str | None = Field(default=None, description="The node before which it waits.")
    progress: Progress | None = None
    cancelling: bool = False
    error: dict[str, str] | None = None
    forked_from: Origin | None = None


class CreationList(BaseModel):
    """Creations, the newest first."""

    object: Literal["list"] = "list"
    data: list[CreationView]
    has_more: bool


class StepList(BaseModel):
    """The chain, oldest step first."""

    object: Literal["list"] = "list"
    data: list[StepView]
    has_more: bool


class TurnView(BaseModel):
    """What one turn of a conversation ended with."""

    number: int = Field(description="How it is spoken of: `the second one`, `picture 2`.")
    said: str
    base: int = Field(description="The number of the picture it went on from; 0 for none.")
    picture: PictureView
    step: Hash = Field(description="Its last step.")


class TurnList(BaseModel):
    """A conversation, the first turn first."""

    object: Literal["list"] = "list"
    data: list[TurnView]
    has_more: bool = False


class ErrorBody(BaseModel):
    """What went wrong: `code` is stable, `message` is one line."""

    code: str
    message: str
    type: str
    param: str | None = None


class Failure(BaseModel):
    """The body of every answer that is not a success."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "error": {
                        "code": "unknown_creation",
                        "message": f"no creation '{ID}'",
                        "type": "invalid_request_error",
                        "param": None,
                    }
                }
            ]
        }
    )

    error: ErrorBody


def picture_view(id: str, frame: Frame | None) -> PictureView | None:
    """Where a picture of a creation is."""
    return PictureView(**frame.model_dump(), url=f"/v1/creations/{id}/images/{frame.hash}") if frame else None


def _views(id: str, frames: Sequence[Frame]) -> list[PictureView]:
    return [view for frame in frames if (view := picture_view(id, frame))]


def step_view(store: Store, id: str, digest: str, number: int | None = None) -> StepView:
    """A step, looked up in the store."""
    step = store.get_step(digest)
    return StepView(
        number=number,
        hash=digest,
        parent=step.parent,
        kind=step.kind.value,
        text=step.text,
        picture=picture_view(id, step.outputs[-1] if step.outputs else None),
        frames=_views(id, step.outputs[:-1]),
        inputs=_views(id, step.inputs),
        brief=step.brief.model_dump(mode="json") if step.brief else None,
        plan=step.plan,
        critique=step.critique,
        model=step.model.model_dump() if step.model else None,
        seed=step.seed,
        settings=dict(step.settings),
        measured=store.measurements(digest),
    )


def creation_view(store: Store, id: str, job: Job, family: dict[str, str] | None = None) -> CreationView:
    """A creation as it stands now; `family` names the creation of each step it may have been forked from."""
    head = store.moves(id)[-1]
    creation = Creation(id, head.head, store)
    steps = creation.steps
    origin = store.get_step(head.root).parent
    now = job.denoising
    described = next((step.brief.prompt for step in reversed(steps) if step.brief and "said" not in step.settings), "")
    return CreationView(
        id=id,
        state=job.state,
        prompt=described or creation.brief.prompt,
        task=creation.brief.task,
        seed=creation.brief.seed,
        head=head.head,
        created=head.created,
        updated=head.updated,
        steps=len(steps),
        events=job.events,
        picture=picture_view(id, creation.frame),
        plan=creation.plan,
        critique=creation.critique,
        stop_reason=creation.stop_reason.value if creation.stop_reason else None,
        next=job.next,
        progress=Progress(node=now["node"], done=now["done"], total=now["total"]) if now else None,
        cancelling=job.cancelled and job.state != "finished",
        error=job.error,
        forked_from=Origin(step=origin, creation=(family or {}).get(origin)) if origin else None,
    )


def turn_views(creation: Creation) -> list[TurnView]:
    """The conversation over a creation so far."""
    turns = []
    for number, turn in enumerate(pictures(creation), 1):
        shown = picture_view(creation.id, turn.frame)
        assert shown is not None
        turns.append(TurnView(number=number, said=turn.said, base=turn.base, picture=shown, step=turn.step))
    return turns


def event_view(store: Store, id: str, line: Line) -> dict[str, Any]:
    """An event of the log, as it is told: a step with all that it holds, anything else as it stands."""
    told = {key: value for key, value in line.items() if key not in ("owner", "request", "afresh")}
    if line["type"] == "step":
        told |= step_view(store, id, line["hash"]).model_dump(mode="json", exclude={"number"})
    return told
