"""Creations as records: any chain of steps, human ones included.

What is a target and what is only context: the words and pictures of people always teach. The plan in force at the
end and the pictures on the way to the final one teach if the loop ended because it accepted what it saw, and a
picture only if a reflection accepted it. All else stays as context, for a model learns nothing from its own errors
by repeating them; `supervision.build.sampled` has them judged by a detector instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate

from brushloop.canvas import Box, Correction, Critique, Frame, Step, StepKind, StopReason, Verdict
from brushloop.creation import Creation
from brushloop.supervision.records import Loss, Record, RecordFolder, Source, Turn, TurnKind

KINDS = {
    StepKind.PLAN: TurnKind.PLAN,
    StepKind.DRAFT: TurnKind.STATE,
    StepKind.REFLECT: TurnKind.REFLECTION,
    StepKind.REFINE: TurnKind.REFINEMENT,
    StepKind.FINISH: TurnKind.FINISH,
}


def export(creation: Creation, folder: RecordFolder) -> Record:
    """Append a creation, with its pictures, to a folder; returns the record.

    Raises:
        StoreError: a step or picture is missing or changed, or the folder cannot be written.
    """
    record = of_creation(creation)
    for frame in record.pictures:
        folder.put(creation.store.get_image(frame))
    folder.append(record)
    return record


def of_creation(creation: Creation) -> Record:
    """The record of a creation; its pictures stay in its store."""
    brief, turns = creation.brief, list[Turn]()
    for digest, step in zip(creation.hashes, creation.steps, strict=True):
        if step.kind is StepKind.BRIEF:
            turns += _given(step, digest)
        else:
            turns.append(_turn(step, digest, turns))
    if not turns:
        turns.append(Turn(kind=TurnKind.GIVEN, by="person", text=brief.prompt))
    return Record(
        id=creation.id.replace(".", "_"), task=brief.task, prompt=brief.prompt, seed=brief.seed,
        turns=tuple(_with_losses(turns, creation.stop_reason is StopReason.ACCEPTED)),
        source=Source(name="loop", licence="LicenseRef-user", creation=creation.id),
    )  # fmt: skip


def _given(step: Step, digest: str) -> list[Turn]:
    assert step.brief is not None
    pairs = [(unit.text, pair) for unit in step.brief.units for pair in unit.images]
    return [
        Turn(kind=TurnKind.GIVEN, by="person", text=text, picture=pair.image, mask=pair.mask, step=digest)
        for text, pair in pairs
    ]


def _turn(step: Step, digest: str, before: list[Turn]) -> Turn:
    said, settings = step.critique, step.settings
    of = _last(before, step.inputs[0]) if step.inputs else None
    if step.kind is StepKind.FINISH:
        of = _last(before, step.outputs[-1]) if step.outputs else None
    at, drift, denoised = settings.get("plan_step"), settings.get("drift"), settings.get("denoising_steps")
    return Turn(
        kind=KINDS.get(step.kind) or _human_kind(step),
        by="person" if step.kind is StepKind.HUMAN else "model",
        text=step.text,
        picture=step.outputs[-1] if step.outputs else None,
        of=of,
        regions=_boxes(str(settings.get("regions", ""))),
        plan=step.plan,
        critique=said,
        correction=_correction(step, of, before),
        plan_step=None if at is None else int(at),
        model=step.model,
        seed=step.seed,
        denoising_steps=None if denoised is None else int(denoised),
        drift=None if drift is None else float(drift),
        step=digest,
    )


def _human_kind(step: Step) -> TurnKind:
    if step.plan:
        return TurnKind.PLAN
    return TurnKind.REFINEMENT if step.outputs else TurnKind.REFLECTION


def _correction(step: Step, of: int | None, before: list[Turn]) -> Correction | None:
    """What a refinement was asked to do: one of the corrections of the last critique of its picture."""
    which = step.settings.get("correction")
    if step.kind is not StepKind.REFINE or of is None or which is None:
        return None
    asked = critique_of(before, before[of].picture)
    return asked.corrections[int(which)] if asked and int(which) < len(asked.corrections) else None


def critique_of(turns: list[Turn], picture: Frame | None) -> Critique | None:
    """The last critique of a picture."""
    for turn in reversed(turns):
        if turn.critique and turn.of is not None and turns[turn.of].picture == picture:
            return turn.critique
    return None


def _last(turns: list[Turn], frame: Frame) -> int | None:
    return next((i for i in range(len(turns) - 1, -1, -1) if turns[i].picture == frame), None)


def _boxes(text: str) -> tuple[Box, ...]:
    boxes = []
    for part in text.split(","):
        edges = [int(edge) for edge in part.split()]
        if len(edges) == 4:
            boxes.append((edges[0], edges[1], edges[2], edges[3]))
    return tuple(boxes)


def _with_losses(turns: list[Turn], accepted: bool) -> list[Turn]:
    """The turns with their loss flags, as the head of this file tells."""
    last_plan = max(accumulate((i if turn.plan else -1 for i, turn in enumerate(turns)), max), default=-1)
    good: Mapping[int, bool] = {}
    if accepted:
        way = _way_to(turns, len(turns) - 1)
        good = {i: (c := critique_of(turns, turns[i].picture)) is not None and c.verdict is Verdict.ACCEPT for i in way}
    flagged = []
    for number, turn in enumerate(turns):
        if turn.by == "person":
            loss = Loss(
                text=turn.kind is not TurnKind.GIVEN and bool(turn.plan or turn.critique),
                picture=turn.kind is not TurnKind.GIVEN and turn.picture is not None,
            )
        else:
            paints = turn.kind in (TurnKind.STATE, TurnKind.REFINEMENT)
            loss = Loss(text=accepted and number == last_plan, picture=paints and good.get(number, False))
        flagged.append(turn.model_copy(update={"loss": loss}))
    return flagged


def _way_to(turns: list[Turn], end: int) -> list[int]:
    """The turns whose pictures led to that of `end`, `end` first."""
    way: list[int] = []
    at: int | None = end
    while at is not None:
        way.append(at)
        at = turns[at].of
    return way
