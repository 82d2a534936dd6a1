"""What a step takes, measured without weights: it is what the same step takes with them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import test_vlm_hf
import tiny_flux
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from brushloop.painter.adapters.adapter import linears
from brushloop.precision import assuming
from brushloop.supervision.build.recipes import recipe as data_recipe
from brushloop.supervision.build.run import build
from brushloop.train import dry, outlines, process
from brushloop.train.__main__ import main
from brushloop.train.course import Course
from brushloop.train.loop import fitted
from brushloop.train.outlines import PENS, Reader, Usual
from brushloop.train.supervise import VLM, Pen
from brushloop.vlm_hf import load_processor

FEW = ["batch=2", "rank=4", "side=96"]


@pytest.fixture(autouse=True)
def in_bf16() -> Iterator[None]:
    """Real steps, too, as on a device that gains by bfloat16: what is estimated is one."""
    with assuming(True):
        yield


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_flux.folder(tmp_path_factory.mktemp("base"))


@pytest.mark.parametrize("name", [name for name in dry.TASKS if name != "supervise"])
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
    monkeypatch.setattr(outlines, "PROMPT", 32)
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


# The vision-language model ---------------------------------------------------------------------------------------

PAGE = ["batch=2", "rank=4"]
SIZES: dict[str, dict[str, Any]] = {
    "text_config": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
                    "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 64},
    "vision_config": {"depth": 4, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 64},
}  # fmt: skip
FAMILIES = {"qwen2.5-vl-7b": {"fullatt_block_indexes": [1, 3]}, "qwen3-vl-8b": {"deepstack_visual_indexes": [1]}}


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    out = tmp_path_factory.mktemp("data") / "mixed"
    build(data_recipe("mixed", ["sequence=0"]), out, 8)
    return [str(out)]


@pytest.fixture(scope="module", params=FAMILIES)
def small(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the configuration of a public model, made small, and nothing else."""
    folder, config = tmp_path_factory.mktemp("pen"), json.loads(json.dumps(PENS[request.param]))
    for part, sizes in SIZES.items():
        config[part] |= sizes
    config["vision_config"] |= FAMILIES[request.param]
    config |= {"image_token_id": 60, "video_token_id": 61, "vision_start_token_id": 62, "vision_end_token_id": 63}
    config["text_config"]["rope_parameters"]["mrope_section"] = [2, 3, 3]
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def taken(pen: Pen) -> tuple[int, int]:
    """Operations and bytes of a step that is truly taken."""
    with dry.Held(pen.model) as held, FlopCounterMode(display=False, custom_mapping=dry.ATTENTION) as counting:
        pen.loss(0)[0].backward()
    return counting.get_total_flops(), held.most


@pytest.mark.parametrize("more", [[], ["checkpointing=true"], ["rank=0"]], ids=["adapter", "again", "whole"])
def test_a_reading_step_takes_what_the_real_one_does(small: Path, records: Sequence[str], more: Sequence[str]) -> None:
    settings = [*PAGE, *more]
    found = dry.estimate("supervise", str(small), settings, 64, records)
    pen = Usual(fitted(VLM, settings), str(small), 64, records)
    flops, held = taken(pen)
    assert found.flops == flops > 0
    assert found.held == pytest.approx(held, rel=0.1)
    assert found.learned == sum(each.numel() for each in pen.module.parameters())
    assert found.base + found.learned == sum(each.numel() for each in pen.model.parameters())
    assert found.note == pen.told and "of the reply" in found.told(100.0)


def test_with_its_tokenizer_a_model_is_met_word_for_word(tmp_path: Path, records: Sequence[str]) -> None:
    test_vlm_hf.qwen2_vl(tmp_path)
    recipe = fitted(VLM, PAGE)
    pen = Pen(recipe, Course([(Path(records[0]), 1.0)]), str(tmp_path))
    pen.draw = Usual(recipe, str(tmp_path), 64, records).draw  # type: ignore[method-assign]
    assert dry.estimate("supervise", str(tmp_path), PAGE, 64, records).flops == taken(pen)[0]


@pytest.mark.parametrize(
    ("name", "number"),
    list(zip(PENS, (3_754_622_976, 8_292_166_656, 4_437_815_808, 8_767_123_696), strict=True)),
)
def test_public_models_have_the_parameters_that_their_cards_say(name: str, number: int) -> None:
    from transformers import AutoConfig, AutoModelForImageTextToText

    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(AutoConfig.for_model(**PENS[name]))
    assert sum(parameter.numel() for parameter in model.parameters()) == number
    assert model.config.image_token_id == 151655


@pytest.mark.parametrize("size", [(20, 20), (100, 40), (129, 300)])
def test_a_reader_makes_as_many_tokens_of_a_picture_as_the_processor(tmp_path: Path, size: tuple[int, int]) -> None:
    from transformers import AutoConfig

    test_vlm_hf.qwen2_vl(tmp_path)
    processor = load_processor(tmp_path)
    processor.image_processor.size = {"shortest_edge": 4 * 16**2, "longest_edge": 16384 * 16**2}  # as Qwen ships it
    reader = Reader(AutoConfig.from_pretrained(tmp_path))
    turn = [{"role": "user", "content": [{"type": "image", "image": Image.new("RGB", size)}]}]
    make = {"tokenize": True, "return_dict": True, "return_tensors": "pt"}
    ours, theirs = reader.apply_chat_template(turn), processor.apply_chat_template(turn, **make)
    assert torch.equal(ours["image_grid_thw"], theirs["image_grid_thw"])
    assert ours["pixel_values"].shape == theirs["pixel_values"].shape
    assert ours["mm_token_type_ids"].sum() == theirs["mm_token_type_ids"].sum() > 0


def test_a_reader_s_tokens_cover_the_text() -> None:
    from transformers import AutoConfig

    reader = Reader(AutoConfig.for_model(**PENS["qwen3-vl-4b"]))
    for text in ("", "a", "a cat", "x" * 999):
        made = reader(text)
        assert len(made["input_ids"]) == len(made["offset_mapping"]) == round(len(text) / outlines.LETTERS)
        parts = [text[start:end] for start, end in made["offset_mapping"]]
        assert "".join(parts) == text or len(text) < 2


def test_the_command_estimates_a_pen_and_tells_what_it_cannot(
    small: Path, records: Sequence[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["supervise", "--dry-run", "--records", records[0], "--side", "64", "--set", "batch=1"]
    assert main([*command, "--vlm", str(small)]) == 0
    assert "tokens of pictures of 64 px" in capsys.readouterr().out
    assert main(["supervise", "--dry-run"]) == 2 and "by --vlm alone" in capsys.readouterr().err
    assert main([*command, "--vlm", "qwen9"]) == 2 and "name qwen2.5-vl-3b" in capsys.readouterr().err
    test_vlm_hf.idefics3(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    assert main([*command, "--vlm", str(tmp_path)]) == 2 and "idefics3" in capsys.readouterr().err
