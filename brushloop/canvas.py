"""The nouns of brushloop: what is wanted, planned, painted, criticised and recorded.

Every value here is frozen, validated on the way in, and serialises to plain JSON. Nothing in this
file imports torch, touches a disk or calls a model.

Units: boxes are whole percent of the canvas (0-100), sizes are pixels, scores are 0-1.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

SCHEMA_VERSION = 3
"""Version of the step format. A reader refuses steps of a later version.

Since 2 budgets know memory, findings say what is seen, and corrections name any of 26 kinds of edit; since 3 plans
name tools and materials.
"""

MAX_PROMPT = 2_000
"""Longest prompt accepted, in characters."""

MIN_FRAMES, MAX_FRAMES = 2, 99
"""Frames of a plan step that is made as a process."""

Percent = Annotated[int, Field(ge=0, le=100)]


def _upright(box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    left, top, right, bottom = box
    return min(left, right), min(top, bottom), max(left, right), max(top, bottom)


Box = Annotated[tuple[Percent, Percent, Percent, Percent], AfterValidator(_upright)]
"""Left, top, right, bottom in percent of the canvas; corners that a model names in another order are put right."""

Score = Annotated[float, Field(ge=0.0, le=1.0)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 in lower-case hex: the address of a stored object."""


def pixels_of(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """A box on a canvas of `size` (width, height), in pixels: left, top, right, bottom; at least one wide and high."""
    wide, high = size
    left, top, right, bottom = box
    x, y = round(left * wide / 100), round(top * high / 100)
    return x, y, max(x + 1, round(right * wide / 100)), max(y + 1, round(bottom * high / 100))


def _not_said(value: object) -> bool:
    """Whether a field is left out of JSON: steps from before it was thought of keep their hash."""
    return value is None


class Noun(BaseModel):
    """Base of every value: immutable, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Frame(Noun):
    """A reference to a stored picture; never its bytes."""

    hash: Digest
    width: Annotated[int, Field(ge=1)]
    height: Annotated[int, Field(ge=1)]


class UnitImage(Noun):
    """One picture of a condition unit, with the mask that travels with it (white = may change)."""

    image: Frame
    mask: Frame | None = None


class ConditionUnit(Noun):
    """Text and the pictures it speaks of (ACE's condition unit)."""

    text: str = ""
    images: tuple[UnitImage, ...] = ()


class Task(StrEnum):
    """What kind of making is wanted."""

    PAINT = "paint"
    PROCESS = "process"
    RECRAFT = "recraft"
    EDIT = "edit"
    CHAT = "chat"


class Budget(Noun):
    """Limits of one creation. Whichever is met first stops the loop, which then says so."""

    rounds: Annotated[int, Field(ge=1)] = 24
    """Pictures painted (drafts and refinements) in all."""
    seconds: Annotated[float, Field(gt=0)] = 600.0
    tokens: Annotated[int, Field(ge=1)] = 100_000
    """Tokens read and written by the vision-language model."""
    pixels: Annotated[int, Field(ge=1)] = 100_000_000
    """Pixels painted: width x height of every draft and refinement."""
    memory: Annotated[int, Field(ge=1)] | None = None
    """MiB that the process holds, on its accelerator too; None means as much as there is."""
    stall: Annotated[int, Field(ge=1)] = 3
    """Refinements of one plan step without a better score before the loop moves on."""


class Brief(Noun):
    """What is wanted."""

    prompt: Annotated[str, Field(min_length=1, max_length=MAX_PROMPT)]
    task: Task = Task.PAINT
    units: tuple[ConditionUnit, ...] = ()
    size: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] | None = None
    """Width and height in pixels; None means the painter's own size."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    budget: Budget = Budget()

    @field_validator("prompt")
    @classmethod
    def _has_words(cls, prompt: str) -> str:
        if not prompt.strip():
            raise ValueError("the prompt is empty")
        if any(ord(c) < 32 and c not in "\n\t" for c in prompt) or "\ufffd" in prompt:
            raise ValueError("the prompt holds control characters: it is not text")
        try:
            prompt.encode("utf-8")
        except UnicodeEncodeError:
            raise ValueError("the prompt is not valid Unicode text") from None
        return prompt


class EditType(StrEnum):
    """Kinds of edit that a correction or an instruction can ask for; `brushloop.edits` defines each of them.

    The 25 types of AnyEdit's benchmark and style transfer; its movement is `move` here.
    """

    ADD = "add"
    REMOVE = "remove"
    REPLACE = "replace"
    COLOR = "color"
    MOVE = "move"
    RESIZE = "resize"
    BACKGROUND = "background"
    APPEARANCE = "appearance"
    MATERIAL = "material"
    ACTION = "action"
    TEXTUAL = "textual"
    COUNTING = "counting"
    TONE = "tone"
    STYLE = "style"
    OUTPAINT = "outpaint"
    ROTATION = "rotation"
    IMPLICIT = "implicit"
    RELATION = "relation"
    DEPTH = "depth"
    SKETCH = "sketch"
    SCRIBBLE = "scribble"
    SEGMENTATION = "segmentation"
    BOX = "box"
    MATERIAL_TRANSFER = "material_transfer"
    REFERENCE = "reference"
    STYLE_TRANSFER = "style_transfer"


class Element(Noun):
    """One thing in the picture: the background, or `count` objects that look the same."""

    name: Annotated[str, Field(min_length=1, max_length=80)]
    role: Literal["background", "object"] = "object"
    count: Annotated[int, Field(ge=1, le=64)] = 1
    color: Annotated[str, Field(max_length=80)] | None = None
    size: Annotated[str, Field(max_length=80)] | None = None
    boxes: tuple[Box, ...] = ()
    """Where each of the `count` objects goes; empty when the planner leaves it open."""


class PlanStep(Noun):
    """One brush-stroke of the plan: what to paint now, and what is to be seen afterwards."""

    instruction: Annotated[str, Field(min_length=1, max_length=500)]
    expected: Annotated[str, Field(max_length=1000)] = ""
    adds: tuple[Annotated[int, Field(ge=0)], ...]
    """Indices into `Plan.elements`."""
    edit: EditType | None = Field(default=None, exclude_if=_not_said)
    """The kind of edit of the canvas that it is; None leaves that to the instruction."""
    domain: str | None = Field(default=None, exclude_if=_not_said)
    """Made as a process of this domain: from words on an empty canvas; over a picture, what could have led to it."""
    frames: int | None = Field(default=None, ge=MIN_FRAMES, le=MAX_FRAMES, exclude_if=_not_said)
    """Of the process, in all; None means as many as the domain has."""

    @model_validator(mode="after")
    def _painted_in_one_way(self) -> PlanStep:
        if self.edit and self.domain:
            raise ValueError(
                f"a plan step is an edit ({self.edit}) or a process ({self.domain}): leave one of them out"
            )
        if self.frames and not self.domain:
            raise ValueError(f"{self.frames} frames are asked for without a domain: name one, or leave frames out")
        return self


Need = Annotated[str, Field(min_length=1, max_length=80)]
"""A tool or a material, in a word or two."""


class Plan(Noun):
    """What will be in the picture, and in which order it is painted."""

    elements: Annotated[tuple[Element, ...], Field(min_length=1, max_length=64)]
    steps: Annotated[tuple[PlanStep, ...], Field(min_length=1, max_length=64)]
    style: str | None = None
    domain: str | None = None
    tools: Annotated[tuple[Need, ...], Field(max_length=32)] = ()
    """What a person works with who makes it by hand; empty unless the making is what is planned."""
    materials: Annotated[tuple[Need, ...], Field(max_length=32)] = ()
    """As `tools`: what it is made of."""

    @model_validator(mode="after")
    def _steps_add_known_elements(self) -> Plan:
        for number, step in enumerate(self.steps):
            for index in step.adds:
                if index >= len(self.elements):
                    raise ValueError(
                        f"step {number} adds element {index}, but there are only {len(self.elements)} elements"
                    )
        return self

    def due(self, step: int) -> tuple[int, ...]:
        """Indices of the elements that should be visible once plan step `step` is painted."""
        return tuple(sorted({index for done in self.steps[: step + 1] for index in done.adds}))


class Status(StrEnum):
    """What the critic sees of one element. "Not drawn yet" is not "wrong"."""

    PRESENT = "present"
    MISSING = "missing"
    WRONG = "wrong"
    NOT_YET = "not_yet"


class Fault(StrEnum):
    """In which way an element is wrong."""

    OBJECT = "object"
    COLOR = "color"
    COUNT = "count"
    POSITION = "position"
    SIZE = "size"
    BACKGROUND = "background"


class Verdict(StrEnum):
    """What should happen next, in the critic's view."""

    ACCEPT = "accept"
    REFINE = "refine"
    REDRAW = "redraw"
    REPLAN = "replan"


class Finding(Noun):
    """What the critic says of one element of the plan."""

    element: Annotated[int, Field(ge=0)]
    status: Status
    fault: Fault | None = None
    seen: Annotated[str, Field(max_length=500)] = ""
    """What stands there instead, or as well as could be told: `a blue apple`, `a cat, nothing`."""
    score: Score | None = None
    """Probability that the element is as it should be; None when the model gives none."""


class Correction(Noun):
    """One edit that would bring the picture nearer to the plan."""

    edit: EditType
    instruction: Annotated[str, Field(min_length=1, max_length=500)]
    regions: tuple[Box, ...] = ()
    """What may change; empty means the whole canvas. A move or resize gives the old box, then the new."""


class Critique(Noun):
    """The critic's reflection on one state of the canvas."""

    findings: tuple[Finding, ...] = ()
    corrections: tuple[Correction, ...] = ()
    verdict: Verdict
    score: Score = 0.0
    """Mean score of the elements due so far: the number by which states are compared."""


class StepKind(StrEnum):
    """Kinds of act in the record. `brief` is the root of every chain."""

    BRIEF = "brief"
    PLAN = "plan"
    DRAFT = "draft"
    REFLECT = "reflect"
    REFINE = "refine"
    HUMAN = "human"
    FINISH = "finish"


class ModelRef(Noun):
    """Which model acted: its name, and the SHA-256 over its weight files ("" when unknown)."""

    id: str
    weights: str = ""


class Step(Noun):
    """One act in the record. Its address is the SHA-256 of its canonical JSON (RFC 8785).

    Measurements (seconds, tokens, memory, host) are not part of a step: see `Store.measure`.
    """

    kind: StepKind
    parent: Digest | None = None
    inputs: tuple[Frame, ...] = ()
    outputs: tuple[Frame, ...] = ()
    """The last one is the canvas; those before it, if any, are the frames that led to it."""
    text: str = ""
    """For people: the prompt, instruction, reflection or reason, in words."""
    brief: Brief | None = None
    plan: Plan | None = None
    critique: Critique | None = None
    model: ModelRef | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    settings: dict[str, str | int | float | bool] = {}
    version: int = SCHEMA_VERSION


class StopReason(StrEnum):
    """Why a creation ended."""

    ACCEPTED = "accepted"
    STALLED = "stalled"
    ROUNDS = "rounds"
    SECONDS = "seconds"
    TOKENS = "tokens"
    PIXELS = "pixels"
    MEMORY = "memory"
    CANCELLED = "cancelled"
    REFUSED = "refused"
    """A policy of content review stopped it."""
