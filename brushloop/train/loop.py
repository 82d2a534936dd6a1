"""One training loop for every model: cosine schedule, clipping, EMA, checkpoints, exact resume.

A task is anything with a `module` and a `loss(step)`. The data of a step depends on the step number
alone, so a run that was killed goes on with the same batches and the same loss. A step may have several
parts, each a batch of its own; several processes (`accelerate launch`) divide them among themselves, and
come to the same gradient as one process that works on all of them.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from brushloop.errors import InputError

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True)
class Recipe:
    """The numbers of a run."""

    steps: int
    batch: int
    lr: float
    seed: int = 0
    warmup: int = 200
    ema: float = 0.999
    clip: float = 1.0
    weight_decay: float = 0.01
    final_lr: float = 0.02
    """Learning rate at the end, as a share of `lr` (cosine in between)."""
    save_every: float = 240.0
    """Seconds between checkpoints."""
    log_every: int = 50
    muon: bool = False
    """Orthogonalised updates for matrices: fewer steps for a quarter more time each."""
    stable: bool = False
    """Hold the rate after warm-up and fall to `final_lr` in the last fifth (a run that may be extended)."""
    parts: int = 1
    """Batches of a step, whose gradients are averaged; a multiple of the number of processes."""

    def rate(self, step: int) -> float:
        """Learning rate of a step (0-based)."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        if self.stable:
            done = max(0.0, (done - 0.8) / 0.2)
        return self.lr * (self.final_lr + (1 - self.final_lr) * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


class Task(Protocol):
    """What is trained, and on what."""

    @property
    def module(self) -> nn.Module:
        """What is trained."""
        ...

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """The loss of one step's batch (scalar), and figures to log."""
        ...


def fit(
    task: Task,
    recipe: Recipe,
    folder: Path,
    *,
    on_save: Callable[[nn.Module, int], None] | None = None,
    seconds: float | None = None,
) -> nn.Module:
    """Train until `recipe.steps`, or until `seconds` have passed; return the module with its averaged weights.

    `folder` receives `checkpoint.pt` (module, average, optimizer, step) and `log.jsonl`; a run found there
    is continued. `on_save(average, step)` is called after each checkpoint. Of several processes the first one
    writes, and all return the same weights.

    Raises:
        InputError: the processes cannot divide the parts of a step evenly.
    """
    module = task.module
    peers = _peers(module, recipe)
    first = peers is None or peers.is_main_process
    folder.mkdir(parents=True, exist_ok=True)
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimizers = _optimizers(module, recipe)
    average = torch.optim.swa_utils.AveragedModel(module, multi_avg_fn=_follow(recipe.ema), use_buffers=True)
    start = 0
    kept = folder / "checkpoint.pt"
    if kept.exists():
        state = torch.load(kept, weights_only=True, map_location="cpu")
        module.load_state_dict(state["module"])
        average.load_state_dict(state["average"])
        if len(state["optimizers"]) == len(optimizers):
            for optimizer, known in zip(optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(known)
        start = int(state["step"])
    if first:
        (folder / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1))

    def save(step: int) -> None:
        if not first:
            return
        state = {
            "module": module.state_dict(),
            "average": average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in optimizers],
            "step": step,
        }
        torch.save(state, kept.with_suffix(".tmp"))
        os.replace(kept.with_suffix(".tmp"), kept)
        if on_save is not None:
            on_save(average.module, step)

    began = saved = time.monotonic()
    sums: dict[str, float] = {}
    count = 0
    step = start
    with (folder / "log.jsonl" if first else Path(os.devnull)).open("a") as log:
        while step < recipe.steps:
            rate = recipe.rate(step)
            for group in (group for optimizer in optimizers for group in optimizer.param_groups):
                group["lr"] = rate
            over = seconds is not None and first and time.monotonic() - began > seconds
            value, figures, told = _learn(task, recipe, step, peers, over)
            norm = nn.utils.clip_grad_norm_(parameters, recipe.clip)
            if not math.isfinite(value) or not math.isfinite(norm.item()):
                log.write(json.dumps({"step": step, "skipped": "loss or gradient is not finite"}) + "\n")
                step += 1
                continue
            for optimizer in optimizers:
                optimizer.step()
            average.update_parameters(module)
            step += 1
            for key, figure in {"loss": value, "norm": norm.item(), **figures}.items():
                sums[key] = sums.get(key, 0.0) + figure
            count += 1
            now = time.monotonic()
            if step % recipe.log_every == 0:
                line: dict[str, float] = {
                    "step": step,
                    "samples": step * recipe.batch * recipe.parts,
                    "seconds": round(now - began, 1),
                }
                line |= {key: round(total / count, 5) for key, total in sums.items()} | {"lr": rate}
                log.write(json.dumps(line) + "\n")
                log.flush()
                sums, count = {}, 0
            if now - saved > recipe.save_every:
                save(step)
                saved = time.monotonic()
            if told or (peers is None and seconds is not None and now - began > seconds):
                break
    save(step)
    return average.module


def _peers(module: nn.Module, recipe: Recipe) -> Accelerator | None:
    """The processes that `accelerate launch` started, with the same weights in all of them; None if this is alone."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes < 2:
        return None
    if recipe.parts % processes:
        raise InputError(
            f"{processes} processes cannot divide the {recipe.parts} parts of a step evenly: give a multiple as --parts"
        )
    from accelerate import Accelerator
    from accelerate.utils import broadcast

    device = next(module.parameters()).device
    peers = Accelerator(cpu=device.type == "cpu")
    with torch.no_grad():
        for tensor in module.state_dict().values():
            tensor.copy_(broadcast(tensor.clone()))
    return peers


def _learn(
    task: Task, recipe: Recipe, step: int, peers: Accelerator | None, over: bool
) -> tuple[float, dict[str, float], bool]:
    """Leave the gradient of a step's loss in the parameters.

    Returns:
        The loss and figures of all its parts, averaged; and whether, of several processes, one says time is `over`.
    """
    task.module.zero_grad(set_to_none=True)
    parts = range(recipe.parts) if peers is None else range(peers.process_index, recipe.parts, peers.num_processes)
    sums: dict[str, float] = {}
    for part in parts:
        number = step * recipe.parts + part
        torch.manual_seed(hash((recipe.seed, number)) & 0x7FFFFFFF)
        loss, figures = task.loss(number)
        (loss if recipe.parts == 1 else loss / recipe.parts).backward()
        for key, figure in {"loss": loss.item(), **figures}.items():
            sums[key] = sums.get(key, 0.0) + figure / recipe.parts
    if peers is not None:
        over = _shared(task.module, sums, peers, over)
    return sums.pop("loss"), sums, over and peers is not None


def _shared(module: nn.Module, sums: dict[str, float], peers: Accelerator, over: bool) -> bool:
    """Add up gradients and figures over all processes, each kind in one exchange."""
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    total = peers.reduce(torch.cat([gradient.flatten() for gradient in gradients]), reduction="sum")
    for gradient, added in zip(gradients, total.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(added.view_as(gradient))
    told = torch.tensor([float(over), *(sums[key] for key in sorted(sums))], dtype=torch.float64, device=total.device)
    flag, *added = peers.reduce(told, reduction="sum").tolist()
    sums.update(zip(sorted(sums), added, strict=True))
    return bool(flag)


def _optimizers(module: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """AdamW; or Muon (Jordan et al. 2024) for the matrices inside blocks and AdamW for everything else."""
    matrices: list[Tensor] = []
    rest: list[Tensor] = []
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            inside = parameter.ndim == 2 and ("block" in name or "layer" in name) and "embed" not in name
            (matrices if recipe.muon and inside else rest).append(parameter)
    adam = torch.optim.AdamW(rest, lr=recipe.lr, betas=(0.9, 0.99), weight_decay=recipe.weight_decay, fused=True)
    if not matrices:
        return [adam]
    muon = torch.optim.Muon(
        matrices, lr=recipe.lr, weight_decay=recipe.weight_decay, momentum=0.95, adjust_lr_fn="match_rms_adamw"
    )
    return [adam, muon]


def _follow(decay: float) -> Callable[[Any, Any, Any], None]:
    """An exponential moving average that follows closely at first: decay min(d, (1 + n) / (10 + n))."""

    def update(kept: Any, current: Any, number: Any) -> None:
        n = float(number)
        share = 1 - min(decay, (1 + n) / (10 + n))
        for old, new in zip(kept, current, strict=True):
            if old.is_floating_point():
                old.lerp_(new.to(old.dtype), share)
            else:
                old.copy_(new)

    return torch.no_grad()(update)
