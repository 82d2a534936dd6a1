"""Visual inputs: each shows what it should of a picture whose lines and areas are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from brushloop.errors import InputError, WeightsError
from brushloop.painter.visuals import COMPUTED, KINDS, SEEN, derive, palette


def square(size: tuple[int, int] = (96, 64)) -> Image.Image:
    """A dark red square from (30, 20) to (60, 50) on light blue."""
    picture = Image.new("RGB", size, (190, 210, 240))
    ImageDraw.Draw(picture).rectangle((30, 20, 60, 50), fill=(140, 20, 20))
    return picture


def values(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("L"), float)


@pytest.mark.parametrize("kind", COMPUTED)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "I;16"])
def test_every_picture_has_every_computed_input(kind: str, mode: str) -> None:
    for size in ((96, 64), (1, 1), (2, 300)):
        picture = square(size).convert("L" if mode == "I;16" else mode)
        picture = picture.convert("I").convert("I;16") if mode == "I;16" else picture
        made = derive(kind, picture)
        assert made.size == size and made.mode == "RGB"


@pytest.mark.parametrize(("kind", "ink"), [("edge", 255), ("scribble", 0), ("contour", 0)])
def test_lines_follow_the_edges_and_nothing_else(kind: str, ink: int) -> None:
    lines = values(derive(kind, square())) == ink
    assert lines[35, 26:35].any() and lines[35, 56:65].any() and lines[16:25, 45].any() and lines[46:55, 45].any()
    assert not lines[33:38, 40:50].any() and not lines[:10].any()
    assert 0.005 < lines.mean() < 0.25


def test_a_scribble_has_thicker_strokes_than_edges() -> None:
    big = square().resize((768, 512))
    strokes = values(derive("scribble", big)) == 0
    assert strokes.mean() > 2 * (values(derive("edge", big)) == 255).mean()


def test_a_sketch_is_white_where_nothing_changes() -> None:
    made = values(derive("sketch", square()))
    assert made[5, 5] > 230 and made[35, 45] > 230 and made[20:51, 29:32].min() < 60


def test_a_doodle_has_few_colours_and_a_mosaic_has_tiles() -> None:
    noisy = Image.effect_noise((64, 64), 60).convert("RGB")
    assert len(derive("doodle", noisy).getcolors() or ()) <= 8
    tiles = values(derive("mosaic", noisy))
    assert len({tuple(row) for row in tiles[:4]}) == 1 and len({tuple(row) for row in tiles.T[:4]}) == 1
    assert tiles[:4, :4].mean() != tiles[:4, 4:8].mean()


def test_grey_and_blur() -> None:
    made = np.asarray(derive("grey", square()))
    assert (made[..., 0] == made[..., 1]).all() and made[35, 45, 0] == square().convert("L").getpixel((45, 35))
    assert values(derive("blur", square())).std() < values(square()).std()


def test_wrong_wishes_are_told() -> None:
    with pytest.raises(InputError, match="no visual input 'smell': use edge, sketch"):
        derive("smell", square())
    for kind in SEEN:
        with pytest.raises(InputError, match=f"{kind} is seen by a model"):
            derive(kind, square())
        with pytest.raises(WeightsError, match="no visual input weights at"):
            derive(kind, square(), "nowhere")
    with pytest.raises(InputError, match="edge is computed"):
        derive("edge", square(), "somewhere")
    assert len(set(KINDS)) == len(KINDS) == 11


def folder(where: Path, model: torch.nn.Module, **processor: object) -> str:
    torch.manual_seed(0)
    model.save_pretrained(where)  # type: ignore[operator]
    (where / "preprocessor_config.json").write_text(json.dumps(processor))
    return str(where)


def test_depth_is_seen_by_a_model_of_transformers(tmp_path: Path) -> None:
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

    eye = Dinov2Config(
        hidden_size=12, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, image_size=28, patch_size=14,
        out_features=["stage1", "stage2"], reshape_hidden_states=False,
    )  # fmt: skip
    torch.manual_seed(0)
    model = DepthAnythingForDepthEstimation(
        DepthAnythingConfig(
            backbone_config=eye, patch_size=14, reassemble_hidden_size=12, reassemble_factors=[2, 1],
            neck_hidden_sizes=[8, 8], fusion_hidden_size=8, head_hidden_size=4,
        )
    )  # fmt: skip
    where = folder(tmp_path, model, image_processor_type="DPTImageProcessor", size={"height": 28, "width": 42})
    made = derive("depth", square(), where)
    assert made.size == (96, 64) and values(made).min() == 0 and values(made).max() == 255


def test_areas_are_seen_by_a_model_of_transformers(tmp_path: Path) -> None:
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    torch.manual_seed(0)
    model = SegformerForSemanticSegmentation(
        SegformerConfig(
            num_encoder_blocks=2, depths=[1, 1], sr_ratios=[1, 1], hidden_sizes=[8, 8], num_attention_heads=[1, 1],
            patch_sizes=[3, 3], strides=[2, 2], mlp_ratios=[1, 1], decoder_hidden_size=8, num_labels=5,
        )
    )  # fmt: skip
    where = folder(tmp_path, model, image_processor_type="SegformerImageProcessor", size={"height": 32, "width": 32})
    made = derive("segmentation", square(), where)
    colors = {color for _, color in made.getcolors() or ()}
    assert made.size == (96, 64) and 1 <= len(colors) <= 5
    assert colors <= {tuple(int(each) for each in color) for color in palette(5)}


def test_a_pose_is_seen_by_a_model_of_transformers(tmp_path: Path) -> None:
    from transformers import VitPoseBackboneConfig, VitPoseConfig, VitPoseForPoseEstimation

    eye = VitPoseBackboneConfig(
        image_size=[32, 32], patch_size=[8, 8], hidden_size=12, num_hidden_layers=1, num_attention_heads=2,
        out_features=["stage1"], num_experts=1,
    )  # fmt: skip
    torch.manual_seed(0)
    model = VitPoseForPoseEstimation(VitPoseConfig(backbone_config=eye, num_labels=17, use_simple_decoder=True))
    where = folder(tmp_path, model, image_processor_type="VitPoseImageProcessor", size={"height": 32, "width": 32})
    made = derive("pose", square(), where)
    assert made.size == (96, 64) and values(made).max() > 0
