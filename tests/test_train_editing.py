"""Both stages of the editor on a tiny base: honest cases, falling losses, exact resume, and edits."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_flux
import torch

from brushloop.canvas import EditType
from brushloop.edits import DEFINITIONS, STAGE_ONE
from brushloop.errors import InputError
from brushloop.painter.adapters import files
from brushloop.painter.base import PaintRequest
from brushloop.painter.editor.model import read
from brushloop.painter.editor.painter import EditorPainter
from brushloop.supervision.world.cases import WORLD, Case, case
from brushloop.train import editing
from brushloop.train.loop import fit

SIZES = {"rank": 8, "queries": 2, "depth": 1, "heads": 1, "head_dim": 8}
DEBUG = replace(editing.INSTRUCT, steps=4, batch=2, warmup=1, log_every=1, lr=1e-2)
GOLDEN = {"instruct": [1.49893, 1.45908], "editor": [1.33011, 1.22969]}
"""Loss of the first two steps on the tiny base, at seed 0."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_flux.folder(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def runs(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both stages, four steps each."""
    where = tmp_path_factory.mktemp("runs")
    first = editing.train(where / "instruct", base, None, DEBUG)
    editing.train(where / "editor", base, first, DEBUG, sizes=SIZES)
    return where


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("kind", WORLD)
def test_a_case_changes_only_its_regions_and_shows_what_it_needs(kind: EditType) -> None:
    made = case(random.Random(f"3/{kind}"), kind)
    before, after = (np.asarray(each, int) for each in (made.before, made.after))
    changed = np.abs(before - after).sum(-1) > 30
    assert made.kind is kind and made.text and changed.any()
    assert (made.visual is not None) == DEFINITIONS[kind].visual
    for left, top, right, bottom in made.regions:
        rows, columns = (slice(max(0, int(a * 1.28) - 3), int(b * 1.28) + 4) for a, b in ((top, bottom), (left, right)))
        changed[rows, columns] = False
    if made.regions:
        assert not changed.any()
    again = case(random.Random(f"3/{kind}"), kind)
    assert again.after == made.after and again.text == made.text


def test_the_world_says_what_it_cannot_show() -> None:
    assert set(EditType) - set(WORLD) == {
        EditType.MATERIAL, EditType.MATERIAL_TRANSFER, EditType.ACTION, EditType.TEXTUAL
    }  # fmt: skip
    with pytest.raises(KeyError):
        case(random.Random(0), EditType.TEXTUAL)


def test_the_losses_are_the_known_ones(runs: Path) -> None:
    for name, known in GOLDEN.items():
        assert losses(runs / name)[:2] == pytest.approx(known, rel=0.02), name


def test_each_stage_writes_what_the_painter_reads_and_it_edits(base: Path, runs: Path) -> None:
    edit, editor = files.read(runs / "instruct" / "edit.safetensors"), read(runs / "editor" / "editor.safetensors")
    assert edit.domains == ("edit",) and any(up.abs().max() > 0 for up in edit.up.values())
    assert set(editor.config.kinds) == {kind.value for kind in WORLD}
    assert all(bool(layer.gate.detach().any()) for layer in editor.experts), "the gates have opened"
    made = case(random.Random(1), EditType.SKETCH)
    painter = EditorPainter(str(base), editor, edit)
    request = PaintRequest(made.text, 1, (128, 128), made.before, denoising_steps=1)
    general = painter.paint(request)
    assert painter.paint(replace(request, kind=EditType.SKETCH, visual=made.visual)) != general
    assert general != EditorPainter(str(base), editor).paint(request), "the first stage's adapter is laid over"


@pytest.mark.parametrize("stage", ["instruct", "editor"])
def test_the_loss_falls_and_only_its_own_part_learns(base: Path, runs: Path, stage: str) -> None:
    first = files.read(runs / "instruct" / "edit.safetensors") if stage == "editor" else None
    task = editing.Editing(replace(editing.EDITOR, batch=3), base, first, SIZES)
    frozen = {key: value.clone() for key, value in task.transformer.named_parameters() if not value.requires_grad}
    assert (stage == "editor") == (len(frozen) == len(list(task.transformer.parameters())))
    assert set(task.kinds) == set(editing.FIRST if stage == "instruct" else WORLD)
    task.kinds = (EditType.COLOR,) if stage == "instruct" else (EditType.SKETCH, EditType.BOX, EditType.TONE)
    optimizer = torch.optim.Adam(task.module.parameters(), 5e-2)

    def measure() -> float:
        torch.manual_seed(0)
        return task.loss(3)[1]["flow"]

    before = measure()
    for _ in range(10):
        torch.manual_seed(0)
        optimizer.zero_grad()
        task.loss(3)[0].backward()
        optimizer.step()
    assert measure() < before * (0.97 if stage == "instruct" else 0.985)  # the base stands still in the second
    after = dict(task.transformer.named_parameters())
    assert all(torch.equal(value, after[key]) for key, value in frozen.items())
    if task.editor:
        parts = {name.split(".")[0] for name, value in task.editor.named_parameters() if value.grad is not None}
        assert {"projector", "tasks", "router", "experts"} <= parts


@pytest.mark.parametrize("stage", ["instruct", "editor"])
def test_a_killed_run_goes_on_exactly(base: Path, runs: Path, tmp_path: Path, stage: str) -> None:
    first = files.read(runs / "instruct" / "edit.safetensors") if stage == "editor" else None
    for steps in (2, 4):  # the rate depends on the number of steps: the same recipe, stopped by the task
        task = editing.Editing(DEBUG, base, first, SIZES)
        halted = replace(DEBUG, steps=steps)
        fit(task, replace(halted, stable=True, final_lr=1.0), tmp_path / "halved")
    whole = editing.Editing(DEBUG, base, first, SIZES)
    fit(whole, replace(DEBUG, stable=True, final_lr=1.0), tmp_path / "whole")
    for one, two in zip(task.module.state_dict().values(), whole.module.state_dict().values(), strict=True):
        assert torch.equal(one, two)
    assert losses(tmp_path / "halved") == losses(tmp_path / "whole")


def test_a_reference_may_be_named_in_the_text(base: Path, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = editing.Editing(DEBUG, base, files.read(runs / "instruct" / "edit.safetensors"), SIZES)
    monkeypatch.setattr(task, "kinds", [EditType.REFERENCE])
    assert task.editor is not None
    learned = []
    for step in range(4):
        task.module.zero_grad()
        task.loss(step)[0].backward()
        grad = task.editor.indicators.of_picture.grad
        learned.append(grad is not None and bool(grad[1].abs().sum() > 0))
    assert any(learned), "the indicator of picture 1"


def test_a_batch_follows_pictures_or_none_does(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task, kinds = editing.Editing(replace(DEBUG, batch=4), base), []
    assert set(STAGE_ONE) < set(task.kinds)
    units = task.units

    def heard(cases: list[Case], number: int | None) -> tuple[torch.Tensor, torch.Tensor]:
        assert all((each.visual is not None) == (number is not None) for each in cases)
        tokens, ids = units(cases, number)
        assert (-1 in ids[:, 0]) == (number is not None) and tokens.shape[1] == len(ids)
        kinds.append({each.kind for each in cases})
        return tokens, ids

    monkeypatch.setattr(task, "units", heard)
    for step in range(8):
        task.loss(step)
    assert any(some & set(STAGE_ONE) for some in kinds) and any(some - set(STAGE_ONE) for some in kinds)


def test_a_stage_without_the_one_before_is_told(base: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs a painter at"):
        editing.train(tmp_path, tmp_path / "none")
    with pytest.raises(InputError, match="needs the first stage at"):
        editing.train(tmp_path, base, tmp_path / "none.safetensors")


@pytest.mark.parametrize("stage", ["instruct", "editor"])
def test_blocks_computed_again_in_the_backward_pass_give_the_same_gradients(base: Path, runs: Path, stage: str) -> None:
    learned = files.read(runs / "instruct" / "edit.safetensors") if stage == "editor" else None
    found = []
    for again in (False, True):
        recipe = replace(DEBUG, checkpointing=again, precision="fp32")
        task = editing.Editing(recipe, base, learned, SIZES)
        for parameter in task.module.parameters():
            torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(0))
        torch.manual_seed(0)
        loss, _ = task.loss(0)
        loss.backward()
        found.append((loss, [parameter.grad for parameter in task.module.parameters()]))
    assert torch.equal(found[0][0], found[1][0])
    for one, two in zip(*(gradients for _, gradients in found), strict=True):
        assert (one is None) == (two is None)
        if one is not None and two is not None:
            torch.testing.assert_close(one, two)


def test_a_larger_canvas_is_filled(base: Path) -> None:
    task = editing.Editing(replace(DEBUG, side=256), base)
    assert task.encode([case(random.Random(0), EditType.ADD).before]).shape[1] == 256
