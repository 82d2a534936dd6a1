"""A second opinion on a picture: a detector for things, a reader for text. It is shown, and never steers the loop.

The detector knows the world it was trained in and says nothing of things outside it. The reader (the extra `ocr`) looks
for the words that a plan puts in quotes, and tells of text that nobody asked for. Where one of them sees something else
than the critic, that is a disagreement: for a person to look at.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from brushloop.canvas import Critique, Noun, Plan, PlanStep, Status
from brushloop.errors import BackendError
from brushloop.supervision.labels import label

if TYPE_CHECKING:
    from PIL.Image import Image

    from brushloop.supervision.judge import Judge

Read = Callable[["Image"], Sequence[str]]
"""Lines of text in a picture."""

ALIKE, FAINT = 0.8, 0.4
"""Similarity of letters (0-1) from which two texts are the same, and from which one is a spoiled other."""
SURE = 0.6
"""Confidence of the reader from which a line counts."""
_QUOTED = re.compile(r"[\"“„«]([^\"“”„«»]{1,80})[\"”“»]|(?<!\w)['‘]([^'‘’]{2,80})['’](?!\w)")


class Opinion(Noun):
    """What another than the critic sees of one element; without an element, something that the plan does not know."""

    source: str
    element: int | None
    status: Status
    seen: str = ""


class Disagreement(Noun):
    """An opinion that the critic does not share."""

    opinion: Opinion
    critic: Status | None
    """What the critic said of it; None if it said nothing."""
    thing: str

    def said(self) -> str:
        """In words for people."""
        seen = f" ({self.opinion.seen})" if self.opinion.seen else ""
        critic = f", the critic {self.critic}" if self.critic else ""
        return f"{self.opinion.source} finds {self.thing} {self.opinion.status}{seen}{critic}"


class SecondOpinion:
    """Asks a detector, and a reader if there is one; callable as the second opinion of a `Studio`."""

    def __init__(self, judge: Judge | None = None, read: Read | None = None) -> None:
        self.judge, self.read = judge, read

    def __call__(self, plan: Plan, step: int, picture: Image, critique: Critique) -> list[str]:
        """Disagreements in words."""
        return [one.said() for one in self.disagreements(plan, step, picture, critique)]

    def disagreements(self, plan: Plan, step: int, picture: Image, critique: Critique) -> list[Disagreement]:
        """What the critic and the others see differently, once plan step `step` is painted."""
        opinions = by_judge(self.judge, plan, step, picture) if self.judge else []
        opinions += by_reading(self.read, plan, step, picture) if self.read else []
        return disagreements(plan, critique, opinions)


def disagreements(plan: Plan, critique: Critique, opinions: Sequence[Opinion]) -> list[Disagreement]:
    """Opinions that differ from a critique in whether a thing is as planned."""
    said = {finding.element: finding.status for finding in critique.findings}
    found = []
    for opinion in opinions:
        critic = said.get(opinion.element) if opinion.element is not None else None
        if critic is None and opinion.status is Status.PRESENT:
            continue
        if critic is None or (critic is Status.PRESENT) is not (opinion.status is Status.PRESENT):
            thing = "text" if opinion.element is None else plan.elements[opinion.element].name
            found.append(Disagreement(opinion=opinion, critic=critic, thing=thing))
    return found


def by_judge(judge: Judge, plan: Plan, step: int, picture: Image) -> list[Opinion]:
    """What the detector sees of the elements that are due and that it knows."""
    names = {"background": judge.names.backgrounds, "object": judge.names.objects}
    due = [index for index in plan.due(step) if plan.elements[index].name in names[plan.elements[index].role]]
    if not due:
        return []
    elements = tuple(plan.elements[index] for index in due)
    asked = Plan(elements=elements, steps=(PlanStep(instruction="look", adds=tuple(range(len(due)))),))
    truth = label(judge.look([picture])[0], asked, 0, picture)
    return [
        Opinion(source="judge", element=due[seen.element], status=seen.status, seen=seen.seen)
        for seen in truth.findings
    ]


def by_reading(read: Read, plan: Plan, step: int, picture: Image) -> list[Opinion]:
    """What the reader finds of the texts that a plan puts in quotes, and which text nobody asked for."""
    lines = [" ".join(line.split()) for line in read(picture) if line.strip()]
    left, found = list(lines), []
    for element, text in texts(plan, step):
        near = max(lines, key=lambda line: _alike(line, text), default="")
        alike = _alike(near, text)
        status = Status.PRESENT if alike >= ALIKE else Status.WRONG if alike >= FAINT else Status.MISSING
        if status is not Status.MISSING and near in left:
            left.remove(near)
        found.append(
            Opinion(source="reader", element=element, status=status, seen=near if near and alike >= FAINT else "")
        )
    return found + [Opinion(source="reader", element=None, status=Status.WRONG, seen=line) for line in left]


def texts(plan: Plan, step: int) -> list[tuple[int | None, str]]:
    """Texts in quotes that should be readable once plan step `step` is painted, each with its element if it has one."""
    due = set(plan.due(step))
    found: dict[str, int | None] = {}
    for index in sorted(due):
        for text in quoted(plan.elements[index].name):
            found.setdefault(text, index)
    for stroke in plan.steps[: step + 1]:
        for text in quoted(f"{stroke.instruction} {stroke.expected}"):
            only = stroke.adds[0] if len(stroke.adds) == 1 else None
            found.setdefault(text, only)
    return [(element, text) for text, element in found.items()]


def quoted(words: str) -> list[str]:
    """What stands in quotes."""
    return [" ".join((double or single).split()) for double, single in _QUOTED.findall(words)]


def reader() -> Read:
    """RapidOCR, whose models come with its package.

    Raises:
        BackendError: it is not installed.
    """
    try:
        from rapidocr_onnxruntime import RapidOCR
    except ImportError as error:
        raise BackendError(f"text cannot be read: {error}; pip install 'brushloop[ocr]'") from None
    engine = RapidOCR()

    def read(picture: Image) -> list[str]:
        small = max(1, 512 // max(picture.size))
        large = picture.convert("RGB").resize((picture.width * small, picture.height * small))
        lines, _ = engine(np.asarray(large)[..., ::-1])
        return [str(text) for _, text, sure in lines or () if float(sure) >= SURE]

    return read


def _alike(one: str, two: str) -> float:
    """Similarity of two texts by their letters; readers drop spaces."""
    first, other = ("".join(re.findall(r"\w", text.casefold())) for text in (one, two))
    return difflib.SequenceMatcher(None, first, other).ratio() if first and other else 0.0
