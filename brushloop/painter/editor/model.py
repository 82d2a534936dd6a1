"""The editor: its parts put together over a base, and as a safetensors file.

The base's weights are never part of it. What was learned over one base fits that base alone.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from brushloop.canvas import EditType
from brushloop.errors import InputError, WeightsError
from brushloop.painter.editor.parts import EXPERTS, TASKS, Experts, Resampler, Router, VisualPrompt
from brushloop.painter.editor.vision import PLACE
from brushloop.painter.units import Indicators
from brushloop.weights import check

HEADER = "brushloop_editor"
"""Where the configuration stands in a file's header."""


@dataclass(frozen=True)
class Config:
    """Sizes of an editor, and what is left out of it for an ablation."""

    features: int
    """Of the frozen image encoder."""
    width: int
    """Of the transformer."""
    channels: int
    """Of a token of the base."""
    text: int
    """Of the text features."""
    layers: int
    """Attention layers of the base."""
    encoder: str = "autoencoder"
    """The image encoder: the base's own autoencoder, or a folder of transformers."""
    rank: int = 64
    queries: int = 16
    depth: int = 4
    heads: int = 12
    head_dim: int = 64
    top: int = 2
    router: bool = True
    """False: all experts alike, whatever the kind (an ablation)."""
    task: bool = True
    """False: one embedding for all kinds (an ablation)."""
    kinds: tuple[str, ...] = ()
    """The kinds of edit it was taught."""

    @classmethod
    def of(cls, transformer: Any, **given: Any) -> Config:
        """For a base; unless named, the encoder is its own autoencoder, whose tokens and places are the features."""
        config = transformer.config
        sizes = {
            "features": config.in_channels + PLACE,
            "width": config.num_attention_heads * config.attention_head_dim,
            "channels": config.in_channels,
            "text": config.joint_attention_dim,
            "layers": config.num_layers + config.num_single_layers,
        }
        return cls(**{**sizes, **given})


class Editor(nn.Module):
    """Projector, task embeddings, router, experts and indicators."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.projector = Resampler(
            config.features, config.width, config.queries, config.depth, config.heads, config.head_dim
        )
        self.tasks = nn.Embedding(len(TASKS), config.width)
        self.router = Router(config.width, config.top)
        self.experts = nn.ModuleList(Experts(config.width, config.width, config.rank) for _ in range(config.layers))
        self.indicators = Indicators(config.channels, config.text)

    def weights(self, kinds: list[EditType | None]) -> tuple[Tensor, Tensor]:
        """Weights of the experts (B E) for these kinds, and the load-balance loss."""
        return self.route(self._tasks(kinds))

    def route(self, task: Tensor) -> tuple[Tensor, Tensor]:
        """The same from task embeddings (B W)."""
        if self.config.router:
            weights, balance = self.router(task)
            return weights, balance
        return task.new_full((len(task), EXPERTS), 1 / EXPERTS), task.new_ones(())

    def prompt(
        self, transformer: Any, kinds: list[EditType | None], features: Tensor | None, words: int
    ) -> tuple[VisualPrompt, Tensor]:
        """The visual prompt of a batch, and the load-balance loss.

        Args:
            transformer: the base.
            kinds: of each sample.
            features: of the visual inputs (B N F); None where there are none, and the visual part is zero.
            words: text tokens of the base's joint sequence.
        """
        task = self._tasks(kinds)
        weights, balance = self.route(task)
        if features is None:
            visual = task.new_zeros(len(task), self.config.queries, self.config.width)
        else:
            visual = self.projector(features)
        tokens = torch.cat([task[:, None], visual], dim=1)
        layers = dict(zip(attentions(transformer), self.experts, strict=True))
        top = self.config.top if self.config.router else EXPERTS
        return VisualPrompt(tokens, weights, layers, words, top), balance

    def fits(self, transformer: Any) -> None:
        """Raise `WeightsError`, naming both sizes, if it was made for another base."""
        here = Config.of(transformer)
        for name in ("width", "layers", "channels", "text"):
            made, has = getattr(self.config, name), getattr(here, name)
            if made != has:
                raise WeightsError(f"the editor is for another base: its {name} is {made}, here it is {has}")

    def _tasks(self, kinds: list[EditType | None]) -> Tensor:
        rows = [TASKS.index(kind.value) if kind and self.config.task else 0 for kind in kinds]
        found: Tensor = self.tasks(torch.tensor(rows, device=self.tasks.weight.device))
        return found


def attentions(transformer: Any) -> list[Any]:
    """Every attention layer of a Flux transformer, in order of use."""
    return [block.attn for block in (*transformer.transformer_blocks, *transformer.single_transformer_blocks)]


def write(editor: Editor, path: Path, average: nn.Module | None = None) -> Path:
    """Write an editor (or an average of it) as safetensors in 16 bits.

    Raises:
        InputError: the name does not end in .safetensors.
        UnwritableError: it cannot be written there.
    """
    from safetensors.torch import save

    from brushloop.files import write_atomically

    if path.suffix != ".safetensors":
        raise InputError(f"cannot write an editor to {path}: let the name end in .safetensors")
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {
        key: value.detach().to(torch.bfloat16).contiguous() for key, value in (average or editor).state_dict().items()
    }
    header = {"format": "pt", HEADER: json.dumps({**asdict(editor.config), "tasks": TASKS}, sort_keys=True)}
    write_atomically(str(path), save(state, header))
    return path


def read(path: str | Path) -> Editor:
    """Read what `write` wrote.

    Raises:
        WeightsError: there is no such file, or it is no editor.
    """
    from safetensors import safe_open

    path = Path(path).expanduser()
    if not path.is_file():
        raise WeightsError(f"there is no editor at {path}: train one (python -m brushloop.train editor)")
    check(path)
    with safe_open(path, "pt") as file:
        header = json.loads((file.metadata() or {}).get(HEADER, "{}"))
        state = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118 (no mapping)
    known = {each.name for each in fields(Config)}
    try:
        order = header.pop("tasks")
        given = {key: value for key, value in header.items() if key in known}
        editor = Editor(Config(**{**given, "kinds": tuple(given["kinds"])}))
        rows = state["tasks.weight"]
        state["tasks.weight"] = editor.tasks.weight.detach().clone()
        for row, name in enumerate(order):  # a kind that was defined later keeps its fresh embedding
            if name in TASKS:
                state["tasks.weight"][TASKS.index(name)] = rows[row]
        editor.load_state_dict(state)
    except (KeyError, TypeError, IndexError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0][:120]
        raise WeightsError(f"{path.name} is no editor ({reason}): name a file that the recipe editor wrote") from error
    return editor.eval()
