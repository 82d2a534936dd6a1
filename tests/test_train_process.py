"""The adapters' recipes on a tiny base: batches mix domains, the loss falls, only the adapter moves, and it paints."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_flux
import torch
from PIL import Image

from brushloop.errors import InputError
from brushloop.painter.adapters import files
from brushloop.painter.domains import domain
from brushloop.painter.grids import Layout
from brushloop.painter.process import ProcessPainter
from brushloop.painter.recraft import recraft
from brushloop.supervision.processes import DOMAINS
from brushloop.train import process
from brushloop.train.__main__ import run

DEBUG = replace(process.RECIPE, steps=2, batch=2, warmup=1, log_every=1)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs in which a tiny painter and both adapters have been trained for two steps."""
    where = tmp_path_factory.mktemp("runs")
    tiny_flux.folder(where / "painter" / "painter")
    for name in ("process", "recraft"):
        run(name, where, None, None, debug=True)
    return where


def test_the_debug_recipes_write_adapters_that_paint(runs: Path) -> None:
    made = [files.read(runs / name / f"{name}.safetensors") for name in ("process", "recraft")]
    assert made[0].domains == tuple(DOMAINS) and made[1].domains == ("recraft",)
    assert made[0].cells == process.CELLS and made[0].form == "tokens"
    assert any(up.abs().max() > 0 for up in made[0].up.values())
    painter = ProcessPainter(str(runs / "painter" / "painter"), *made)
    assert painter.paint("a cat", domain("lego"), steps=1).frames[0].size == (48, 48)
    picture = Image.new("RGB", (60, 30), "red")
    assert recraft(painter, picture, domain("emoji"), steps=1).frames[-1] is picture


def test_a_stage_without_the_one_before_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="need a painter at"):
        process.train(tmp_path, tmp_path / "none", None, DEBUG)
    base = tiny_flux.folder(tmp_path / "base")
    with pytest.raises(InputError, match="recraft needs the domains at"):
        process.train(tmp_path, base, tmp_path / "none.safetensors", DEBUG)


def test_batches_mix_domains_and_parts_of_makings() -> None:
    rng = random.Random(0)
    seen = [process.sample(rng, Layout.of("3x3"), 48) for _ in range(8)]
    assert len({name for name, _, _ in seen}) >= 3 and all(domain(name).layout == "3x3" for name, _, _ in seen)
    assert all(len(made.frames) == 9 for _, made, _ in seen)
    assert any(text.endswith("step 1 to 9 of 9") for _, _, text in seen)
    assert any(not text.endswith("of 9") for _, _, text in seen)


def test_the_loss_falls_and_only_the_adapter_learns(runs: Path) -> None:
    task = process.Processes(replace(process.RECIPE, batch=2), runs / "painter" / "painter")
    frozen = {key: value.clone() for key, value in task.transformer.named_parameters() if not value.requires_grad}
    assert frozen and not [key for key in frozen if "lora_" in key]
    optimizer = torch.optim.Adam(task.module.parameters(), 1e-2)

    def measure() -> float:
        torch.manual_seed(0)
        return task.loss(2)[0].item()

    before = measure()
    for _ in range(6):
        torch.manual_seed(0)
        optimizer.zero_grad()
        task.loss(2)[0].backward()
        optimizer.step()
    assert measure() < before * 0.98
    after = dict(task.transformer.named_parameters())
    assert all(torch.equal(value, after[key]) for key, value in frozen.items())


def test_recraft_holds_the_domains_still_and_leaves_given_frames_out(runs: Path) -> None:
    first = files.read(runs / "process" / "process.safetensors")
    task = process.Processes(replace(process.RECRAFT, batch=2), runs / "painter" / "painter", first)
    learned = [key for key, value in task.transformer.named_parameters() if value.requires_grad]
    assert (
        learned and all(".recraft." in key for key in learned) and len(learned) == len(list(task.module.parameters()))
    )
    rng = random.Random(0)
    given = [task.given(rng, 9) for _ in range(40)]
    assert [8] in given and [0] in given and [0, 1, 2, 3] in given
    task.loss(0)[0].backward()
    assert any(value.grad is not None and value.grad.abs().max() > 0 for value in task.module.parameters())


@pytest.mark.parametrize("name", ["process", "recraft"])
def test_blocks_computed_again_in_the_backward_pass_give_the_same_gradients(runs: Path, name: str) -> None:
    """With adapters that mix domains, and, in the second stage, with a condition whose keys and values are kept."""
    first = files.read(runs / "process" / "process.safetensors") if name == "recraft" else None
    found = []
    for again in (False, True):
        recipe = replace(process.RECIPE, batch=2, checkpointing=again, precision="fp32")
        task = process.Processes(recipe, runs / "painter" / "painter", first)
        for parameter in task.module.parameters():
            torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(0))
        assert task.transformer.is_gradient_checkpointing is again
        torch.manual_seed(0)
        loss, _ = task.loss(0)
        loss.backward()
        found.append((loss, [parameter.grad for parameter in task.module.parameters()]))
    assert torch.equal(found[0][0], found[1][0])
    assert any(gradient.abs().max() > 0 for gradient in found[0][1])
    for one, two in zip(*(gradients for _, gradients in found), strict=True):
        torch.testing.assert_close(one, two)


def test_a_larger_base_has_larger_frames_in_whole_tokens() -> None:
    assert (process.cell("2x2", 0, 16), process.cell("3x3", 0, 16)) == (64, 48)
    assert (process.cell("2x2", 1024, 16), process.cell("3x3", 1024, 16)) == (512, 336)


def test_a_base_kept_in_eight_bits_is_half_as_large_and_teaches_nearly_the_same(runs: Path) -> None:
    found = []
    for small in (False, True):
        recipe = replace(process.RECIPE, batch=2, small=small, checkpointing=True, precision="fp32")
        task = process.Processes(recipe, runs / "painter" / "painter")
        for parameter in task.module.parameters():
            assert parameter.dtype == torch.float32 and parameter.requires_grad
            torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(0))
        torch.manual_seed(0)
        loss, _ = task.loss(0)
        loss.backward()
        still = [
            value for key, value in task.transformer.named_parameters() if not value.requires_grad and value.ndim == 2
        ]
        gradient = torch.cat(
            [parameter.grad.flatten() for parameter in task.module.parameters() if parameter.grad is not None]
        )
        found.append((loss.item(), gradient, {value.element_size() for value in still}))
    assert found[0][2] == {4} and found[1][2] == {1}
    assert found[1][0] == pytest.approx(found[0][0], rel=0.02) and found[1][0] != found[0][0]
    assert torch.cosine_similarity(found[0][1], found[1][1], dim=0) > 0.98
