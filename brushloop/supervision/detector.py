"""A detector that labels pictures nobody rendered: what a critic should say of them, and the detector's name."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from brushloop.canvas import ModelRef, Plan
from brushloop.critic.prompt import Look
from brushloop.errors import WeightsError
from brushloop.supervision.judge import WEIGHTS, Judge, Sight
from brushloop.supervision.labels import label
from brushloop.supervision.world.worlds import current


class Detective:
    """Labels by the weights of a detector, the judge's own unless others are named.

    Raises:
        WeightsError: the file is missing or holds something else.
    """

    def __init__(self, weights: Path = WEIGHTS) -> None:
        try:
            digest = hashlib.sha256(weights.read_bytes()).hexdigest()
            self.judge = Judge(weights)
        except OSError as error:
            raise WeightsError(f"cannot read the detector {weights}: {error.strerror}") from error
        except Exception as error:
            raise WeightsError(f"{weights} holds no detector of brushloop.supervision.judge: {error}") from error
        self.ref = ModelRef(id="judge" if weights == WEIGHTS else weights.stem, weights=digest)

    def sight(self, pictures: Sequence[Image.Image]) -> list[Sight]:
        """What is seen in each picture."""
        return self.judge.look(pictures)

    def look(self, picture: Image.Image, plan: Plan, step: int) -> Look:
        """What a critic should say of a picture once plan step `step` is painted."""
        return label(self.sight([picture])[0], plan, step, picture)


def known(plan: Plan) -> bool:
    """Whether a detector can judge a plan: all its things are in the world, and objects have boxes."""
    names = {"background": current().backgrounds, "object": current().by_name}
    return all(
        thing.name in names[thing.role] and (thing.role == "background" or bool(thing.boxes)) for thing in plan.elements
    )
