"""What a step takes, measured without weights: it is what the same step takes with them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_flux
from torch.utils.flop_counter import FlopCounterMode

from brushloop.painter.adapters.adapter import linears
from brushloop.train import dry, process
from brushloop.train.__main__ import main

FEW = ["batch=2", "rank=4", "side=96"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_flux.folder(tmp_path_factory.mktemp("base"))


@pytest.mark.parametrize("name", list(dry.TASKS))
def test_each_recipe_is_estimated_from_a_configuration_alone(base: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "transformer").mkdir()
    config = json.loads((base / "transformer" / "config.json").read_text())
    (tmp_path / "transformer" / "config.json").write_text(json.dumps(config))
    found = dry.estimate(name, str(tmp_path), FEW)
    assert min(found.learned, found.flops, found.held) > 0
    standing = sum(parameter.numel() for parameter in tiny_flux.transformer().parameters())
    edit = sum(4 * (layer.in_features + layer.out_features) for layer in linears(tiny_flux.transformer()).values())
    if name in ("process", "instruct"):
        assert found.base == standing
    if name == "instruct":
        assert found.learned == edit
    assert "TFLOP/s" in found.told(100.0)


def test_the_arithmetic_is_that_of_the_real_step(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dry, "WORDS", 32)
    task = process.Processes(replace(process.RECIPE, batch=2, rank=4, side=96), base)
    with FlopCounterMode(display=False, custom_mapping=dry.ATTENTION) as counting:
        task.loss(0)[0].backward()
    real = sum(counting.get_flop_counts()["FluxTransformer2DModel"].values())
    assert dry.estimate("process", str(base), FEW).flops == real > 0


def test_computing_blocks_again_takes_more_arithmetic_and_less_memory(base: Path) -> None:
    kept, again = (dry.estimate("process", str(base), [*FEW, f"checkpointing={told}"]) for told in ("false", "true"))
    assert again.flops > 1.2 * kept.flops and again.held < kept.held and again.learned == kept.learned


def test_a_base_in_eight_bits_is_half_as_large(base: Path) -> None:
    whole, small = (dry.estimate("process", str(base), [*FEW, f"small={told}"]) for told in ("false", "true"))
    assert whole.base == small.base and small.stored < 0.62 * whole.stored


def test_the_command_tells_in_one_line_and_what_it_cannot_estimate(
    base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [each for one in FEW for each in ("--set", one)]
    assert main(["instruct", "--dry-run", "--base", str(base), *settings]) == 0
    assert capsys.readouterr().out.count("\n") == 1
    assert main(["painter", "--dry-run"]) == 2 and "not those of painter" in capsys.readouterr().err
    assert main(["process", "--dry-run", "--base", "flux9"]) == 2 and "name flux1-dev" in capsys.readouterr().err
