"""What a run tells while it runs. Plain dictionaries, so that they can be sent anywhere as JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NotRequired, TypedDict

from brushloop.canvas import Step


class StepEvent(TypedDict):
    """A step was recorded."""

    type: Literal["step"]
    hash: str
    kind: str
    text: str
    image: str | None
    """Hash of the picture it made."""
    variant: NotRequired[int]
    """Of which variant, where several are painted side by side; every other event of such a run names it too."""


class DenoiseEvent(TypedDict):
    """One more denoising step is done."""

    type: Literal["denoise"]
    node: str
    done: int
    total: int
    variant: NotRequired[int]


class WaitEvent(TypedDict):
    """A model server is away: it is asked again in `seconds`."""

    type: Literal["wait"]
    seconds: float
    why: str


class PausedEvent(TypedDict):
    """The run waits for a person before `next`: see `Studio.answer`."""

    type: Literal["paused"]
    id: str
    next: str


class DoneEvent(TypedDict):
    """The run is over, or waits; `creation` is `Creation.summary()`."""

    type: Literal["done"]
    creation: dict[str, Any]


Event = StepEvent | DenoiseEvent | WaitEvent | PausedEvent | DoneEvent
OnEvent = Callable[[Event], None]


class Cancelled(Exception):
    """Raised in the midst of an act whose run was cancelled: between two denoising steps, or while it waits."""


def denoising(node: str, tell: OnEvent, cancelled: Callable[[], bool]) -> Callable[[int, int], None]:
    """What hears of a painter's denoising steps (done, in all), tells of them, and raises once the run is cancelled."""

    def hear(done: int, total: int) -> None:
        tell(DenoiseEvent(type="denoise", node=node, done=done, total=total))
        if cancelled():
            raise Cancelled

    return hear


def of_step(digest: str, step: Step) -> StepEvent:
    """The news of a step that was recorded."""
    image = step.outputs[-1].hash if step.outputs else None
    return StepEvent(type="step", hash=digest, kind=step.kind.value, text=step.text, image=image)
