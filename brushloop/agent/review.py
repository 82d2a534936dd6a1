"""Content review: a policy sees every text and picture before it is recorded and before the next node.

A policy may let it pass, replace it (redact), or stop the creation, each with a reason. What was redacted is recorded
in its place only, with the reason; what was stopped is not recorded at all (but for the prompt that asked for it): a
finish step says `refused`, and why. `brushloop.agent.rules` is a policy that reads its rules from a file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import ValidationError

from brushloop.canvas import Frame, Step, StepKind, StopReason

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Ruling:
    """An objection: it stops the creation, unless it says what to put in the place of the text or picture."""

    reason: str
    text: str | None = None
    picture: Image | None = None


class Policy(Protocol):
    """Looks at what is about to be recorded; None lets it pass."""

    def text(self, said: str) -> Ruling | None:
        """Of a text: a prompt, an instruction, a thing's name, what a critic saw, a person's word."""
        ...

    def picture(self, seen: Image) -> Ruling | None:
        """Of a picture that was painted or given."""
        ...


class Refused(Exception):
    """A policy stops the creation; the message is its reason."""


def policy_of_environment() -> Policy | None:
    """The rules in the file that `BRUSHLOOP_REVIEW` names; None without one."""
    from brushloop.agent.rules import Rules

    path = os.environ.get("BRUSHLOOP_REVIEW")
    return Rules.read(path) if path else None


def reviewed(policy: Policy | None, step: Step) -> Step:
    """The step as it may be recorded: every text in it passed, or was replaced.

    Raises:
        Refused: the policy stops the creation, or what is left after redaction is no such step any more.
    """
    if policy is None:
        return step
    reasons: dict[str, None] = {}

    def look(said: str) -> str:
        ruling = policy.text(said) if said else None
        if ruling is None:
            return said
        if ruling.text is None:
            raise Refused(ruling.reason)
        reasons[ruling.reason] = None
        return ruling.text

    fields = step.model_dump()
    for name in ("text", "brief", "plan", "critique"):
        fields[name] = _each(fields[name], look)
    if not reasons:
        return step
    try:
        step = Step.model_validate(fields)
    except ValidationError:
        raise Refused("; ".join(reasons)) from None
    return redacted(step, list(reasons))


def reviewed_picture(policy: Policy | None, picture: Image) -> tuple[Image, list[str]]:
    """The picture as it may be recorded, and why it was redacted, if it was.

    Raises:
        Refused: the policy stops the creation.
    """
    ruling = policy.picture(picture) if policy else None
    if ruling is None:
        return picture, []
    if ruling.picture is None:
        raise Refused(ruling.reason)
    return ruling.picture.convert("RGB").resize(picture.size), [ruling.reason]


def redacted(step: Step, reasons: Sequence[str]) -> Step:
    """The step, saying that something in it was replaced and why."""
    if not reasons:
        return step
    known = str(step.settings.get("redacted", ""))
    why = "; ".join(filter(None, (known, *reasons)))
    text = f"{step.text} (redacted: {'; '.join(reasons)})"
    return step.model_copy(update={"text": text, "settings": {**step.settings, "redacted": why}})


def refusal(parent: str, reason: object, shown: Frame | None = None) -> Step:
    """The finish step of a creation that a policy stops; `shown` is the picture that had passed before."""
    return Step(
        kind=StepKind.FINISH,
        parent=parent,
        outputs=(shown,) if shown else (),
        text=f"{StopReason.REFUSED}: {reason}",
        settings={"stop_reason": StopReason.REFUSED.value},
    )


_EXACT = frozenset({"hash", "role", "status", "fault", "edit", "verdict", "task"})
"""Fields that hold no free text."""


def _each(value: Any, look: Callable[[str], str], name: str = "") -> Any:
    """A value with every free text in it looked at."""
    if isinstance(value, dict):
        return {key: _each(part, look, key) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return tuple(_each(part, look, name) for part in value)
    return look(value) if type(value) is str and name not in _EXACT else value
