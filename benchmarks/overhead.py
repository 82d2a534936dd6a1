"""What the loop itself costs: store, checkpoints and graph around models that take no time.

    python -m benchmarks.overhead

The painter hands out pictures and the model replies that were made beforehand. Best of several runs, since
neighbours on the machine only ever add.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence

import numpy as np
from PIL import Image

from brushloop import Plan, Studio
from brushloop.agent.effort import Effort
from brushloop.canvas import Element, ModelRef, PlanStep
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


def measure(rounds: int = 40, runs: int = 5) -> tuple[float, float]:
    """Milliseconds for each step of the record: wall time, and time of the processor.

    They differ by the waits for the disk, which is asked once, at the end, to have everything for good.
    """
    wall, cpu = [], []
    for seed in range(runs):
        with tempfile.TemporaryDirectory() as home:
            maker = Instant()
            studio = Studio(maker, maker, home, effort=Effort(draft_steps=4, refine_steps=8))
            studio.paint("warm up", budget={"rounds": 2})
            start, busy = time.perf_counter(), time.process_time()
            creation = studio.paint("a cat on a beach", seed, budget={"rounds": rounds, "stall": 10**6})
            wall.append(1000 * (time.perf_counter() - start) / len(creation.steps))
            cpu.append(1000 * (time.process_time() - busy) / len(creation.steps))
    return min(wall), min(cpu)


def main() -> None:
    """Entry point."""
    wall, cpu = measure()
    print(f"store and graph: {cpu:.2f} ms of processor and {wall:.2f} ms of wall time a step (the limit is 2)")


if __name__ == "__main__":
    main()
