"""The judge: a small detector, independent of painter and critic, that measures pictures and never steers the loop.

A convolutional network (the critic is a transformer) with its own seed and its own division of the data
finds objects, colours and places in a picture of the world that it learned; its weights carry the names. `verdict`
then scores a picture against what a scene asked for, in the manner of GenEval: all named objects, in number, colour
and relation.

Shapes: B batch, G = 16 grid cells a side (8 pixels each).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from brushloop.canvas import Box, Element
from brushloop.errors import WeightsError
from brushloop.supervision.world.nouns import Names, World
from brushloop.supervision.world.scenes import CANVAS, Relation, Scene, holds
from brushloop.supervision.world.worlds import SMALL, current

WEIGHTS = Path(__file__).parent / "judge.safetensors"
"""The detector of the small world."""
GRID = 16


def _block(channels: int) -> nn.Module:
    return _Residual(
        nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )
    )


def _down(inside: int, outside: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inside, outside, 3, 2, 1, bias=False), nn.BatchNorm2d(outside), nn.ReLU())


class _Residual(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.body(x))


class Detector(nn.Module):
    """(B 3 128 128) in -1..1 to a map (B 1+4+names+tones G G) and scene logits (B backgrounds+styles).

    It tells apart the `names` given, those of the current world without.
    """

    def __init__(self, names: Names | None = None) -> None:
        super().__init__()
        self.names = names or current().names
        self.body = nn.Sequential(
            _down(3, 32), _block(32), _down(32, 64), _block(64), _down(64, 128), _block(128), _block(128), _block(128)
        )
        self.cells = nn.Conv2d(128, 1 + 4 + len(self.names.objects) + len(self.names.colors), 1)
        self.scene = nn.Linear(128, len(self.names.backgrounds) + len(self.names.styles))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        features = self.body(pixels)
        return self.cells(features), self.scene(features.mean((2, 3)))


def save(network: nn.Module, path: Path, world: World) -> None:
    """Write weights in bfloat16 with the names that they tell apart, and the world's name and digest."""
    from safetensors.torch import save_file

    state = {k: v.to(torch.bfloat16).contiguous() for k, v in network.state_dict().items() if v.is_floating_point()}
    told = {"world": world.name, "digest": world.digest, "names": json.dumps(asdict(world.names))}
    save_file(state, path, told)


def load(path: Path) -> Detector:
    """A detector with its weights, which tell the names themselves; those that tell none are of the small world.

    Raises:
        WeightsError: the weights are not those of a detector of these names.
    """
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        told, state = file.metadata() or {}, {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
    try:
        kinds = json.loads(told["names"]) if "names" in told else asdict(SMALL.names)
        network = Detector(Names(**{kind: tuple(names) for kind, names in kinds.items()}))
        network.load_state_dict(state)
    except (RuntimeError, ValueError, TypeError, AttributeError) as error:
        why = str(error).splitlines()[-1].strip()
        raise WeightsError(
            f"{path} holds no detector of the world {told.get('world', 'small')!r}, as it says ({why}): train it again"
        ) from error
    return network.eval()


@dataclass(frozen=True)
class Seen:
    """One object that the judge found: colour is the nearest of the named ones, box in percent, scores 0-1."""

    name: str
    color: str
    box: Box
    score: float
    name_score: float


@dataclass(frozen=True)
class Sight:
    """All that the judge saw in one picture."""

    objects: tuple[Seen, ...]
    background: str
    style: str


def own_weights(world: str) -> Path:
    """Where the package keeps the detector of a world, if it has one."""
    return WEIGHTS if world == SMALL.name else WEIGHTS.with_stem(f"{WEIGHTS.stem}-{world}")


def weights_of(world: str) -> Path:
    """The detector that comes with the package for a world; that of the small one where there is none."""
    path = own_weights(world)
    return path if path.is_file() else WEIGHTS


class Judge:
    """Looks at pictures. `Judge()` loads the weights that ship with the package.

    Raises:
        WeightsError: the weights are not those of a detector of the names that they carry.
    """

    def __init__(self, weights: Path = WEIGHTS, threshold: float = 0.5) -> None:
        self.network = load(weights)
        self.names = self.network.names
        self.weights, self.threshold = weights, threshold

    def must_know(self, world: World) -> None:
        """Make sure that everything in a world can be told apart.

        Raises:
            WeightsError: some of it was never learned.
        """
        strange = self.names.lacks(world.names)
        if strange:
            raise WeightsError(
                f"{self.weights} was trained in another world ({self.names}) and does not know {len(strange)} names of "
                f"{world.name!r}, such as {', '.join(strange[:3])}: train it there"
            )

    @torch.no_grad()
    def look(self, pictures: Sequence[Image.Image]) -> list[Sight]:
        """What is in each picture (any size; read at 128 pixels)."""
        arrays = [np.asarray(picture.convert("RGB").resize((CANVAS, CANVAS))) for picture in pictures]
        pixels = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).float() / 127.5 - 1
        cells, scene = self.network(pixels)
        return [_sight(cells[i], scene[i], self.threshold, self.names) for i in range(len(pictures))]


def _sight(cells: Tensor, scene: Tensor, threshold: float, known: Names) -> Sight:
    heat = cells[0].sigmoid()
    peaks = (heat == F.max_pool2d(heat[None, None], 3, 1, 1)[0, 0]) & (heat > threshold)
    found = []
    for row, column in peaks.nonzero().tolist():
        left, top, right, bottom = (cells[1:5, row, column].sigmoid() * 64).tolist()
        x, y = (column + 0.5) * 8, (row + 0.5) * 8
        edges = (x - left, y - top, x + right, y + bottom)
        box = tuple(min(100, max(0, round(edge * 100 / CANVAS))) for edge in edges)
        names, tones = cells[5:, row, column].split([len(known.objects), len(known.colors)])
        best, sure = int(names.argmax()), names.softmax(0)
        tone = known.colors[int(tones.argmax())]
        found.append(Seen(known.objects[best], tone, box, float(heat[row, column]), float(sure[best])))
    kept: list[Seen] = []
    for one in sorted(found, key=lambda seen: -seen.score):
        if all(overlap(one.box, other.box) < 0.5 for other in kept):
            kept.append(one)
    grounds, styles = scene.split([len(known.backgrounds), len(known.styles)])
    return Sight(tuple(kept), known.backgrounds[int(grounds.argmax())], known.styles[int(styles.argmax())])


def overlap(one: Box, two: Box) -> float:
    """Intersection over union of two boxes, 0-1."""
    wide = min(one[2], two[2]) - max(one[0], two[0])
    high = min(one[3], two[3]) - max(one[1], two[1])
    if wide <= 0 or high <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, two)]
    return wide * high / (sum(areas) - wide * high)


@dataclass(frozen=True)
class Score:
    """How a picture answers a scene: each part 0 or 1, and all of them together."""

    objects: bool
    colors: bool
    counts: bool
    relation: bool
    background: bool

    @property
    def correct(self) -> bool:
        """Everything the prompt names of its objects (GenEval's measure; the background is reported apart)."""
        return self.objects and self.colors and self.counts and self.relation


def verdict(sight: Sight, scene: Scene) -> Score:
    """Score what was seen against what the scene asked for."""
    found: list[list[Seen]] = [
        [seen for seen in sight.objects if seen.name == thing.name] for thing in scene.elements[1:]
    ]
    objects = all(found)
    counts = all(len(seen) == thing.count for seen, thing in zip(found, scene.elements[1:], strict=True))
    colors = all(
        thing.color is None or (seen and all(one.color == thing.color for one in seen))
        for seen, thing in zip(found, scene.elements[1:], strict=True)
    )
    relation = scene.relation is None or (objects and _related(scene.relation, found))
    return Score(objects, colors, counts, relation, sight.background == scene.background)


def _related(relation: Relation, found: list[list[Seen]]) -> bool:
    seen = [Element(name="scene", role="background")]
    seen += [Element(name="seen", boxes=tuple(one.box for one in group)) for group in found]
    return holds(relation, seen, gap=2.0)
