"""What the planner asks a vision-language model, word for word. The embedded model is trained on these texts.

Other models are told what they mean by the instructions in `instructions.v3.md`, which come before the question. A
text with a version is never changed: a better one gets the next number.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from brushloop.canvas import Critique, Plan, Status
from brushloop.edits import DEFINITIONS


@cache
def _instructions() -> str:
    return Path(__file__).with_name("instructions.v3.md").read_text(encoding="utf-8").strip()


def instructions(conversation: str = "") -> str:
    """What a model must know that was not trained on these questions, and what was said before in a conversation."""
    if not conversation:
        return _instructions()
    return (
        f"{_instructions()}\n\n# The conversation so far\nEach line is a picture and what was asked for. What you are "
        f"asked now goes on from the last picture; plan all that is to be seen then.\n{conversation}"
    )


@cache
def plan_schema(craft: bool = False) -> dict[str, Any]:
    """The JSON schema of a reply.

    Args:
        craft: whether a step may also ask for a kind of edit, of those told in words alone, or for a process. A model
            that was trained on our questions never saw that, and is left to what it knows.
    """
    schema = Plan.model_json_schema()
    kinds, step = schema["$defs"]["EditType"], schema["$defs"]["PlanStep"]["properties"]
    if craft:
        kinds["enum"] = [edit.value for edit, definition in DEFINITIONS.items() if not definition.visual]
        return schema
    del schema["$defs"]["EditType"], step["edit"], step["domain"], step["frames"]
    return schema


def plan_text(prompt: str) -> str:
    """The question for a first plan."""
    return f"plan: {squeeze(prompt)}"


def replan_text(prompt: str, plan: Plan, critique: Critique) -> str:
    """The question for another plan, naming what was wrong with the picture that the last one led to."""
    return f"{plan_text(prompt)}\nfaults: {faults(plan, critique)}"


def faults(plan: Plan, critique: Critique) -> str:
    """`cat missing; apple wrong color`: the findings at fault in a few words, `none` if there are none."""
    found = [
        " ".join(filter(None, (plan.elements[finding.element].name, finding.status, finding.fault)))
        for finding in critique.findings
        if finding.status in (Status.MISSING, Status.WRONG) and finding.element < len(plan.elements)
    ]
    return "; ".join(found) or "none"


def squeeze(prompt: str) -> str:
    """The prompt on one line, with single spaces."""
    return " ".join(prompt.split())
