"""What a step over a real base takes, measured without it: shapes, parameters, arithmetic, memory.

The recipe's own step, loss and gradients, is taken with fake tensors (`torch._subclasses.fake_tensor`), which have
shapes, types and devices and no numbers, over a transformer of the base's true configuration. What does not fit there
would not fit on an accelerator either. Parameters are counted; arithmetic is torch's own count of it; memory is the
largest sum of tensors that live at once.

    python -m brushloop.train process --base flux1-dev --dry-run --set rank=64 --set side=1024 --set batch=2
"""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from brushloop.canvas import ModelRef
from brushloop.errors import InputError
from brushloop.painter.backbone import Backbone
from brushloop.painter.condition import prepare
from brushloop.painter.eighths import shrink
from brushloop.train import editing, process
from brushloop.train.editing import Editing
from brushloop.train.loop import Over, fitted
from brushloop.train.process import Processes

FLUX1_DEV: dict[str, Any] = {
    "in_channels": 64, "num_layers": 19, "num_single_layers": 38, "attention_head_dim": 128, "num_attention_heads": 24,
    "joint_attention_dim": 4096, "pooled_projection_dim": 768, "axes_dims_rope": (16, 56, 56), "guidance_embeds": True,
}  # fmt: skip
BASES: dict[str, dict[str, Any]] = {
    "flux1-dev": FLUX1_DEV, "flux1-schnell": {**FLUX1_DEV, "guidance_embeds": False},
}  # fmt: skip
"""Configurations that are known without a folder, from the model cards of Black Forest Labs."""
WORDS = 512
"""Text tokens that FLUX.1 reads."""
GIB = 2**30


@dataclass(frozen=True)
class Estimate:
    """What was measured of one step."""

    base: int
    """Parameters that stand still."""
    stored: int
    """Their bytes."""
    learned: int
    """Parameters that learn."""
    flops: int
    """Floating-point operations of a step, forward and backward."""
    held: int
    """Bytes of activations and gradients at the most, beside parameters."""

    @property
    def memory(self) -> int:
        """Bytes in all: the base; of what learns, weights, AdamW's two moments and the average in float32.

        Text encoders and autoencoder are not in it.
        """
        return self.stored + 16 * self.learned + self.held

    def told(self, tflops: float) -> str:
        """In one line; `tflops` is what the accelerator really does, in 10¹² operations a second."""
        return (
            f"{self.base / 1e9:.2f} B parameters stand still, {self.learned / 1e6:.1f} M learn; a step is "
            f"{self.flops / 1e12:.1f} TFLOP ({self.flops / tflops / 1e12:.2f} s at {tflops:g} TFLOP/s) and holds "
            f"{self.memory / GIB:.1f} GiB ({self.stored / GIB:.1f} base, {16 * self.learned / GIB:.1f} adapter and "
            f"optimizer, {self.held / GIB:.1f} activations and gradients), without text encoders"
        )


class Outline(Backbone):
    """A base of which only the transformer's configuration is known.

    Args:
        name: one of `BASES`, or a folder with `transformer/config.json`; no weights need to be there.

    Raises:
        InputError: neither.
    """

    def __init__(self, name: str, small: bool = False) -> None:
        from diffusers import FluxTransformer2DModel

        config = Path(name) / "transformer" / "config.json"
        if name not in BASES and not config.is_file():
            raise InputError(f"no base {name!r} to estimate: name {', '.join(BASES)}, or a folder with {config}")
        told = BASES.get(name) or json.loads(config.read_text())
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.bfloat16)
        try:
            transformer = prepare(FluxTransformer2DModel.from_config(told))
        finally:
            torch.set_default_dtype(before)
        if small:
            shrink(transformer)
        self.ref = ModelRef(id=name)
        self._device = transformer.device
        self.pipeline = SimpleNamespace(  # what stands still beside it takes no part
            transformer=transformer, vae=nn.Identity(), text_encoder=nn.Identity(), text_encoder_2=nn.Identity(),
            vae_scale_factor=8, tokenizer_2=SimpleNamespace(model_max_length=WORDS), encode_prompt=self._prompt,
        )  # fmt: skip

    def _prompt(self, texts: str | Sequence[str], *_: Any, max_sequence_length: int) -> tuple[Tensor, Tensor, None]:
        number, config = 1 if isinstance(texts, str) else len(texts), self.transformer.config
        words = torch.zeros(number, max_sequence_length, config.joint_attention_dim, dtype=torch.bfloat16)
        return words, torch.zeros(number, config.pooled_projection_dim, dtype=torch.bfloat16), None

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Every token stands for nothing."""
        return [(0, 0)] * WORDS

    def encode(self, pictures: Sequence[Any]) -> Tensor:
        """As many tokens as the pictures have."""
        size = pictures[0].size
        tokens = (size[0] // self.unit) * (size[1] // self.unit)
        return torch.zeros(len(pictures), tokens, self.transformer.config.in_channels)


class Held(TorchDispatchMode):
    """How many bytes of tensors made inside of it live at once, at the most.

    Args:
        there: modules that are there anyway, whose parameters do not count.
    """

    def __init__(self, *there: nn.Module) -> None:
        super().__init__()
        self.now = self.most = self._cleared = 0
        self._known = {parameter.untyped_storage()._cdata for module in there for parameter in module.parameters()}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if self.now > 1.1 * self._cleared:  # blocks that are computed again leave cycles
            gc.collect()
            self._cleared = self.now
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def estimate(name: str, base: str, settings: Sequence[str] = ()) -> Estimate:
    """One step of `process`, `recraft`, `instruct` or `editor` over a base, with fields of the recipe set.

    Raises:
        InputError: another recipe, no such field of it, or no such base.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    if name not in TASKS:
        raise InputError(f"only steps over a frozen base are estimated ({', '.join(TASKS)}), not those of {name}")
    recipe = fitted(TASKS[name][0], settings)
    counting = FlopCounterMode(display=False, custom_mapping=ATTENTION)
    with torch.device("meta"):
        task = _task(name, Outline(base, recipe.small), recipe)
    with FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv()):
        task.device = torch.device("cpu")
        _pretend(task.transformer, task.module)
        learned = sum(parameter.numel() for parameter in task.module.parameters())
        still = set(task.transformer.parameters()) - set(task.module.parameters())
        gc.collect()
        gc.freeze()  # what is there stays: only what the step leaves is looked through
        try:
            with Held(task.transformer, task.module) as held, counting:
                task.loss(0)[0].backward()
        finally:
            gc.unfreeze()
    numbers, stored = sum(each.numel() for each in still), sum(each.nbytes for each in still)
    return Estimate(numbers, stored, learned, counting.get_total_flops(), held.most)


def _pretend(*modules: nn.Module) -> None:
    """Put fake tensors, which have a device, in the place of parameters without one."""
    known: dict[Tensor, nn.Parameter] = {}
    for module in (part for whole in modules for part in whole.modules()):
        for name, buffer in module._buffers.items():
            if buffer is not None and buffer.is_meta:
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype, device="cpu")
        for name, parameter in module._parameters.items():
            if parameter is not None and parameter.is_meta:
                if parameter not in known:
                    fake = torch.empty(parameter.shape, dtype=parameter.dtype, device="cpu")
                    known[parameter] = nn.Parameter(fake, parameter.requires_grad)
                module._parameters[name] = known[parameter]


def _attention(query: Any, key: Any, value: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))


def _attention_backward(gradient: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_backward_flop_count(gradient, query, key, value))


ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}
"""How to count what torch's own counter does not know."""


TASKS: dict[str, tuple[Over, type[Processes] | type[Editing], str]] = {
    "process": (process.RECIPE, Processes, ""), "recraft": (process.RECRAFT, Processes, "process"),
    "instruct": (editing.INSTRUCT, Editing, ""), "editor": (editing.EDITOR, Editing, "edit"),
}  # fmt: skip
"""Recipes over a frozen base, and for a second stage the name of the first one's adapter."""


def _task(name: str, base: Backbone, recipe: Over) -> Processes | Editing:
    """What takes the step; a second stage stands on what a first one would have left."""
    _, kind, first = TASKS[name]
    task = kind(recipe, base)
    if not first:
        return task
    learned = task.adapter(task.module)
    base.transformer.delete_adapters(first)
    return kind(recipe, base, learned)
