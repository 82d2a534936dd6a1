"""The guide: how something was made, as a person would publish it. Every exporter reads this value and nothing else.

Because exporters never see the record, what a guide does not hold cannot leak into a document: `redacted` is
done once, here. Texts are made safe for every format on the way in: characters that XML forbids, and those that
turn the direction of what follows, are taken out.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from brushloop.canvas import Digest, Frame, Noun
from brushloop.heads import CreationId

LONGEST_TITLE = 120
"""Characters; what is longer is cut at a word, and the whole of it stands in the introduction."""

_FORBIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)


def legible(text: str) -> str:
    """Text that every format can hold: without control characters, lone surrogates and changes of direction."""
    return _FORBIDDEN.sub("", text.replace("\r\n", "\n").replace("\u2028", "\n").replace("\u2029", "\n")).strip()


def short(text: str, longest: int = LONGEST_TITLE) -> str:
    """On one line, cut at a word, with an ellipsis if something is missing."""
    line = " ".join(legible(text).split())
    if len(line) <= longest:
        return line
    cut = line[: longest - 1]
    return (cut.rsplit(" ", 1)[0] if " " in cut[longest // 2 :] else cut).rstrip() + "…"


def is_rtl(text: str) -> bool:
    """Whether text is read from right to left: by its first letter that has a direction (Unicode UAX 9, P2)."""
    for char in text:
        if (direction := unicodedata.bidirectional(char)) in ("L", "R", "AL"):
            return direction != "L"
    return False


Words = Annotated[str, AfterValidator(legible)]
Title = Annotated[str, AfterValidator(short), Field(min_length=1)]
Difficulty = Literal["easy", "moderate", "difficult"]
Act = Literal["draft", "refine", "human", "frame"]


class Shot(Noun):
    """A picture, and what it shows in words."""

    frame: Frame
    alt: Words = ""


class GuideStep(Noun):
    """One state of the work: what to do, what to watch for, and how it looks before and after."""

    title: Title
    text: Words
    tip: Words = ""
    before: Shot | None = None
    after: Shot
    tools: tuple[Words, ...] = ()
    """Tools this step uses; each should be declared in `Guide.tools`."""
    act: Act = "frame"
    seconds: Annotated[float, Field(ge=0)] = 0.0
    stroke: int | None = None
    """Index of the plan step that it carries out."""

    @property
    def more(self) -> str:
        """The text without the sentence that stands in the title already."""
        rest = self.text.removeprefix(self.title)
        return self.text if rest and rest[0] not in ".!?…。" else rest.lstrip(".!?…。 \n")


class Source(Noun):
    """The creation that a guide tells of."""

    id: CreationId
    head: Digest


class Guide(Noun):
    """How something was made: what one needs, and what to do, state by state."""

    title: Title
    introduction: Words = ""
    materials: tuple[Words, ...] = ()
    tools: tuple[Words, ...] = ()
    seconds: Annotated[float, Field(ge=0)] = 0.0
    """Time the making took."""
    difficulty: Difficulty = "easy"
    steps: Annotated[tuple[GuideStep, ...], Field(min_length=1)]
    states: tuple[Frame, ...] = ()
    """Every state of the work that stood, in order: what a guide should not skip. () if nobody has said so."""
    source: Source | None = None
    language: str = "en"
    """BCP 47; the language of the sentences around the words of the record."""

    @property
    def frames(self) -> tuple[Frame, ...]:
        """Every picture of the guide, once, in the order of the steps."""
        shots = (shot for step in self.steps for shot in (step.before, step.after) if shot)
        return tuple(dict.fromkeys(shot.frame for shot in shots))

    @property
    def final(self) -> Shot:
        """The finished work."""
        return self.steps[-1].after

    @property
    def minutes(self) -> int:
        """Time the making took, in whole minutes, at least one."""
        return max(1, round(self.seconds / 60))

    @property
    def duration(self) -> str:
        """Time the making took, for people."""
        return f"{self.minutes} min" if self.seconds >= 60 else f"{max(1, round(self.seconds))} s"


_ACTS = {
    "draft": ("Draft", "Paint the next part of the plan."),
    "refine": ("Refinement", "Look at the picture, and correct what is not as planned."),
    "human": ("A person's hand", "A person changed the picture here."),
    "frame": ("State", "Bring the work from the state before to this one."),
}


def redacted(guide: Guide) -> Guide:
    """The same pictures in the same order, without any word of a person or a model, and without names and paths."""
    steps, number = [], len(guide.steps)
    for n, step in enumerate(guide.steps, 1):
        name, text = _ACTS[step.act]
        shots = {
            key: shot and shot.model_copy(update={"alt": f"The work {key} step {n} of {number}"})
            for key, shot in (("before", step.before), ("after", step.after))
        }
        steps.append(
            step.model_copy(update={"title": f"{name}, step {n}", "text": text, "tip": "", "tools": ()} | shots)
        )
    plain = {"title": f"A work in {number} step{'s' * (number > 1)}", "introduction": "", "materials": (), "tools": ()}
    return guide.model_copy(update={**plain, "steps": tuple(steps), "source": None})
