"""What the loop itself costs: store, checkpoints and graph around models that take no time.

    python -m benchmarks.overhead

The painter hands out pictures and the model replies that were made beforehand. Best of several runs, since
neighbours on the machine only ever add.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
from PIL import Image

from brushloop import Plan, Studio, objects
from brushloop.agent import nodes
from brushloop.agent.effort import Effort
from brushloop.canvas import Element, ModelRef, PlanStep
from brushloop.critic import critic
from brushloop.painter.base import OnDenoise, PaintRequest
from brushloop.vlm import Question, Reply

BOX = (10, 10, 60, 60)
PLAN = Plan(
    elements=(Element(name="beach", role="background"), Element(name="cat", boxes=(BOX,))),
    steps=(PlanStep(instruction="paint a beach with a cat", adds=(0, 1)),),
).model_dump_json()
LOOK = (
    '{"findings": [{"element": 0, "status": "present"}, {"element": 1, "status": "missing"}], "corrections": '
    '[{"edit": "add", "instruction": "add a cat", "regions": [[10, 10, 60, 60]]}], "verdict": "refine"}'
)


class Instant:
    """A painter and a model in one that answer at once."""

    ref = ModelRef(id="instant")
    size = (128, 128)

    def __init__(self) -> None:
        ramp = np.linspace(0, 255, 128 * 128 * 3).reshape(128, 128, 3)
        self.pictures = [Image.fromarray(np.roll(ramp, roll, 0).astype(np.uint8)) for roll in range(128)]

    def check_size(self, size: tuple[int, int]) -> None:
        """Any size is fine."""

    def unknown_words(self, prompt: str) -> Sequence[tuple[str, Sequence[str]]]:
        """It knows all words."""
        return ()

    def paint(self, request: PaintRequest, on_denoise: OnDenoise | None = None) -> Image.Image:
        """Hand out the next picture, reporting every denoising step as a real painter does."""
        for done in range(request.denoising_steps):
            if on_denoise:
                on_denoise(done + 1, request.denoising_steps)
        return self.pictures[request.seed % len(self.pictures)]

    def ask(self, question: Question) -> Reply:
        """Always the same plan, and always the same fault."""
        return Reply(PLAN if question.text.startswith("plan:") else LOOK)


class Cost(NamedTuple):
    """Milliseconds for each step of the record."""

    wall: float
    cpu: float
    """Time of the processor; it differs from the wall's by the waits for the disk."""
    pictures: float
    """What of `cpu` goes into pixels: PNG, pasting back, close-ups. The rest is store and graph."""


def measure(rounds: int = 40, runs: int = 8) -> Cost:
    """The best run, in a store that has been in use: the first creations also make its folders.

    The disk is asked once, at the end of a creation, to have everything for good.
    """
    costs = []
    with tempfile.TemporaryDirectory() as home:
        maker = Instant()
        studio = Studio(maker, maker, home, effort=Effort(draft_steps=4, refine_steps=8))
        for seed in range(runs):
            with _pixels() as spent:
                start, busy = time.perf_counter(), time.process_time()
                creation = studio.paint("a cat on a beach", seed, budget={"rounds": rounds, "stall": 10**6})
                wall, cpu = time.perf_counter() - start, time.process_time() - busy
            costs.append([1000 * seconds / len(creation.steps) for seconds in (wall, cpu, sum(spent))])
    wall, cpu, pictures = min(costs, key=lambda cost: cost[1])
    return Cost(wall, cpu, pictures)


@contextmanager
def _pixels() -> Iterator[list[float]]:
    """Note the processor's seconds that go into pixels meanwhile."""
    spent: list[float] = []

    def timed(work: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            start = time.thread_time()
            try:
                return work(*args, **options)
            finally:
                spent.append(time.thread_time() - start)

        return call

    with ExitStack() as stack:
        for module, name in (
            (objects, "png_from"), (objects, "read_png"), (nodes, "paste_back"), (critic, "contact_sheet"),
        ):  # fmt: skip
            stack.enter_context(patch.object(module, name, timed(getattr(module, name))))
        yield spent


def main() -> None:
    """Entry point."""
    cost = measure()
    print(
        f"store and graph: {cost.cpu - cost.pictures:.2f} ms of processor a step (the limit is 2); "
        f"pixels: {cost.pictures:.2f} ms; wall: {cost.wall:.2f} ms"
    )


if __name__ == "__main__":
    main()
