"""Checkpoints of a third of the size: what rounding may change, and that a resume stays exact."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from brushloop.train.compact import rounded, shrunk, whole
from brushloop.train.loop import Recipe, fit

RECIPE = Recipe(steps=12, batch=8, lr=1e-2, warmup=2, save_every=0.0, log_every=1, track="", compact=True)


class Wide:
    """Fit a random map, with matrices large enough to be kept in few bytes."""

    def __init__(self, until: int = 10**9) -> None:
        torch.manual_seed(0)
        self.recipe, self.until = RECIPE, until
        blocks = [nn.Linear(96, 96), nn.Tanh(), nn.Linear(96, 96)]
        self.module: nn.Module = nn.ModuleDict({"embed": nn.Linear(48, 96), "blocks": nn.Sequential(*blocks)})

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        if step == self.until:
            raise KeyboardInterrupt
        x = torch.randn(self.recipe.batch, 48, generator=torch.Generator().manual_seed(step))
        made = self.module["blocks"](self.module["embed"](x))  # type: ignore[index]
        return (made - x.repeat(1, 2).roll(1, 1)).pow(2).mean(), {}


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "came"])
def test_a_killed_run_goes_on_to_the_same_weights_and_figures(tmp_path: Path, optimizer: str) -> None:
    recipe = replace(RECIPE, muon=optimizer == "muon", came=optimizer == "came")
    through = fit(Wide(), recipe, tmp_path / "through")
    with pytest.raises(KeyboardInterrupt):
        fit(Wide(until=7), recipe, tmp_path / "killed")
    again = fit(Wide(), recipe, tmp_path / "killed")
    for one, two in zip(through.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, two)
    lines = [
        [line.partition('"loss"')[2] for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("through", "killed")
    ]
    assert len(lines[0]) == 12 and lines[0] == lines[1]


@pytest.mark.parametrize(("muon", "share"), [(True, 0.40), (False, 0.42)])
def test_it_takes_a_third_of_the_bytes_and_learns_as_well(tmp_path: Path, muon: bool, share: float) -> None:
    sizes, losses = [], []
    for compact in (False, True):
        recipe = replace(RECIPE, muon=muon, compact=compact, steps=60, lr=3e-3)
        task, folder = Wide(), tmp_path / str(compact)
        task.module = fit(task, recipe, folder)
        sizes.append((folder / "checkpoint.pt").stat().st_size)
        losses.append(float(sum(task.loss(1000 + step)[0] for step in range(8)).detach()) / 8)
    assert sizes[1] < share * sizes[0]
    assert losses[1] == pytest.approx(losses[0], rel=0.02) and losses[0] < 0.9


def test_rounding_is_to_a_neighbour_and_right_on_the_average() -> None:
    values = torch.randn(4096, generator=torch.Generator().manual_seed(1))
    many = torch.stack([rounded(values, torch.Generator().manual_seed(seed)) for seed in range(200)]).float()
    step = 2.0 ** (values.abs().log2().floor() - 7)
    assert bool(((many - values).abs() < step).all())
    assert ((many.mean(0) - values) / step).abs().max() < 0.2
    exact = values.bfloat16().float()
    assert torch.equal(rounded(exact, torch.Generator()).float(), exact), "what bfloat16 can say is kept"


def state(**given: Any) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(2)
    large, small = torch.randn(70, 130, generator=generator), torch.randn(9, generator=generator)
    moments = {"step": torch.tensor(3.0), "exp_avg": large / 7, "exp_avg_sq": large.square() * 1e-12}
    return {
        "module": {"a": large, "b": small}, "step": 5, "world": "w",
        "average": {"module.a": large * 1.01, "module.b": small, "n_averaged": torch.tensor(4)},
        "optimizers": [{"state": {0: moments, 1: {"step": torch.tensor(3.0), "exp_avg": small}}, "param_groups": []}],
        **given,
    }  # fmt: skip


def test_what_is_small_or_unknown_stays_and_the_rest_is_near() -> None:
    before = state()
    kept = shrunk(before)
    after = whole(kept)
    assert torch.equal(after["module"]["b"], before["module"]["b"]) and after["world"] == "w"
    assert torch.equal(after["average"]["module.b"], before["average"]["module.b"])
    assert torch.equal(after["optimizers"][0]["state"][1]["exp_avg"], before["optimizers"][0]["state"][1]["exp_avg"])
    one, two = (each["optimizers"][0]["state"][0] for each in (before, after))
    torch.testing.assert_close(two["exp_avg_sq"], one["exp_avg_sq"], rtol=2**-7, atol=0.0)
    assert (two["exp_avg"] - one["exp_avg"]).abs().max() <= 1.01 * one["exp_avg"].abs().max() / 254
    torch.testing.assert_close(after["module"]["a"], before["module"]["a"], rtol=2**-7, atol=0.0)
    far = after["average"]["module.a"] - before["average"]["module.a"]
    assert far.abs().max() < 1e-3, "the difference is kept, so the average is nearer than the weights"
    assert whole(before)["average"]["module.a"] is before["average"]["module.a"], "what is whole stays"
    for each in (kept["average"]["module.a"], kept["optimizers"][0]["state"][0]["exp_avg"]):
        assert each["eighths"].dtype is torch.int8


def test_a_run_may_go_on_with_the_other_kind_of_checkpoint(tmp_path: Path) -> None:
    fit(Wide(), replace(RECIPE, steps=4, compact=False), tmp_path)
    size = (tmp_path / "checkpoint.pt").stat().st_size
    fit(Wide(), replace(RECIPE, steps=8), tmp_path)
    assert (tmp_path / "checkpoint.pt").stat().st_size < 0.5 * size
    fit(Wide(), replace(RECIPE, steps=12, compact=False), tmp_path)
    assert (tmp_path / "checkpoint.pt").stat().st_size == pytest.approx(size, rel=0.01)
    begun = replace(RECIPE, steps=1, begin=str(tmp_path / "checkpoint.pt"))
    fit(Wide(), begun, tmp_path / "next")
    fit(Wide(), replace(begun, begin=str(tmp_path / "next" / "checkpoint.pt")), tmp_path / "last")
