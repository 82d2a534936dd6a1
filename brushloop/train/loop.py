"""One training loop for every model: cosine schedule, clipping, EMA, checkpoints, exact resume.

A task is anything with a `module` and a `loss(step)`. The data of a step depends on the step number
alone, so a run that was killed goes on with the same batches and the same loss. A step may have several
parts, each a batch of its own; several processes (`accelerate launch`) divide them among themselves, and
come to the same gradient as one process that works on all of them. Figures go to `log.jsonl` and to the
trackers of `train.track`, and so do the pictures of a task that can show some.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, get_type_hints, runtime_checkable

import torch
from torch import Tensor, nn

from brushloop.errors import InputError, Interrupted, ModelError, UnwritableError, WeightsError
from brushloop.supervision.build.recipes import nearest
from brushloop.supervision.world.worlds import current
from brushloop.train import machine
from brushloop.train.track import Board

if TYPE_CHECKING:
    from accelerate import Accelerator
    from PIL.Image import Image

LOG = logging.getLogger(__name__)


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
    came: bool = False
    """CAME (Luo et al. 2023) instead of AdamW: its memory is that of the weights' rows and columns."""
    parts: int = 1
    """Batches of a step, whose gradients are averaged; a multiple of the number of processes."""
    track: str = "tensorboard"
    """Where figures and pictures go besides the log: names of accelerate's trackers, with commas; empty for none."""
    begin: str = ""
    """Checkpoint of another run, whose averaged weights this one begins with; its optimizer and schedule begin anew."""
    precision: str = "bf16"
    """bf16 (autocast) or fp32."""

    def rate(self, step: int) -> float:
        """Learning rate of a step (0-based)."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        if self.stable:
            done = max(0.0, (done - 0.8) / 0.2)
        return self.lr * (self.final_lr + (1 - self.final_lr) * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


@dataclass(frozen=True)
class Over(Recipe):
    """The numbers of a run over a base that stands still."""

    rank: int = 16
    """Of the adapter, or of the editor's experts."""
    side: int = 0
    """Pixels along a side of a canvas, or of a grid of frames; 0 means what the embedded base paints."""
    checkpointing: bool = False
    """Compute blocks again in the backward pass: a third more arithmetic, a fraction of the memory."""
    small: bool = False
    """Keep the base's weights in 8 bits."""


R = TypeVar("R", bound=Recipe)


def fitted(recipe: R, settings: Sequence[str]) -> R:
    """The recipe with fields set as `field=value`.

    Raises:
        InputError: there is no such field (the nearest is suggested), or it does not take that value.
    """
    kinds = get_type_hints(type(recipe))
    known = [field.name for field in fields(recipe)]
    changed: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise InputError(f"{setting!r} sets nothing: write field=value")
        if name not in known:
            raise InputError(f"a training recipe has no field {name!r}{nearest(name, known)}: {', '.join(known)}")
        try:
            changed[name] = _value(kinds[name], text)
        except (ValueError, KeyError):
            raise InputError(f"field {name} of the recipe takes {kinds[name].__name__}, not {text!r}") from None
    recipe = replace(recipe, **changed)
    for name, least in {"steps": 1, "batch": 1, "parts": 1, "lr": 0.0, "clip": 0.0}.items():
        if getattr(recipe, name) < least:
            raise InputError(f"field {name} of the recipe is {getattr(recipe, name)}: give {least} or more")
    return recipe


def _value(kind: type, text: str) -> Any:
    return {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)


class Task(Protocol):
    """What is trained, and on what."""

    recipe: Any
    """The numbers of the run, a `Recipe`. Where memory does not suffice, `fit` sets one of smaller batches."""

    @property
    def module(self) -> nn.Module:
        """What is trained."""
        ...

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """The loss of one step's batch (scalar), and figures to log."""
        ...


@runtime_checkable
class Showing(Protocol):
    """A task that can show what it has learned so far."""

    def show(self) -> Mapping[str, Image]:
        """Pictures by name, made with the weights as they are now; the same names every time."""
        ...


@runtime_checkable
class Naming(Protocol):
    """A task that can say what a step's batch was made of."""

    def names(self, step: int) -> Sequence[str]:
        """Names of what a step learns from (records)."""
        ...


PATIENCE = 20
"""Steps in a row without a finite loss after which a run is given up: it would learn nothing more."""


def fit(
    task: Task,
    recipe: Recipe,
    folder: Path,
    *,
    on_save: Callable[[nn.Module, int], None] | None = None,
    seconds: float | None = None,
) -> nn.Module:
    """Train until `recipe.steps`, or until `seconds` have passed; return the module with its averaged weights.

    `folder` receives `checkpoint.pt` (module, average, optimizer, step, figures not yet logged), `log.jsonl` and
    `pictures/`; a run found there is continued, from the last checkpoint on. `on_save(average, step)` is called after
    each checkpoint. Of several processes the first one writes, and all return the same weights. How many they are may
    change from one time to the next: a step has the same parts. Where one process runs out of memory, batches are
    halved, once, and there are twice as many parts.

    Raises:
        InputError: `seconds` is negative; the processes cannot divide the parts of a step evenly; the loss is not
            finite any more; memory does not suffice for half a batch either.
        ModelError: the accelerator failed; the checkpoint before is whole.
        Interrupted: Ctrl-C or SIGTERM came; the step was finished, and there is a checkpoint of it.
        WeightsError: the checkpoint is damaged, or of another model, optimizer, world or division into parts.
        UnwritableError: the disk is full or forbidden; the checkpoint before is still there.
    """
    if seconds is not None and seconds < 0:
        raise InputError(f"{seconds:g} seconds are no time to train in: give more, or no limit")
    module = task.module
    peers = _peers(module, recipe)
    first = peers is None or peers.is_main_process
    folder.mkdir(parents=True, exist_ok=True)
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimizers = _optimizers(module, recipe)
    average = torch.optim.swa_utils.AveragedModel(module, multi_avg_fn=_follow(recipe.ema), use_buffers=True)
    start, sums, count = 0, dict[str, float](), 0
    kept = folder / "checkpoint.pt"
    if kept.exists():
        state = _read(kept)
        if state.get("parts") == 2 * recipe.parts and state.get("batch") == recipe.batch // 2:  # memory was short then
            recipe = task.recipe = halved(recipe)
        _same(kept, state, module, optimizers, recipe)
        if state.get("world", current().digest) != current().digest:
            raise WeightsError(
                f"{kept} learned from another world, or another version of it, than {current().name!r} is here: name "
                "the world it began with (--world), or another folder; begin= goes on from its weights all the same"
            )
        module.load_state_dict(state["module"])
        average.load_state_dict(state["average"])
        for optimizer, known in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(known)
        start, sums, count = int(state["step"]), state.get("sums", {}), state.get("count", 0)
    elif recipe.begin:
        _begin(Path(recipe.begin), module, optimizers, recipe)
        average.module.load_state_dict(module.state_dict())
    log = _Log(folder, start) if first else None
    board = Board(recipe.track, folder, asdict(recipe), start) if first else None
    if first:
        (folder / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1))

    def save(step: int) -> None:
        if not first:
            return
        state = {
            "module": module.state_dict(),
            "average": average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in optimizers],
            "kinds": [type(optimizer).__name__ for optimizer in optimizers],
            "parts": recipe.parts,
            "batch": recipe.batch,
            "world": current().digest,
            "step": step,
            "sums": sums,
            "count": count,
        }
        _write(kept, state)
        if isinstance(task, Showing):
            with worn(module, average.module):
                shown = task.show()
            _hang(folder / "pictures", shown, step)
            if board is not None:
                board.pictures(shown, step)
        if on_save is not None:
            on_save(average.module, step)

    with machine.interruptible() as stop:
        began = saved = time.monotonic()
        step, astray, whole = start, 0, recipe.batch
        while step < recipe.steps and not stop.asked:
            rate = recipe.rate(step)
            for group in (group for optimizer in optimizers for group in optimizer.param_groups):
                group["lr"] = rate
            over = first and (stop.asked or (seconds is not None and time.monotonic() - began > seconds))
            try:
                value, figures, told = _learn(task, recipe, step, peers, over)
            except (RuntimeError, MemoryError) as error:
                failure = machine.failure(error)
                if failure is None:
                    raise
                if failure == "lost":
                    raise ModelError(
                        f"the accelerator failed in step {step} ({str(error).splitlines()[0]}): start the run again, "
                        f"here or elsewhere; it goes on from the last checkpoint in {folder}"
                    ) from error
                if peers is not None or recipe.batch < 2 or recipe.batch < whole:
                    save(step)
                    raise InputError(
                        f"memory does not suffice for batches of {recipe.batch} (step {step}): give a smaller batch "
                        f"and as many more parts, or another machine; the checkpoint in {folder} is of this step"
                    ) from error
            else:
                failure = None
            if failure:
                recipe = task.recipe = halved(recipe)
                machine.tidy()
                said = f"memory was short: batches of {recipe.batch} instead of {whole} from here on, two for each"
                LOG.warning("%s (step %d)", said, step)
                if log is not None:
                    log.write({"step": step, "said": said})
                continue
            norm = nn.utils.clip_grad_norm_(parameters, recipe.clip)
            if not math.isfinite(value) or not math.isfinite(norm.item()):
                of = _names(task, recipe, step)
                if log is not None:
                    log.write({"step": step, "skipped": "loss or gradient is not finite", **({"of": of} if of else {})})
                step, astray = step + 1, astray + 1
                if astray >= PATIENCE:
                    raise InputError(
                        f"the loss was not finite in {astray} steps in a row, up to step {step - 1}"
                        f"{' (of ' + ', '.join(of) + ')' if of else ''}: lower lr, or look at those records; "
                        f"the weights of the last checkpoint in {folder} are whole"
                    )
                continue
            astray = 0
            for optimizer in optimizers:
                optimizer.step()
            average.update_parameters(module)
            step += 1
            for key, figure in {"loss": value, "norm": norm.item(), **figures}.items():
                sums[key] = sums.get(key, 0.0) + figure
            count += 1
            now = time.monotonic()
            if step % recipe.log_every == 0:
                means = {key: round(total / count, 5) for key, total in sums.items()} | {"lr": rate}
                samples = {"samples": step * recipe.batch * recipe.parts, "seconds": round(now - began, 1)}
                if log is not None and board is not None:
                    log.write({"step": step, **samples, **means})
                    board.figures(means, step)
                sums, count = {}, 0
            if now - saved > recipe.save_every:
                save(step)
                saved = time.monotonic()
            if told or (peers is None and seconds is not None and now - began > seconds):
                break
    save(step)
    if board is not None:
        board.close()
    if step < recipe.steps and first:
        said = f"step {step} of {recipe.steps}: the same command goes on from there"
        if stop.asked:
            raise Interrupted(f"stopped after {said}")
        LOG.warning("%g seconds are over after %s", seconds, said)
    return average.module


def halved(recipe: R) -> R:
    """The recipe with batches of half the size, and twice as many in a step."""
    return replace(recipe, batch=recipe.batch // 2, parts=2 * recipe.parts)


@contextmanager
def worn(module: nn.Module, weights: nn.Module) -> Iterator[None]:
    """Let a module have the weights of another of its kind for a while."""
    own = {key: value.clone() for key, value in module.state_dict().items()}
    module.load_state_dict(weights.state_dict())
    try:
        yield
    finally:
        module.load_state_dict(own)


class _Log:
    """`log.jsonl`. Lines behind the checkpoint that a run goes on from are cut off: they come again."""

    def __init__(self, folder: Path, start: int) -> None:
        self.path = folder / "log.jsonl"
        if self.path.exists():
            kept = []
            for line in self.path.read_text().splitlines():
                try:
                    told = json.loads(line)
                except ValueError:  # torn by a kill
                    continue
                if told["step"] <= start - ("skipped" in told or "said" in told):
                    kept.append(line + "\n")
            self.path.write_text("".join(kept))

    def write(self, line: Mapping[str, Any]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")


def _names(task: Task, recipe: Recipe, step: int) -> list[str]:
    """What the parts of a step were made of, if the task can tell: each once, eight at most."""
    if not isinstance(task, Naming):
        return []
    found = [name for part in range(recipe.parts) for name in task.names(step * recipe.parts + part)]
    return list(dict.fromkeys(found))[:8]


def _read(path: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
        if lacking := {"module", "average", "optimizers", "step"} - state.keys():
            raise ValueError(f"it lacks {', '.join(sorted(lacking))}")
        return state
    except Exception as error:
        raise WeightsError(
            f"{path} is no whole checkpoint ({' '.join(str(error).split())[:120]}): remove it to begin again, or copy "
            "it again"
        ) from error


def _begin(path: Path, module: nn.Module, optimizers: Sequence[Any], recipe: Recipe) -> None:
    """Give a module the averaged weights of another run."""
    state = _read(path)
    learned = {key.removeprefix("module."): value for key, value in state["average"].items() if key != "n_averaged"}
    _same(path, {"module": learned, "optimizers": optimizers}, module, optimizers, recipe)
    module.load_state_dict(learned)


def _same(path: Path, state: Mapping[str, Any], module: nn.Module, optimizers: Sequence[Any], recipe: Recipe) -> None:
    """Raise `WeightsError` unless a checkpoint is of this module, these optimizers and this division into parts."""
    theirs, ours = state["module"], module.state_dict()
    for name in sorted(theirs.keys() | ours.keys()):
        sizes = [tuple(found[name].shape) if name in found else "none" for found in (theirs, ours)]
        if sizes[0] != sizes[1]:
            raise WeightsError(
                f"{path} is of another architecture: {name} is {sizes[0]} there and {sizes[1]} here; name another "
                "folder for this run, or train what was begun there"
            )
    kinds = [type(optimizer).__name__ for optimizer in optimizers]
    if (began := state.get("kinds", kinds)) != kinds or len(state["optimizers"]) != len(kinds):
        raise WeightsError(
            f"{path} was written by {' and '.join(began)}, and the recipe names {' and '.join(kinds)}: give the same "
            "optimizer, or another folder"
        )
    if (parts := state.get("parts", recipe.parts)) != recipe.parts:
        raise WeightsError(
            f"{path} has steps of {parts} parts, and the recipe says {recipe.parts}: give parts={parts}, whatever the "
            "number of processes"
        )


def _write(path: Path, state: Mapping[str, Any]) -> None:
    """Replace the checkpoint as a whole, or leave it as it was."""
    fresh = path.with_suffix(".tmp")
    try:
        with fresh.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except (OSError, RuntimeError) as error:
        fresh.unlink(missing_ok=True)
        reason = error.strerror if isinstance(error, OSError) else str(error).splitlines()[0]
        raise UnwritableError(
            f"cannot write {path} ({reason}): free some space and start again; the checkpoint before is kept"
        ) from error


def _hang(folder: Path, pictures: Mapping[str, Image], step: int) -> None:
    folder.mkdir(exist_ok=True)
    for name, picture in pictures.items():
        picture.save(folder / f"{step:06d}-{name}.png")


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
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import broadcast

    if PartialState._shared_state and PartialState().num_processes != processes:  # forked from one that was alone
        AcceleratorState._reset_state(reset_partial_state=True)
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
    """AdamW; or CAME; or Muon (Jordan et al. 2024) for the matrices inside blocks and AdamW for everything else."""
    matrices: list[Tensor] = []
    rest: list[Tensor] = []
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            inside = parameter.ndim == 2 and ("block" in name or "layer" in name) and "embed" not in name
            (matrices if recipe.muon and inside else rest).append(parameter)
    if recipe.came:
        if recipe.muon:
            raise InputError("a recipe has one optimizer: set muon or came, not both")
        from pytorch_optimizer import CAME

        return [CAME(rest, lr=recipe.lr, weight_decay=recipe.weight_decay, weight_decouple=True)]
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
