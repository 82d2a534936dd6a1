"""The making of something as a creation: a brief, what it takes, a draft for each frame, and an end.

The frames of a grid are painted together, so nothing is recorded before all of them are there; cut off, it is painted
again, to the same bytes. From then on it is a creation as any other: shown, exported, told as a guide, and forked.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from brushloop.agent.beside import attended
from brushloop.agent.briefs import brief_from
from brushloop.agent.events import Cancelled, OnEvent, denoising, of_step
from brushloop.agent.review import Refused, redacted, refusal, reviewed, reviewed_picture
from brushloop.agent.run import Cancel, Options
from brushloop.agent.strokes import process
from brushloop.canvas import (
    MAX_FRAMES,
    ConditionUnit,
    Element,
    Frame,
    Plan,
    PlanStep,
    Step,
    StepKind,
    StopReason,
    Task,
    UnitImage,
)
from brushloop.creation import Creation
from brushloop.errors import InputError, Interrupted
from brushloop.painter.domains import Domain
from brushloop.painter.domains import domain as domain_of
from brushloop.painter.workshop import Workshop

if TYPE_CHECKING:
    from PIL.Image import Image

    from brushloop.agent.intake import Intake
    from brushloop.painter.process import Process

TASKS = (Task.PROCESS, Task.RECRAFT)


@dataclass(frozen=True)
class Craft:
    """What is to be made, read from the brief that asks for it."""

    domain: Domain
    frames: int
    root: str
    """Hash of the brief's step."""


def begin(
    intake: Intake,
    prompt: str,
    domain: str,
    picture: Image | None = None,
    frames: int | None = None,
    seed: int = 0,
    *,
    id: str | None = None,
) -> Creation:
    """Record a process that is to be painted, or, with a picture, the steps that could have led to it.

    Args:
        intake: where it is recorded, and who paints it.
        prompt: what is made.
        domain: how it is made: one of `painter.domains`.
        picture: the last frame.
        frames: how many in all; by default the domain's.
        seed: the same seed gives the same frames.
        id: a name for the creation.

    Raises:
        InputError: no such domain, or that number of frames.
        WeightsError: no adapter can paint it.
    """
    kind = domain_of(domain)
    least = 1 if picture is None else 2
    if frames is not None and not least <= frames <= MAX_FRAMES:
        raise InputError(f"{frames} frames cannot be painted: ask for {least} to {MAX_FRAMES}")
    number = frames or kind.frames
    workshop(intake).check(kind, picture is not None or number > kind.frames)
    return _begun(intake, prompt, kind, picture, number, seed, id)


def keep(intake: Intake, made: Process, seconds: float, picture: Image | None = None) -> Creation:
    """Record a process that was painted already, in so many seconds, as a creation; `picture` is what it led to."""
    kind = domain_of(made.domain)
    prompt = made.prompt or f"a picture, {kind.phrase}"
    creation = _begun(intake, prompt, kind, picture, len(made.frames), made.seed)
    if not creation.finished:  # else a policy refused it
        _recorded(_Record(intake, creation, creation.head, lambda event: None), made, kind, seconds)
    return intake.open(creation.id)


def _begun(
    intake: Intake, prompt: str, kind: Domain, picture: Image | None, number: int, seed: int, id: str | None = None
) -> Creation:
    brief = brief_from(prompt, seed, budget={"rounds": number}).model_copy(update={"task": Task.PROCESS})
    outputs: tuple[Frame, ...] = ()
    reasons: list[str] = []
    if picture is not None:
        from brushloop.painter.grids import flat

        try:
            picture, reasons = reviewed_picture(intake.policy, flat(picture))
        except Refused as refused:
            return intake._refused(intake._brief_step(brief), refused, id)
        frame = intake.store.put_image(picture)
        outputs, unit = (frame,), ConditionUnit(text=prompt, images=(UnitImage(image=frame),))
        brief = brief.model_copy(update={"task": Task.RECRAFT, "units": (unit,)})
    root = intake._brief_step(brief)
    settings = {**root.settings, "domain": kind.name, "frames": number}
    return intake._new(redacted(root.model_copy(update={"settings": settings, "outputs": outputs}), reasons), id)


def workshop(intake: Intake) -> Workshop:
    """Where this studio paints processes: around its own painter, with the adapters that the environment names."""
    return Workshop.of_environment(intake._makers[0])


def asked(creation: Creation) -> Craft | None:
    """The process that a creation asks for; None where the loop goes on with it, as with a fork of a process."""
    for digest, step in reversed(list(zip(creation.hashes, creation.steps, strict=True))):
        if step.brief is not None:
            if step.brief.task not in TASKS or "domain" not in step.settings:
                return None
            return Craft(domain_of(str(step.settings["domain"])), int(step.settings["frames"]), digest)
    return None


def frames(creation: Creation) -> list[Frame]:
    """The frames of a process, in order; none for a creation that is no process, or one forked from it."""
    if asked(creation) is None:
        return []
    return [step.outputs[-1] for step in creation.steps if "frame" in step.settings]


def carry_out(intake: Intake, creation: Creation, craft: Craft, options: Options) -> None:
    """Paint all frames and record them.

    Raises:
        Interrupted: Ctrl-C; the creation can be resumed.
    """

    def work(tell: OnEvent, cancelled: Cancel) -> None:
        began, record = time.monotonic(), _Record(intake, creation, craft.root, tell)
        try:
            made = _painted(intake, creation, craft, tell, cancelled)
        except Cancelled:
            return record.end(StopReason.CANCELLED, "before the frames were painted")
        _recorded(record, made, craft.domain, time.monotonic() - began)

    try:
        attended(work, options.get("on_event"), options.get("cancel"))
    except KeyboardInterrupt:
        raise Interrupted(f"stopped; what was made is kept: brushloop resume {creation.id}") from None


def _painted(intake: Intake, creation: Creation, craft: Craft, tell: OnEvent, cancelled: Cancel) -> Process:
    brief = creation.brief
    given = brief.units[0].images[0].image if brief.task is Task.RECRAFT else None
    picture = intake.store.get_image(given) if given else None
    shop, heard = workshop(intake), denoising(brief.task.value, tell, cancelled)
    return process(shop, craft.domain, brief.prompt, craft.frames, brief.seed, picture, heard)


def _recorded(record: _Record, made: Process, kind: Domain, seconds: float) -> None:
    try:
        record.frames(made, kind, seconds)
    except Refused as refused:
        record.put(refusal(record.head, refused, record.last))
    else:
        record.end(StopReason.ROUNDS, f"{len(made.frames)} frames, all that were asked for")


class _Record:
    """Writes steps one after the other, as the loop's nodes do: the step, what it cost, the head.

    What a killed process had written already is the same step again, and stays as it is.
    """

    def __init__(self, intake: Intake, creation: Creation, head: str, tell: OnEvent) -> None:
        self.intake, self.id, self.head, self.tell = intake, creation.id, head, tell
        self.known = frozenset(creation.hashes)
        self.last: Frame | None = None

    def put(self, step: Step, seconds: float = 0.0) -> None:
        store = self.intake.store
        self.head = store.put_step(step)
        if self.head not in self.known:
            store.record(self.id, step, seconds=round(seconds, 6), tokens=0)
            self.tell(of_step(self.head, step))

    def frames(self, made: Process, kind: Domain, seconds: float) -> None:
        """The plan, and each frame as a draft over the one before. The time is shared among them."""
        intake, what = self.intake, " ".join(made.prompt.split()) or "a picture"
        plan = Plan(
            elements=(Element(name=what[:80]),),
            steps=(PlanStep(instruction=f"{what[:400]}, {kind.phrase}", adds=(0,)),),
            domain=kind.name, tools=kind.tools, materials=kind.materials,
        )  # fmt: skip
        text = f"{len(made.frames)} frames: {', '.join(made.texts)}"
        self.put(reviewed(intake.policy, Step(kind=StepKind.PLAN, parent=self.head, plan=plan, text=text)))
        before: Frame | None = None
        for number, (image, said) in enumerate(zip(made.frames, made.texts, strict=True), 1):
            image, reasons = reviewed_picture(intake.policy, image)
            frame = intake.store.put_image(image.convert("RGB"))
            step = Step(
                kind=StepKind.DRAFT, parent=self.head, inputs=(before,) if before else (), outputs=(frame,),
                text=said, model=made.model, seed=made.seed, settings={"plan_step": 0, "frame": number},
            )  # fmt: skip
            self.put(redacted(reviewed(intake.policy, step), reasons), seconds / len(made.frames))
            before = self.last = frame

    def end(self, reason: StopReason, why: str) -> None:
        shown, text = (self.last,) if self.last else (), f"{reason}: {why}"
        step = Step(kind=StepKind.FINISH, parent=self.head, outputs=shown, text=text)
        self.put(step.model_copy(update={"settings": {"stop_reason": reason.value}}))
