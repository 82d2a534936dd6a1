"""The training loop: a stopped run goes on to the same weights, bad batches do no harm, rates are as told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from brushloop.canvas import Element
from brushloop.errors import InputError
from brushloop.train.__main__ import install, run
from brushloop.train.loop import Recipe, fit
from brushloop.train.vlm import on_sheet


class Line:
    """Fit y = 2x + 1 from batches that depend on the step alone."""

    def __init__(self, poison: int | None = None) -> None:
        torch.manual_seed(0)
        self.module: nn.Module = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))
        self.poison = poison

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        x = torch.randn(16, 1, generator=torch.Generator().manual_seed(step))
        loss = (self.module(x) - 2 * x - 1).pow(2).mean()
        return (loss * float("nan") if step == self.poison else loss), {"twice": 2 * loss.item()}


RECIPE = Recipe(steps=40, batch=16, lr=1e-2, warmup=4, save_every=0.0, log_every=10)


@pytest.mark.parametrize("muon", [False, True])
def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path: Path, muon: bool) -> None:
    recipe = Recipe(**{**vars(RECIPE), "muon": muon})
    whole = fit(Line(), recipe, tmp_path / "whole")

    class Killed(Line):
        def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
            if step == 23:
                raise KeyboardInterrupt
            return super().loss(step)

    with pytest.raises(KeyboardInterrupt):
        fit(Killed(), recipe, tmp_path / "cut")
    rest = fit(Line(), recipe, tmp_path / "cut")
    for one, two in zip(whole.parameters(), rest.parameters(), strict=True):
        assert torch.equal(one, two)


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


def test_a_budget_of_seconds_ends_with_a_checkpoint(tmp_path: Path) -> None:
    fit(Line(), RECIPE, tmp_path, seconds=0.0)
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 1


def test_rates() -> None:
    cosine = Recipe(steps=100, batch=1, lr=1.0, warmup=10, final_lr=0.1)
    assert cosine.rate(0) == pytest.approx(0.1) and cosine.rate(9) == pytest.approx(1.0)
    assert cosine.rate(99) == pytest.approx(0.1, abs=0.01)
    stable = Recipe(steps=100, batch=1, lr=1.0, warmup=10, final_lr=0.1, stable=True)
    assert stable.rate(80) == 1.0 and stable.rate(99) < 0.2


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


def test_what_is_drawn_is_mapped_onto_the_sheet() -> None:
    cat = Element(name="cat", boxes=((10, 10, 40, 40),))
    far = Element(name="dog", boxes=((60, 60, 90, 90),))
    (shown,) = on_sheet((cat, far), [(5.0, 5.0, 45.0, 45.0)])
    assert (shown.name, shown.boxes) == ("cat", ((6, 6, 44, 44),))
