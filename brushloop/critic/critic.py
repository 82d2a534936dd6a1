"""The critic: looks at a picture and the plan so far, and says what is there, what is not, and what would help."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brushloop.canvas import Brief, Critique, ModelRef, Plan, Status
from brushloop.critic.closeups import contact_sheet
from brushloop.critic.consistency import consistent
from brushloop.critic.judgement import complete
from brushloop.critic.prompt import Look, instructions, look_schema, look_text
from brushloop.critic.sureness import sureness
from brushloop.vlm import VLM, Answer, Question, ask

if TYPE_CHECKING:
    from PIL.Image import Image


class Critic:
    """Asks a vision-language model for reflections."""

    def __init__(self, vlm: VLM) -> None:
        self.vlm = vlm

    @property
    def ref(self) -> ModelRef:
        """The model that looks."""
        return self.vlm.ref

    def reflect(self, brief: Brief, plan: Plan, step: int, image: Image) -> Answer[Critique]:
        """Judge `image` against the plan as far as `step`.

        What the model says is data: its findings are held against their own words and scored by how sure it
        was, and the verdict is held against them.

        Raises:
            ReplyError: the model answers with something that is not a reflection.
        """
        sheet = contact_sheet(image, plan, step)
        pictures = (image, sheet) if sheet else (image,)
        question = Question(look_text(brief.prompt, plan, step), look_schema(), pictures, instructions=instructions())
        answer = ask(self.vlm, question, Look)
        look = answer.value
        findings = []
        for said, sure in zip(look.findings, sureness(answer.replies[-1], len(look.findings)), strict=True):
            known = said.element < len(plan.elements)
            seen = consistent(plan.elements[said.element], said) if known else said
            score = None if seen.status is Status.NOT_YET else sure if seen.status is Status.PRESENT else 1 - sure
            findings.append(seen.finding(score if score is None else round(score, 4)))
        return Answer(complete(plan, step, findings, look.corrections, look.verdict), answer.replies)
