"""What a step over a real base takes, measured without it: shapes, parameters, arithmetic, memory.

The recipe's own step, loss and gradients, is taken with fake tensors (`torch._subclasses.fake_tensor`), which have
shapes, types and devices and no numbers, over a model of the base's true configuration (`outlines`). What does not fit
there would not fit on an accelerator either. Parameters are counted; arithmetic is torch's own count of it; memory is
the largest sum of tensors that live at once.

    python -m brushloop.train process --base flux1-dev --dry-run --set rank=64 --set side=1024 --set batch=2
    python -m brushloop.train supervise --vlm qwen2.5-vl-7b --dry-run --side 1024 --set rank=64 --set batch=2
"""

from __future__ import annotations

import gc
import math
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from brushloop.errors import InputError
from brushloop.precision import assuming
from brushloop.train import editing, process, supervise
from brushloop.train.editing import Editing
from brushloop.train.loop import Over, Recipe, fitted
from brushloop.train.outlines import Outline, Usual
from brushloop.train.process import Processes

SIDE = 1024
"""Pixels along a side of a picture that a vision-language model reads, where nothing else is said."""
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
    note: str = ", without text encoders"
    """What else is to be said."""

    @property
    def memory(self) -> int:
        """Bytes in all: the base; of what learns, weights, AdamW's two moments and the average in float32.

        A painter's text encoders and autoencoder are not in it.
        """
        return self.stored + 16 * self.learned + self.held

    def told(self, tflops: float) -> str:
        """In one line; `tflops` is what the accelerator really does, in 10¹² operations a second."""
        return (
            f"{self.base / 1e9:.2f} B parameters stand still, {self.learned / 1e6:.1f} M learn; a step is "
            f"{self.flops / 1e12:.1f} TFLOP ({self.flops / tflops / 1e12:.2f} s at {tflops:g} TFLOP/s) and holds "
            f"{self.memory / GIB:.1f} GiB ({self.stored / GIB:.1f} base, {16 * self.learned / GIB:.1f} adapter and "
            f"optimizer, {self.held / GIB:.1f} activations and gradients){self.note}"
        )


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


class Pretence(FakeTensorMode):
    """Fake tensors, but for whole numbers: grids, places and masks are computed truly, for shapes follow from them."""

    def __init__(self) -> None:
        super().__init__(allow_non_fake_inputs=True)

    def dispatch(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """What an operation gives: a true tensor if it was given true ones only, or makes whole numbers of nothing."""
        given = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        if given and not any(isinstance(each, FakeTensor) for each in given):
            return func(*args, **(kwargs or {}))
        if func is torch.ops.aten._local_scalar_dense.default and args[0].is_floating_point():
            return math.nan  # a number that is only told
        if func in PLACES:  # as many as the mask has, which is known
            places = [part for mask in args[1] for part in _places(mask)]
            args = (args[0], places, *args[2:])
        out = super().dispatch(func, types, args, kwargs)
        if given or not isinstance(out, Tensor) or out.is_floating_point():
            return out
        return func(*args, **(kwargs or {}))


PLACES = (torch.ops.aten.index.Tensor, torch.ops.aten.index_put.default, torch.ops.aten.index_put_.default)


def _places(mask: Tensor | None) -> Sequence[Tensor | None]:
    return mask.nonzero(as_tuple=True) if mask is not None and mask.dtype == torch.bool else [mask]


def estimate(
    name: str, base: str, settings: Sequence[str] = (), side: int = SIDE, records: Sequence[str] = ()
) -> Estimate:
    """One step of a recipe of `TASKS` over a base, with fields of the recipe set.

    Args:
        side: of the pictures that a vision-language model reads, pixels; a painter's is a field of its recipe.
        records: folders whose records it learns; by default a few are built.

    Raises:
        InputError: another recipe, no such field of it, or no such base.
    """
    if name not in TASKS:
        raise InputError(f"only steps over a frozen base are estimated ({', '.join(TASKS)}), not those of {name}")
    recipe, build = TASKS[name]
    counting = FlopCounterMode(display=False, custom_mapping=ATTENTION)
    with torch.device("meta"):
        task, whole, note = build(fitted(recipe, settings), base, side, records)
    with Pretence(), assuming(True):
        task.device = torch.device("cpu")
        _pretend(whole, task.module)
        learned = sum(parameter.numel() for parameter in task.module.parameters())
        still = set(whole.parameters()) - set(task.module.parameters())
        gc.collect()
        gc.freeze()  # what is there stays: only what the step leaves is looked through
        try:
            with Held(whole, task.module) as held, counting:
                task.loss(0)[0].backward()
        finally:
            gc.unfreeze()
    numbers, stored = sum(each.numel() for each in still), sum(each.nbytes for each in still)
    return Estimate(numbers, stored, learned, counting.get_total_flops(), held.most, note)


def _pretend(*modules: nn.Module) -> None:
    """Put fake tensors, which have a device, in the place of parameters without one."""
    known: dict[Tensor, nn.Parameter] = {}
    for module in (part for whole in modules for part in whole.modules()):
        for name, buffer in module._buffers.items():
            if buffer is not None and buffer.is_meta:
                module._buffers[name] = torch.zeros(buffer.shape, dtype=buffer.dtype, device="cpu")
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


Task = Processes | Editing | Usual


def _paints(
    kind: type[Processes] | type[Editing], first: str, recipe: Over, base: str, *_: Any
) -> tuple[Task, nn.Module, str]:
    """A task over a painter; a second stage stands on what a first one would have left."""
    outline = Outline(base, recipe.small)
    task = kind(recipe, outline)
    if first:
        learned = task.adapter(task.module)
        outline.transformer.delete_adapters(first)
        task = kind(recipe, outline, learned)
    return task, task.transformer, Estimate.note


def _reads(recipe: supervise.Dense, *base: Any) -> tuple[Task, nn.Module, str]:
    """A task over a vision-language model."""
    task = Usual(recipe, *base)
    return task, task.model, task.told


TASKS: dict[str, tuple[Recipe, Callable[..., tuple[Task, nn.Module, str]]]] = {
    "process": (process.RECIPE, partial(_paints, Processes, "")),
    "recraft": (process.RECRAFT, partial(_paints, Processes, "process")),
    "instruct": (editing.INSTRUCT, partial(_paints, Editing, "")),
    "editor": (editing.EDITOR, partial(_paints, Editing, "edit")),
    "supervise": (supervise.VLM, _reads),
}
"""Recipes over a frozen base: their numbers; and the task over a base, that base, and what else is to be said."""
