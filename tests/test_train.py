"""The training loop: a stopped run goes on to the same weights, bad batches do no harm, rates are as told."""

from __future__ import annotations

import gc
import json
import os
import pkgutil
import signal
import subprocess
import sys
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_flux
import torch
from accelerate import debug_launcher
from PIL import Image
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from brushloop.canvas import Element
from brushloop.errors import InputError, Interrupted, ModelError, WeightsError
from brushloop.painter.adapters import files
from brushloop.supervision.world.worlds import LARGE, only
from brushloop.train import machine
from brushloop.train.__main__ import install, main, run
from brushloop.train.loop import Recipe, fit, worn
from brushloop.train.vlm import on_sheet


class Line:
    """Fit y = 2x + 1 from batches that depend on the step alone."""

    def __init__(self, poison: int | None = None) -> None:
        torch.manual_seed(0)
        self.recipe = RECIPE
        self.module: nn.Module = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))
        self.poison = poison

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        x = torch.randn(16, 1, generator=torch.Generator().manual_seed(step))
        loss = (self.module(x) - 2 * x - 1).pow(2).mean()
        return (loss * float("nan") if step == self.poison else loss), {"twice": 2 * loss.item()}


class Failing(Line):
    """From some step on, a batch fails if it is larger than what `enough` says."""

    def __init__(self, at: int, error: BaseException, enough: int = 0) -> None:
        super().__init__()
        self.at, self.error, self.enough = at, error, enough

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        if step >= self.at and self.recipe.batch > self.enough:
            raise self.error
        return super().loss(step)


RECIPE = Recipe(steps=40, batch=16, lr=1e-2, warmup=4, save_every=0.0, log_every=10)


def cut_short(recipe: Recipe, folder: Path) -> None:
    """A run that is killed in mid-step."""
    with pytest.raises(KeyboardInterrupt):
        fit(Failing(23, KeyboardInterrupt()), recipe, folder)


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "came"])
def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path: Path, optimizer: str) -> None:
    recipe = Recipe(**{**vars(RECIPE), "muon": optimizer == "muon", "came": optimizer == "came"})
    whole = fit(Line(), recipe, tmp_path / "whole")
    cut_short(recipe, tmp_path / "cut")
    rest = fit(Line(), recipe, tmp_path / "cut")
    for one, two in zip(whole.parameters(), rest.parameters(), strict=True):
        assert torch.equal(one, two)


def test_a_run_begins_with_what_another_learned(tmp_path: Path) -> None:
    before = fit(Line(), RECIPE, tmp_path / "before")
    begun = replace(RECIPE, steps=1, lr=1e-9, log_every=1, begin=str(tmp_path / "before" / "checkpoint.pt"))
    after = fit(Line(), begun, tmp_path / "after")
    for one, two in zip(before.parameters(), after.parameters(), strict=True):
        assert torch.allclose(one, two, atol=1e-6)
    assert torch.load(tmp_path / "after" / "checkpoint.pt", weights_only=True)["step"] == 1
    (tmp_path / "before" / "checkpoint.pt").unlink()
    again = fit(Line(), replace(begun, steps=2), tmp_path / "after")  # its own checkpoint is what it goes on from
    assert torch.allclose(next(again.parameters()), next(before.parameters()), atol=1e-6)


def test_a_run_cannot_begin_with_another_model_or_with_nothing(tmp_path: Path) -> None:
    fit(Line(), replace(RECIPE, steps=1), tmp_path / "line")

    class Wide(Line):
        def __init__(self) -> None:
            super().__init__()
            self.module = nn.Sequential(nn.Linear(1, 9), nn.Tanh(), nn.Linear(9, 1))

    begun = replace(RECIPE, begin=str(tmp_path / "line" / "checkpoint.pt"))
    with pytest.raises(WeightsError, match=r"of another architecture: 0\.bias is \(8,\) there and \(9,\) here"):
        fit(Wide(), begun, tmp_path / "wide")
    with pytest.raises(WeightsError, match=r"none\.pt is no whole checkpoint"):
        fit(Line(), replace(RECIPE, begin=str(tmp_path / "none.pt")), tmp_path / "new")


def test_it_learns_and_logs(tmp_path: Path) -> None:
    fit(Line(), Recipe(**{**vars(RECIPE), "steps": 300, "lr": 3e-2, "ema": 0.9}), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(10, 301, 10))
    assert lines[-1]["loss"] < 0.05 < lines[0]["loss"]
    assert lines[-1]["twice"] == pytest.approx(2 * lines[-1]["loss"], abs=1e-4)


def test_a_batch_that_is_not_finite_is_skipped_and_told(tmp_path: Path) -> None:
    average = fit(Line(poison=5), RECIPE, tmp_path)
    assert all(parameter.isfinite().all() for parameter in average.parameters())
    assert '"step": 5, "skipped"' in (tmp_path / "log.jsonl").read_text()


def steps(folder: Path) -> int:
    return int(torch.load(folder / "checkpoint.pt", weights_only=True)["step"])


def test_a_budget_of_seconds_ends_with_a_checkpoint(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fit(Line(), RECIPE, tmp_path, seconds=0.0)
    assert steps(tmp_path) == 1
    assert "0 seconds are over after step 1 of 40: the same command goes on" in caplog.text
    with pytest.raises(InputError, match="-1 seconds are no time"):
        fit(Line(), RECIPE, tmp_path, seconds=-1)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()], ids=["gpu", "cpu"])
def test_where_memory_is_short_batches_are_halved_once_and_it_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    task = Failing(7, error, enough=8)
    fit(task, replace(RECIPE, steps=10, log_every=5), tmp_path)
    assert (task.recipe.batch, task.recipe.parts, steps(tmp_path)) == (8, 2, 10)
    assert "batches of 8 instead of 16 from here on, two for each (step 7)" in caplog.text
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [5, 7, 10] and "memory" in lines[1]["said"]
    assert lines[-1]["samples"] == 160, "as many samples as before"
    again = Failing(7, error, enough=8)
    fit(again, replace(RECIPE, steps=20), tmp_path)  # it knows, and asks for no more
    assert again.recipe.batch == 8 and caplog.text.count("memory was short") == 1
    with pytest.raises(InputError, match=r"batches of 8 \(step 20\): give a smaller batch"):  # nor halves them again
        fit(Failing(20, error), replace(RECIPE, steps=30), tmp_path)
    more = Line()
    fit(more, replace(RECIPE, steps=30), tmp_path)
    assert (more.recipe.batch, more.recipe.parts, steps(tmp_path)) == (8, 2, 30)


@pytest.mark.parametrize(("batch", "parts", "given"), [(4, 4, 16), (3, 5, 17), (7, 2, 15)])
def test_the_division_of_a_checkpoint_is_taken_over_if_it_has_the_same_samples_in_more_parts(
    tmp_path: Path, batch: int, parts: int, given: int
) -> None:
    fit(Line(), replace(RECIPE, steps=1, batch=batch, parts=parts), tmp_path)
    task = Line()
    fit(task, replace(RECIPE, steps=2, batch=given), tmp_path)
    assert (task.recipe.batch, task.recipe.parts) == (batch, parts)
    with pytest.raises(WeightsError, match=f"steps of {parts} parts, and the recipe says 1"):
        fit(Line(), replace(RECIPE, steps=3, batch=2 * given), tmp_path)


def test_what_a_step_without_memory_computed_is_gone_before_the_next_try(tmp_path: Path) -> None:
    """Under checkpointing the error is part of a circle, and would keep it."""

    class Checkpointed(Failing):
        before: weakref.ref[Tensor] | None = None

        def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
            assert self.gone()
            hidden = checkpoint(self.module, torch.randn(16, 1), use_reentrant=False)
            self.before = weakref.ref(hidden)
            return checkpoint(super().loss, step, use_reentrant=False)  # type: ignore[no-any-return]

        def show(self) -> dict[str, Image.Image]:
            assert self.gone()
            return {}

        def gone(self) -> bool:
            return self.before is None or self.before() is None

    gc.disable()  # it would find the circle some time
    try:
        with pytest.raises(InputError, match=r"batches of 8 \(step 7\)"):
            fit(Checkpointed(7, torch.OutOfMemoryError("no")), replace(RECIPE, save_every=1e9), tmp_path)
    finally:
        gc.enable()
    assert steps(tmp_path) == 7


def test_where_memory_is_short_for_half_a_batch_too_the_run_ends_with_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"batches of 8 \(step 7\): give a smaller batch") as told:
        fit(Failing(7, torch.OutOfMemoryError("no")), replace(RECIPE, save_every=1e9), tmp_path)
    assert steps(tmp_path) == 7 and str(tmp_path) in str(told.value)


def test_an_accelerator_that_goes_away_ends_the_run_and_leaves_the_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"failed in step 7 .*device lost.*: start the run again"):
        fit(Failing(7, torch.AcceleratorError("device lost")), RECIPE, tmp_path)
    assert steps(tmp_path) == 7
    fit(Line(), RECIPE, tmp_path)
    assert steps(tmp_path) == 40


@pytest.mark.parametrize(
    "where",
    [
        "torch.nn.utils.clip_grad_norm_",
        "torch.optim.AdamW.step",
        "torch.optim.swa_utils.AveragedModel.update_parameters",
        "torch.save",
    ],
)
@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        (
            torch.AcceleratorError("device lost"),
            ModelError,
            r"failed in step [78] \(device lost\): start the run again",
        ),
        (torch.OutOfMemoryError("no"), InputError, r"beside its batches.* \(step [78]\)"),
    ],
)
def test_an_accelerator_may_go_away_or_be_full_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, fault: Exception, kind: type[Exception], said: str
) -> None:
    whole, calls = pkgutil.resolve_name(where), iter(range(1000))

    def fails_once(*given: Any, **named: Any) -> Any:
        if next(calls) == 7:
            raise fault
        return whole(*given, **named)

    monkeypatch.setattr(where, fails_once)
    with pytest.raises(kind, match=said):
        fit(Line(), RECIPE, tmp_path)
    assert steps(tmp_path) == 7 and not (tmp_path / "checkpoint.tmp").exists()
    fit(Line(), RECIPE, tmp_path)
    assert steps(tmp_path) == 40


@pytest.mark.parametrize(
    ("error", "exhausted", "lost"),
    [
        (torch.OutOfMemoryError("no"), True, False),
        (MemoryError(), True, False),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), True, False),
        (torch.AcceleratorError("CUDA error: out of memory"), True, False),
        (torch.AcceleratorError("CUDA error: an illegal memory access was encountered"), False, True),
        (RuntimeError("shapes do not fit"), False, False),
    ],
)
def test_what_an_error_says_of_the_machine(error: RuntimeError, exhausted: bool, lost: bool) -> None:
    assert (machine.exhausted(error), machine.lost(error)) == (exhausted, lost)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_after_its_step_with_a_checkpoint(tmp_path: Path, number: int) -> None:
    class Signalled(Line):
        def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
            if step == 23:
                os.kill(os.getpid(), number)
            return super().loss(step)

    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match="stopped after step 24 of 40: the same command goes on"):
        fit(Signalled(), replace(RECIPE, save_every=1e9), tmp_path / "cut")
    assert steps(tmp_path / "cut") == 24 and signal.getsignal(number) is before
    whole = fit(Line(), RECIPE, tmp_path / "whole")
    rest = fit(Line(), RECIPE, tmp_path / "cut")
    for one, two in zip(whole.parameters(), rest.parameters(), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("times", [1, 2])
def test_a_signal_while_the_last_checkpoint_is_written_is_heard_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    written = os.fsync

    def signalled(file: int) -> None:
        for _ in range(times):
            os.kill(os.getpid(), signal.SIGINT)
        written(file)

    monkeypatch.setattr(os, "fsync", signalled)
    with pytest.raises((Interrupted, KeyboardInterrupt)) as told:
        fit(Line(), replace(RECIPE, save_every=1e9), tmp_path, seconds=0.0)
    assert told.type is (Interrupted if times == 1 else KeyboardInterrupt)
    assert (tmp_path / "checkpoint.pt").exists() == (times == 1)


def fit_until_one_of_several_is_stopped(folder: Path, seconds: float | None) -> None:
    """The second process hears a signal in its sixth step; what became of each is written down."""
    torch.set_num_threads(1)

    class Signalled(Line):
        def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
            if step == 11:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().loss(step)

    try:
        fit(Signalled(), replace(RECIPE, parts=2, save_every=1e9), folder, seconds=seconds)
        told = "returned"
    except Interrupted as error:
        told = str(error)
    (folder / f"told-{torch.distributed.get_rank()}").write_text(told)


@pytest.mark.parametrize("seconds", [None, 900.0])
def test_a_signal_to_one_of_two_processes_ends_both_after_the_same_step(tmp_path: Path, seconds: float | None) -> None:
    debug_launcher(fit_until_one_of_several_is_stopped, (tmp_path, seconds), num_processes=2)
    assert (tmp_path / "told-0").read_text().startswith("stopped after step 6 of 40")
    assert (tmp_path / "told-1").read_text() == "returned" and steps(tmp_path) == 6


class Turning(Line):
    """Batches take turns: each kind teaches a module of its own, under a figure of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.module: Any = nn.ModuleList([nn.Linear(1, 1), nn.Linear(1, 1), nn.Linear(1, 1)])

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        x = torch.randn(16, 1, generator=torch.Generator().manual_seed(step))
        turn = step % 2 if step < 80 else 1  # of two processes each has one kind; later both have the second
        loss = (self.module[turn](x) - 2 * x - 1).pow(2).mean()
        return loss, {f"turn {turn}": loss.item()}


def fit_turning_in_one_of_several(folder: Path) -> None:
    torch.set_num_threads(1)
    fit(Turning(), replace(RECIPE, parts=4, weight_decay=0.1), folder)


def test_processes_may_meet_other_parts_of_a_module_and_other_figures(tmp_path: Path) -> None:
    alone = fit(Turning(), replace(RECIPE, parts=4, weight_decay=0.1), tmp_path / "one").state_dict()
    debug_launcher(fit_turning_in_one_of_several, (tmp_path / "two",), num_processes=2)
    kept = torch.load(tmp_path / "two" / "checkpoint.pt", weights_only=True)["average"]
    for name, value in alone.items():
        torch.testing.assert_close(kept[f"module.{name}"], value, rtol=1e-5, atol=1e-6)
    one, two = ((tmp_path / name / "log.jsonl").read_text().splitlines() for name in ("one", "two"))
    for mine, theirs in zip(map(json.loads, one), map(json.loads, two), strict=True):
        assert mine.keys() == theirs.keys() and "turn 1" in mine
        assert mine["turn 1"] == pytest.approx(theirs["turn 1"], rel=1e-4)


def fit_in_one_of_several(folder: Path) -> None:
    torch.set_num_threads(1)
    average = fit(Line(), Recipe(**{**vars(RECIPE), "parts": 4}), folder)
    torch.save(average.state_dict(), folder / f"average-{torch.distributed.get_rank()}.pt")


def test_two_processes_learn_what_one_learns_from_the_same_batches(tmp_path: Path) -> None:
    recipe = Recipe(**{**vars(RECIPE), "parts": 4})
    alone = fit(Line(), recipe, tmp_path / "one").state_dict()
    (tmp_path / "two").mkdir()
    debug_launcher(fit_in_one_of_several, (tmp_path / "two",), num_processes=2)
    for rank in range(2):
        shared = torch.load(tmp_path / "two" / f"average-{rank}.pt", weights_only=True)
        for name, value in alone.items():
            torch.testing.assert_close(shared[name], value, rtol=1e-5, atol=1e-6)
    logs = [
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    ]
    assert [line["step"] for line in logs[1]] == [10, 20, 30, 40] and logs[1][-1]["samples"] == 40 * 16 * 4
    for one, two in zip(*logs, strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-4) and two["twice"] == pytest.approx(
            one["twice"], rel=1e-4
        )
    kept = torch.load(tmp_path / "two" / "checkpoint.pt", weights_only=True)
    assert kept["step"] == 40
    more = Recipe(**{**vars(recipe), "steps": 50})  # fewer processes than before go on to what one would have made
    for name, value in fit(Line(), more, tmp_path / "two").state_dict().items():
        torch.testing.assert_close(value, fit(Line(), more, tmp_path / "one").state_dict()[name], rtol=1e-5, atol=1e-6)


def test_a_step_of_one_part_is_what_it_was(tmp_path: Path) -> None:
    """The loss of each step as a loop without parts has it, bit for bit."""
    task, losses = Line(), list[float]()
    optimizer = torch.optim.AdamW(task.module.parameters(), betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    for step in range(12):
        optimizer.param_groups[0]["lr"] = RECIPE.rate(step)
        loss, _ = task.loss(step)
        task.module.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(list(task.module.parameters()), RECIPE.clip)
        optimizer.step()
        losses.append(round(loss.item(), 5))
    fit(Line(), Recipe(**{**vars(RECIPE), "log_every": 1, "steps": 40}), tmp_path)
    logged = [json.loads(line)["loss"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert logged[:12] == losses


def test_parts_that_cannot_be_divided_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(InputError, match="3 processes cannot divide the 1 parts"):
        fit(Line(), RECIPE, tmp_path)


def test_a_checkpoint_of_something_else_is_told(tmp_path: Path) -> None:
    fit(Line(), RECIPE, tmp_path)
    with pytest.raises(WeightsError, match="written by AdamW, and the recipe names CAME"):
        fit(Line(), Recipe(**{**vars(RECIPE), "came": True}), tmp_path)
    with pytest.raises(WeightsError, match=r"steps of 1 parts, and the recipe says 4: give parts=1"):
        fit(Line(), Recipe(**{**vars(RECIPE), "parts": 4}), tmp_path)
    wider = Line()
    wider.module = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1))
    with pytest.raises(WeightsError, match=r"another architecture: 0\.bias is \(8,\) there and \(16,\) here"):
        fit(wider, RECIPE, tmp_path)
    whole = (tmp_path / "checkpoint.pt").read_bytes()
    (tmp_path / "checkpoint.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match="no whole checkpoint"):
        fit(Line(), RECIPE, tmp_path)
    with pytest.raises(InputError, match="set muon or came, not both"):
        fit(Line(), Recipe(**{**vars(RECIPE), "muon": True, "came": True}), tmp_path / "other")


def test_a_checkpoint_of_another_world_is_told_but_another_run_may_begin_with_it(tmp_path: Path) -> None:
    fit(Line(), replace(RECIPE, steps=1), tmp_path / "small")
    with only(LARGE):
        with pytest.raises(WeightsError, match=r"learned from another world, .* than 'large' is here"):
            fit(Line(), replace(RECIPE, steps=2), tmp_path / "small")
        fit(Line(), replace(RECIPE, steps=2, begin=str(tmp_path / "small" / "checkpoint.pt")), tmp_path / "large")
    assert steps(tmp_path / "small") == 1 and steps(tmp_path / "large") == 2


def test_figures_not_yet_logged_survive_a_kill(tmp_path: Path) -> None:
    """A line of the log is the mean of its steps, wherever between two lines the run was cut."""
    fit(Line(), RECIPE, tmp_path / "whole")
    cut_short(RECIPE, tmp_path / "cut")
    fit(Line(), RECIPE, tmp_path / "cut")
    logs = [
        [json.loads(line)["loss"] for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("whole", "cut")
    ]
    assert len(logs[0]) == 4 and logs[0] == logs[1]


def test_weights_are_worn_for_a_while() -> None:
    one, two = Line().module, nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))
    own = {key: value.clone() for key, value in one.state_dict().items()}
    with pytest.raises(KeyError), worn(one, two):
        assert all(torch.equal(value, two.state_dict()[key]) for key, value in one.state_dict().items())
        raise KeyError
    assert all(torch.equal(value, own[key]) for key, value in one.state_dict().items())


def test_rates() -> None:
    cosine = Recipe(steps=100, batch=1, lr=1.0, warmup=10, final_lr=0.1)
    assert cosine.rate(0) == pytest.approx(0.1) and cosine.rate(9) == pytest.approx(1.0)
    assert cosine.rate(99) == pytest.approx(0.1, abs=0.01)
    stable = Recipe(steps=100, batch=1, lr=1.0, warmup=10, final_lr=0.1, stable=True)
    assert stable.rate(80) == 1.0 and stable.rate(99) < 0.2


@pytest.mark.skipif(sys.platform != "linux", reason="glibc")
def test_memory_of_a_step_is_what_the_step_before_left() -> None:
    code = """if True:
        import resource, torch
        from brushloop.train.machine import hold_memory
        def faults():
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            for _ in range(4):
                [torch.ones(2**22) for _ in range(8)]  # 128 MiB
            return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
        usual = faults()
        hold_memory()
        faults()
        print(usual, faults())
    """
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert int(told[1]) < 100 < int(told[0])


def test_a_missing_autoencoder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs an autoencoder at"):
        run("painter", tmp_path, None, None, debug=True)
    with pytest.raises(InputError, match="no recipe 'sculptor'"):
        run("sculptor", tmp_path, None, None, debug=True)


def test_installing_brings_the_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brushloop.train.__main__.SHIPPED", tmp_path / "models")
    made = tmp_path / "made"
    made.mkdir()
    (made / "config.json").write_text("{}")
    target = install("vlm", made)
    assert (target / "config.json").is_file() and "license: apache-2.0" in (target / "README.md").read_text()
    monkeypatch.setattr("brushloop.painter.adapters.files.INSTALLED", tmp_path / "adapters")
    target = install("process", files.write(tiny_flux.adapter(("emoji",)), tmp_path / "process.safetensors"))
    assert files.trained() == ("emoji",) and "recraft.safetensors" in (target.parent / "README.md").read_text()


def test_what_is_drawn_is_mapped_onto_the_sheet() -> None:
    cat = Element(name="cat", boxes=((10, 10, 40, 40),))
    far = Element(name="dog", boxes=((60, 60, 90, 90),))
    (shown,) = on_sheet((cat, far), [(5.0, 5.0, 45.0, 45.0)])
    assert (shown.name, shown.boxes) == ("cat", ((6, 6, 44, 44),))


@pytest.mark.parametrize("option", ["--out", "--painter", "--records"])
def test_an_option_that_a_recipe_would_not_hear_is_told(capsys: pytest.CaptureFixture[str], option: str) -> None:
    assert main(["instruct", "--runs", "here", option, "there"]) == InputError.exit_code
    told = capsys.readouterr().err
    assert f"{option} is for supervise and sample: a run of instruct lies at here/instruct" in told
