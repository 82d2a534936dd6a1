"""A toy world for tests of the loop: a painter of rectangles, and a model that reads pixels.

Both are pure functions of what they are asked, as the real ones are, unless a test scripts them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageDraw

from brushloop.canvas import Correction, EditType, Element, ModelRef, Plan, PlanStep
from brushloop.errors import SizeError
from brushloop.painter.base import OnDenoise, PaintRequest
from brushloop.painter.domains import Domain
from brushloop.vlm import Question, Reply, Token

if TYPE_CHECKING:
    from brushloop.painter.process import Process

PAINTER, MODEL = ModelRef(id="toy-painter", weights="a" * 64), ModelRef(id="toy-vlm", weights="b" * 64)
GROUND = (240, 240, 240)
INK = (200, 30, 30)
CAT, BALL = (10, 10, 40, 40), (60, 60, 90, 90)

PLAN = Plan(
    elements=(
        Element(name="beach", role="background"),
        Element(name="cat", boxes=(CAT,)),
        Element(name="ball", color="red", boxes=(BALL,)),
    ),
    steps=(
        PlanStep(instruction="paint a beach with a cat", adds=(0, 1)),
        PlanStep(instruction="add a red ball", adds=(2,)),
    ),
    style="flat",
)
SHORT = PLAN.model_copy(update={"steps": (PlanStep(instruction="paint it all", adds=(0, 1, 2)),)})


@dataclass
class ToyPainter:
    """Fills the regions of a request; `fails` says which requests come to nothing."""

    fails: Callable[[PaintRequest], bool] = lambda request: False
    spills: bool = False
    """Whether it also changes what it should leave alone."""
    during: Callable[[int], None] = lambda done: None
    """Called in every denoising step."""
    requests: list[PaintRequest] = field(default_factory=list)
    ref: ModelRef = PAINTER
    size: tuple[int, int] = (40, 40)

    def check_size(self, size: tuple[int, int]) -> None:
        if size != self.size:
            raise SizeError(f"cannot paint {size[0]}x{size[1]}: 40x40 is possible")

    def paint(self, request: PaintRequest, on_denoise: OnDenoise | None = None) -> Image.Image:
        self.requests.append(request)
        for done in range(1, request.denoising_steps + 1):
            self.during(done)
            if on_denoise:
                on_denoise(done, request.denoising_steps)
        picture = request.canvas.copy() if request.canvas else Image.new("RGB", request.size, GROUND)
        if not self.fails(request):
            pen = ImageDraw.Draw(picture)
            for box in request.regions:
                pen.rectangle([edge * 40 // 100 for edge in box], fill=INK)
        if self.spills:
            picture.putpixel((39, 0), (request.seed % 256, 0, 0))
            picture.putpixel((0, 39), (0, request.seed % 256, 0))
        return picture


class ToyProcesses:
    """Fills more of the canvas in each frame, in a colour of its seed; it paints around a given picture, too."""

    ref = ModelRef(id="toy-processes", weights="c" * 64)

    def paint(
        self, prompt: str, domain: Domain, frames: int, seed: int, *, steps: int, on_denoise: OnDenoise
    ) -> Process:
        pictures = []
        for number in range(1, frames + 1):
            for done in range(steps):
                on_denoise((number - 1) * steps + done + 1, frames * steps)
            picture = Image.new("RGB", (32, 32), "white")
            picture.paste((seed % 256, 40, 90), (0, 0, 32, 32 * number // frames))
            pictures.append(picture)
        from brushloop.painter.process import Process  # loads torch

        texts = tuple(domain.text(number, frames) for number in range(frames))
        return Process(tuple(pictures), texts, domain.name, prompt, seed, self.ref)

    def cell(self, domain: Domain, wanted: int | None) -> int:
        return 32

    def before(
        self, last: Image.Image, prompt: str, domain: Domain, frames: int, seed: int, *, steps: int,
        guidance: float | None, on_denoise: OnDenoise,
    ) -> list[Image.Image]:  # fmt: skip
        return list(self.paint(prompt, domain, frames, seed, steps=steps, on_denoise=on_denoise).frames[:-1])


@dataclass
class ToyVLM:
    """Answers with `plans` in turn (the last one again and again), and reads pixels to criticise.

    A thing is present when there is ink in the middle of its box. `looks` scripts reflections instead;
    a None among them reads the pixels.
    """

    plans: Sequence[Plan] = (PLAN,)
    looks: Iterable[dict[str, Any] | str | None] = ()
    unknown: Sequence[tuple[str, Sequence[str]]] = ()
    corrects: bool = True
    """Whether it says what to do, or only what is wrong."""
    questions: list[Question] = field(default_factory=list)
    ref: ModelRef = MODEL

    def __post_init__(self) -> None:
        self._plans, self._looks = list(self.plans), iter(self.looks)

    def unknown_words(self, prompt: str) -> Sequence[tuple[str, Sequence[str]]]:
        return self.unknown

    def ask(self, question: Question) -> Reply:
        self.questions.append(question)
        if question.text.startswith("plan:"):
            plan = self._plans.pop(0) if len(self._plans) > 1 else self._plans[0]
            text = plan.model_dump_json()
        else:
            look = next(self._looks, None)
            text = look if isinstance(look, str) else json.dumps(look or self._read(question))
        return Reply(text, tokens_in=len(question.text.split()), tokens_out=10)

    def _read(self, question: Question) -> dict[str, Any]:
        findings, corrections = [], []
        for line in question.text.splitlines()[2:]:
            index, name = int(line.split()[0]), line.split()[3]
            boxes = [tuple(map(int, box.split())) for box in re.findall(r"\d+ \d+ \d+ \d+", line.partition(" at ")[2])]
            if line.endswith("later"):
                status = "not_yet"
            elif all(self._ink(question.images[0], box) for box in boxes):
                status = "present"
            else:
                status = "missing"
                corrections.append({"edit": "add", "instruction": f"add a {name}", "regions": boxes})
            findings.append({"element": index, "status": status})
        verdict = "refine" if corrections else "accept"
        return {"findings": findings, "corrections": corrections if self.corrects else [], "verdict": verdict}

    @staticmethod
    def _ink(image: Image.Image, box: Sequence[int]) -> bool:
        return image.getpixel(((box[0] + box[2]) * 40 // 200, (box[1] + box[3]) * 40 // 200)) == INK


def look(*statuses: str, verdict: str = "refine", corrections: Sequence[Correction] = ()) -> dict[str, Any]:
    """A scripted reflection: one status for each element."""
    return {
        "findings": [{"element": index, "status": status} for index, status in enumerate(statuses)],
        "corrections": [correction.model_dump(mode="json") for correction in corrections],
        "verdict": verdict,
    }


def tokens(*pieces: tuple[str, float | None]) -> tuple[Token, ...]:
    return tuple(Token(text, logprob) for text, logprob in pieces)


def add(name: str, *regions: tuple[int, int, int, int]) -> Correction:
    return Correction(edit=EditType.ADD, instruction=f"add a {name}", regions=regions)
