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
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, get_type_hints, runtime_checkable

import torch
from torch import Tensor, nn

from brushloop.errors import InputError, Interrupted, ModelError, UnwritableError, WeightsError
from brushloop.supervision.build.recipes import nearest
from brushloop.supervision.world.worlds import current
from brushloop.train import compact, machine
from brushloop.train.muon import Muon
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
    """What a run begins with: another's checkpoint (its averaged weights), or weights like those that ship.

    Optimizer and schedule begin anew. What ships may know another world: of names, those of both are taken over.
    """
    precision: str = "bf16"
    """bf16 (autocast, where the device multiplies in it) or fp32."""
    compact: bool = False
    """Checkpoints of a third of the size (`train.compact`), to be moved."""

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


class Turns:
    """What the steps of a run are about in turn, as a recipe's `turns` says it: `paint window edit`.

    Raises:
        InputError: there is no such turn (the nearest is suggested), or there is none at all.
    """

    def __init__(self, said: str, known: Iterable[str]) -> None:
        self.names, options = tuple(said.split()), ", ".join(known)
        for turn in self.names:
            if turn not in known:
                raise InputError(f"a run of this recipe has no turn {turn!r}{nearest(turn, known)}: {options}")
        if not self.names:
            raise InputError(f"field turns of the recipe names none: give some of {options}")

    def at(self, step: int) -> str:
        """What a step is about."""
        return self.names[step % len(self.names)]

    def share(self, turn: str) -> float:
        """How many of the steps are about that."""
        return self.names.count(turn) / len(self.names)


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
class Beginning(Protocol):
    """A task that can begin with weights like those that ship."""

    def begin(self, path: Path) -> None:
        """Take over what is learned there, a file or a folder.

        Raises:
            WeightsError: there are no weights of this architecture.
        """
        ...


@runtime_checkable
class Naming(Protocol):
    """A task that can say what a step's batch was made of."""

    def names(self, step: int) -> Sequence[str]:
        """Names of what a step learns from (records)."""
        ...


CHECKPOINT = ".pt"
"""What the names of checkpoints end in."""
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
            finite any more; memory does not suffice for half a batch either, or beside the batches.
        ModelError: the accelerator failed; the checkpoint before is whole.
        Interrupted: Ctrl-C or SIGTERM came; the step was finished, and there is a checkpoint of it.
        WeightsError: the checkpoint is damaged, or of another model, optimizer, world or division into parts.
        UnwritableError: the disk is full or forbidden; the checkpoint before is still there.
    """
    if seconds is not None and seconds < 0:
        raise InputError(f"{seconds:g} seconds are no time to train in: give more, or no limit")
    machine.hold_memory()
    run = _Run(task, recipe, folder, on_save)

    def late() -> bool:
        return run.first and seconds is not None and time.monotonic() - run.began > seconds

    with machine.interruptible() as stop, run.watched():

        def over() -> bool:
            return stop.asked or late()

        while run.step < recipe.steps:
            told = run.take(over)
            if told or (run.peers is None and over()):
                break
        run.save()
    if run.board is not None:
        run.board.close()
    if run.step < recipe.steps and run.first:
        said = f"step {run.step} of {recipe.steps}: the same command goes on from there"
        if stop.asked or not late():  # or another process was asked
            raise Interrupted(f"stopped after {said}")
        LOG.warning("%g seconds are over after %s", seconds, said)
    return run.average.module


class _Run:
    """A run: how far it has come, what it learned until then, and where that is kept.

    `step` steps are taken. `sums` and `count` are of the figures since the last line of the log; `astray` counts the
    last steps that taught nothing.
    """

    def __init__(
        self, task: Task, recipe: Recipe, folder: Path, on_save: Callable[[nn.Module, int], None] | None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.task, self.folder, self.on_save = task, folder, on_save
        self.path = folder / f"checkpoint{CHECKPOINT}"
        self.whole = recipe.batch
        """As given: smaller ones were halved, now or before."""
        state = _read(self.path) if self.path.exists() else None
        if state is not None and (finer := _finer(recipe, state)) is not None:  # memory was short then
            recipe = task.recipe = finer
        self.recipe = recipe
        self.peers = _peers(task.module, recipe)
        self.first = self.peers is None or self.peers.is_main_process
        self.parameters = [parameter for parameter in task.module.parameters() if parameter.requires_grad]
        self.optimizers = _optimizers(task.module, recipe)
        self.average = torch.optim.swa_utils.AveragedModel(
            task.module, multi_avg_fn=_follow(recipe.ema), use_buffers=True
        )
        self.step, self.sums, self.count, self.astray = 0, dict[str, float](), 0, 0
        if state is not None:
            self.adopt(state)
        elif recipe.begin:
            _begin(Path(recipe.begin), task, self.optimizers, recipe)
            self.average.module.load_state_dict(task.module.state_dict())
        self.log = _Log(folder, self.step) if self.first else None
        self.board = Board(recipe.track, folder, asdict(recipe), self.step) if self.first else None
        if self.first:
            (folder / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1))
        self.began = self.saved = time.monotonic()

    def adopt(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        _same(self.path, state, self.task.module, self.optimizers, self.recipe)
        self.task.module.load_state_dict(state["module"])
        self.average.load_state_dict(state["average"])
        for optimizer, known in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(known)
        self.step, self.sums, self.count = int(state["step"]), state.get("sums", {}), state.get("count", 0)

    def save(self) -> None:
        """Write a checkpoint, and show what was learned."""
        if not self.first:
            return
        state = {
            "module": self.task.module.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "kinds": [type(optimizer).__name__ for optimizer in self.optimizers],
            "parts": self.recipe.parts,
            "batch": self.recipe.batch,
            "world": current().digest,
            "step": self.step,
            "sums": self.sums,
            "count": self.count,
        }
        if self.recipe.compact:
            state = compact.shrunk(state)
        _write(self.path, state)
        if self.recipe.compact and self.peers is None:  # others would not hear of it: there a resume is near, not exact
            self.adopt(compact.whole(state))
        if isinstance(self.task, Showing):
            with worn(self.task.module, self.average.module):
                shown = self.task.show()
            _hang(self.folder / "pictures", shown, self.step)
            if self.board is not None:
                self.board.pictures(shown, self.step)
        if self.on_save is not None:
            self.on_save(self.average.module, self.step)
        self.saved = time.monotonic()

    def take(self, over: Callable[[], bool]) -> bool:
        """Take a step; returns whether one of several processes says that it is `over`."""
        rate = self.recipe.rate(self.step)
        for group in (group for optimizer in self.optimizers for group in optimizer.param_groups):
            group["lr"] = rate
        value, figures, told = self.learn(over)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.recipe.clip).item()
        if not math.isfinite(value) or not math.isfinite(norm):
            self.skip()
            return told
        self.astray = 0
        for optimizer in self.optimizers:
            optimizer.step()
        self.average.update_parameters(self.task.module)
        self.step += 1
        self.note({"loss": value, "norm": norm, **figures}, rate)
        if time.monotonic() - self.saved > self.recipe.save_every:
            self.save()
        return told

    def learn(self, over: Callable[[], bool]) -> tuple[float, dict[str, float], bool]:
        """What `_learn` returns; where memory is short, with halved batches from here on."""
        while True:
            try:
                return _learn(self.task, self.recipe, self.step, self.peers, over)
            except (RuntimeError, MemoryError) as error:
                if not machine.exhausted(error):
                    raise
                # The failed step's tensors live in the frames of its traceback, which may be part of a circle (under
                # checkpointing it is): without them there is room for a checkpoint's pictures and the next try.
                traceback.clear_frames(error.__traceback__)
                self.halve(error)

    def halve(self, error: Exception) -> None:
        """Go on with batches of half the size and twice as many parts, unless that was done before."""
        if self.peers is not None or self.recipe.batch < max(2, self.whole):
            self.save()
            raise InputError(
                f"memory does not suffice for batches of {self.recipe.batch} (step {self.step}): give a smaller batch "
                f"and as many more parts, or another machine; the checkpoint in {self.folder} is of this step"
            ) from error
        self.recipe = self.task.recipe = _divided(self.recipe, 2 * self.recipe.parts)
        said = f"memory was short: batches of {self.recipe.batch} instead of {self.whole} from here on, two for each"
        LOG.warning("%s (step %d)", said, self.step)
        if self.log is not None:
            self.log.write({"step": self.step, "said": said})

    def skip(self) -> None:
        """Leave a step out whose loss or gradient is not finite."""
        of = _names(self.task, self.recipe, self.step)
        if self.log is not None:
            line = {"step": self.step, "skipped": "loss or gradient is not finite"}
            self.log.write({**line, **({"of": of} if of else {})})
        self.step, self.astray = self.step + 1, self.astray + 1
        if self.astray >= PATIENCE:
            raise InputError(
                f"the loss was not finite in {self.astray} steps in a row, up to step {self.step - 1}"
                f"{' (of ' + ', '.join(of) + ')' if of else ''}: lower lr, or look at those records; "
                f"the weights of the last checkpoint in {self.folder} are whole"
            )

    def note(self, figures: Mapping[str, float], rate: float) -> None:
        """Add up a step's figures; log the means of those since the last line, each `log_every` steps."""
        for key, figure in figures.items():
            self.sums[key] = self.sums.get(key, 0.0) + figure
        self.count += 1
        if self.step % self.recipe.log_every:
            return
        means = {key: round(total / self.count, 5) for key, total in self.sums.items()} | {"lr": rate}
        seen = self.step * self.recipe.batch * self.recipe.parts
        if self.log is not None and self.board is not None:
            seconds = round(time.monotonic() - self.began, 1)
            self.log.write({"step": self.step, "samples": seen, "seconds": seconds, **means})
            self.board.figures(means, self.step)
        self.sums, self.count = {}, 0

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Tell of a machine that fails outside of what `learn` mends.

        What was asked of an accelerator comes late, so that its loss may show anywhere.
        """
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if machine.exhausted(error):
                raise InputError(
                    f"memory does not suffice for what a run keeps beside its batches, such as the optimizer's moments "
                    f"(step {self.step}): train less at once, say with a smaller rank, or take another machine; the "
                    f"last checkpoint in {self.folder}, if there is one, is whole"
                ) from error
            if not machine.lost(error):
                raise
            raise ModelError(
                f"the accelerator failed in step {self.step} ({str(error).splitlines()[0]}): start the run again, "
                f"here or elsewhere; it goes on from the last checkpoint in {self.folder}"
            ) from error


def _divided(recipe: R, parts: int) -> R:
    """The recipe with the samples of a step in that many parts."""
    return replace(recipe, batch=recipe.batch * recipe.parts // parts, parts=parts)


def _finer(recipe: R, state: Mapping[str, Any]) -> R | None:
    """The recipe as a checkpoint divided it, if that has the same samples of a step in more parts."""
    if (parts := state.get("parts", recipe.parts)) <= recipe.parts:
        return None
    finer = _divided(recipe, parts)
    return finer if finer.batch == state.get("batch") else None


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
        return compact.whole(state)
    except Exception as error:
        raise WeightsError(
            f"{path} is no whole checkpoint ({' '.join(str(error).split())[:120]}): remove it to begin again, or copy "
            "it again"
        ) from error


def _begin(path: Path, task: Task, optimizers: Sequence[Any], recipe: Recipe) -> None:
    """Give a task the averaged weights of another run, or weights that ship."""
    if path.suffix != CHECKPOINT and isinstance(task, Beginning):
        return task.begin(path)
    state, module = _read(path), task.module
    learned = {key.removeprefix("module."): value for key, value in state["average"].items() if key != "n_averaged"}
    _same(path, {"module": learned, "optimizers": optimizers}, module, optimizers, recipe)
    module.load_state_dict(learned)


def _same(path: Path, state: Mapping[str, Any], module: nn.Module, optimizers: Sequence[Any], recipe: Recipe) -> None:
    """Raise `WeightsError` unless a checkpoint is of this module, optimizers, division into parts and world."""
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
    if state.get("world", current().digest) != current().digest:
        raise WeightsError(
            f"{path} learned from another world, or another version of it, than {current().name!r} is here: name "
            "the world it began with (--world), or another folder; begin= goes on from its weights all the same"
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
        if machine.lost(error) or (isinstance(error, RuntimeError) and machine.exhausted(error)):
            raise
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
    task: Task, recipe: Recipe, step: int, peers: Accelerator | None, over: Callable[[], bool]
) -> tuple[float, dict[str, float], bool]:
    """Leave the gradient of a step's loss in the parameters.

    Returns:
        The loss and figures of all its parts, averaged; and whether, of several processes, one says that it is `over`:
        all of them learn that in the same step, and none waits for one that left.
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
    told = peers is not None and _shared(task.module, sums, peers, over)
    return sums.pop("loss"), sums, told


def _shared(module: nn.Module, sums: dict[str, float], peers: Accelerator, over: Callable[[], bool]) -> bool:
    """Add up gradients and figures over all processes; whether one says it is `over`.

    A part may leave parameters out (an editor's projector, where nothing is followed) and have figures of its own.
    """
    from accelerate.utils import gather_object

    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    found = gather_object([(over(), dict(sums), [parameter.grad is not None for parameter in parameters])])
    told, figures, known = zip(*found, strict=True)
    met = [parameter for parameter, *some in zip(parameters, *known, strict=True) if any(some)]
    gradients = [torch.zeros_like(each) if each.grad is None else each.grad for each in met]
    total = peers.reduce(torch.cat([gradient.flatten() for gradient in gradients]), reduction="sum")
    for parameter, added in zip(met, total.split([gradient.numel() for gradient in gradients]), strict=True):
        parameter.grad = added.view_as(parameter).clone()
    sums.clear()
    for own in figures:
        for key, figure in own.items():
            sums[key] = sums.get(key, 0.0) + figure
    return any(told)


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
    muon = Muon(matrices, lr=recipe.lr, weight_decay=recipe.weight_decay, momentum=0.95, adjust_lr_fn="match_rms_adamw")
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
