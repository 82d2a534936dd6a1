"""The command `brushloop second`: what others than the critic see in a creation, and where they disagree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from brushloop.cli.console import clean, result
from brushloop.cli.options import Json, Last, Name, opened

if TYPE_CHECKING:
    from brushloop.creation import Creation
    from brushloop.supervision.second import SecondOpinion


def second(
    name: Name = None,
    judge: Annotated[bool, typer.Option(help="Ask the detector of the world that the models know.")] = True,
    text: Annotated[bool, typer.Option(help="Read text, too (needs the extra ocr).")] = False,
    last: Last = False,
    as_json: Json = False,
) -> None:
    """Ask for a second opinion on every reflection of a creation, and show disagreements. Nothing is changed."""
    from brushloop.agent.names import makers_of
    from brushloop.supervision.judge import Judge, weights_of
    from brushloop.supervision.second import SecondOpinion, reader
    from brushloop.supervision.world.worlds import known_to, within

    creation = opened(name, last)
    world = known_to(makers_of(creation)[1])
    asked = SecondOpinion(Judge(weights_of(world)) if judge else None, reader() if text else None)
    with within(world):
        rows = _rows(creation, asked)
    lines = [f"{row['step']:3} {clean(said)}" for row in rows for said in row["disagreements"]]
    number = sum(len(row["disagreements"]) for row in rows)
    ending = f"{creation.id}: {number} disagreement{'s' * (number != 1)} in {len(rows)} reflections"
    result({"id": creation.id, "head": creation.head, "reflections": rows}, [*lines, ending], as_json)


def _rows(creation: Creation, asked: SecondOpinion) -> list[dict[str, Any]]:
    from brushloop.canvas import StepKind

    rows, plan = [], None
    for number, (digest, step) in enumerate(zip(creation.hashes, creation.steps, strict=True)):
        plan = step.plan or plan
        if step.kind is not StepKind.REFLECT or step.critique is None or plan is None:
            continue
        picture, at = creation.store.get_image(step.inputs[0]), int(step.settings.get("plan_step", len(plan.steps) - 1))
        found = asked.disagreements(plan, at, picture, step.critique)
        rows.append(
            {
                "step": number,
                "hash": digest,
                "disagreements": [one.said() for one in found],
                "opinions": [one.opinion.model_dump(mode="json") for one in found],
            }
        )
    return rows
