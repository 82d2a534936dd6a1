"""The painter's mechanisms on a random tiny transformer: conditions are exact, windows are local, seeds hold."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from PIL import Image

from brushloop.errors import SizeError, WeightsError
from brushloop.painter.base import PaintRequest
from brushloop.painter.condition import attend, encode_condition, join, positions, prepare, velocity
from brushloop.painter.flux import FluxPainter
from brushloop.painter.tokens import SIDE, Window, mask, pack, to_picture, to_pixels, unpack
from brushloop.precision import assuming


def tiny() -> FluxTransformer2DModel:
    torch.manual_seed(0)
    return FluxTransformer2DModel(
        in_channels=16, num_layers=2, num_single_layers=2, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, pooled_projection_dim=24, axes_dims_rope=(4, 4, 8),
    ).eval()  # fmt: skip


def inputs(batch: int = 2, tokens: int = 16) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {
        "noisy": torch.randn(batch, tokens, 16),
        "timestep": torch.tensor([0.7] * batch),
        "words": torch.randn(batch, 5, 32),
        "pooled": torch.randn(batch, 24),
        "ids": positions(4, 4),
    }


def test_without_a_condition_the_transformer_computes_what_it_did_before() -> None:
    model, given = tiny(), inputs()
    plain = model(
        hidden_states=given["noisy"], encoder_hidden_states=given["words"], pooled_projections=given["pooled"],
        timestep=given["timestep"], img_ids=given["ids"], txt_ids=torch.zeros(5, 3), return_dict=False,
    )[0]  # fmt: skip
    assert torch.equal(velocity(prepare(model), **given), plain) or torch.allclose(
        velocity(model, **given), plain, atol=1e-6
    )


def test_the_cached_condition_is_exact_and_is_read() -> None:
    model, given = prepare(tiny()), inputs()
    with torch.no_grad():
        canvas = torch.randn(2, 16, 16)
        one = encode_condition(model, canvas, positions(4, 4, 1))
        two = encode_condition(model, canvas, positions(4, 4, 1))
        first = velocity(model, **given, condition=one)
        again = velocity(model, **given, condition=one)
        fresh = velocity(model, **given, condition=two)
        other = velocity(model, **given, condition=encode_condition(model, canvas + 1, positions(4, 4, 1)))
    assert len(one.layers) == 4
    assert torch.equal(first, again) and torch.equal(first, fresh)
    assert not torch.allclose(first, other, atol=1e-3)


def test_one_condition_serves_every_guidance_branch() -> None:
    model, given = prepare(tiny()), inputs(batch=2)
    with torch.no_grad():
        canvas = torch.randn(1, 16, 16)
        shared = velocity(model, **given, condition=encode_condition(model, canvas, positions(4, 4, 1)))
        repeated = velocity(model, **given, condition=encode_condition(model, canvas, positions(4, 4, 1)).repeat(2))
    assert torch.allclose(shared, repeated, atol=1e-6)


def test_tokens_and_pixels_go_there_and_back() -> None:
    latents = torch.randn(2, 16, 16, 16)
    assert torch.equal(unpack(pack(latents), 16, 16), latents)
    picture = Image.effect_noise((32, 16), 80).convert("RGB")
    assert to_picture(to_pixels(picture)).tobytes() == picture.tobytes()


def test_a_window_holds_its_regions() -> None:
    rng = random.Random(0)
    for _ in range(300):
        width, height = rng.randint(8, 45), rng.randint(8, 45)
        left, top = rng.randint(0, 100 - width), rng.randint(0, 100 - height)
        box = (left, top, left + width, top + height)
        window = Window.around((box,))
        assert window.holds((box,))
        assert len(window.index()) == window.side**2 and int(window.index().max()) < SIDE**2
    assert Window.around(()).side == SIDE
    assert Window.around(((0, 0, 20, 20), (80, 80, 100, 100))).side == SIDE


def test_a_mask_tells_where_and_in_which_order() -> None:
    cells = mask(((0, 0, 50, 100), (75, 0, 100, 50))).view(SIDE, SIDE, 8, 8)
    assert (cells[:, :4] == 1).all() and (cells[:, 4:6] == -1).all()
    assert (cells[:4, 6:] == 0.75).all() and (cells[4:, 6:] == -1).all()
    assert (mask(()) == -1).all()
    assert (mask(((0, 0, 1, 1),)) == 1).sum() == 1  # however small, it is somewhere


def test_a_condition_is_a_canvas_and_its_mask() -> None:
    index = Window(2, 1, 5).index()
    canvas, masks = torch.randn(1, 64, 64), mask(((0, 0, 50, 50),))[None]
    tokens, ids = join(canvas, masks, index)
    assert tokens.shape == (1, 50, 64) and ids.shape == (50, 3)
    assert torch.equal(tokens[:, :25], canvas[:, index]) and set(ids[:, 0].tolist()) == {1, 2}
    assert torch.equal(ids[:25, 1:], ids[25:, 1:]) and torch.equal(ids[:25, 1:], positions(8, 8)[index][:, 1:])
    assert join(None, masks, index)[0].shape == (1, 25, 64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A painter folder as the recipe writes it, after two steps on two pictures."""
    from brushloop.train.__main__ import run

    runs = tmp_path_factory.mktemp("runs")
    run("autoencoder", runs, None, None, debug=True)
    return run("painter", runs, None, None, debug=True)


def test_the_folder_is_one_that_diffusers_loads(folder: Path) -> None:
    from diffusers import FluxPipeline

    pipe = FluxPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    out = pipe(
        "a red apple", height=128, width=128, num_inference_steps=2, max_sequence_length=32, output_type="pil",
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert out.images[0].size == (128, 128)


def test_the_same_request_gives_the_same_pixels(folder: Path) -> None:
    painter = FluxPainter(str(folder))
    ask = PaintRequest("a red apple on a beach", 3, (128, 128), denoising_steps=2)
    one, two = painter.paint(ask), FluxPainter(str(folder)).paint(ask)
    assert one.tobytes() == two.tobytes()
    assert (
        painter.paint(PaintRequest("a red apple on a beach", 4, (128, 128), denoising_steps=2)).tobytes()
        != one.tobytes()
    )


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float32])
def test_weights_in_bfloat16_paint_what_autocast_paints(folder: Path, kind: torch.dtype) -> None:
    with assuming(kind is torch.bfloat16):
        painter, plain = FluxPainter(str(folder)), FluxPainter(str(folder))
        plain._parts["transformer"] = prepare(plain.weights.load(FluxTransformer2DModel, "transformer"))
        drawn = PaintRequest("a red apple on a beach", 3, (128, 128), denoising_steps=2)
        edit = PaintRequest("add a cat", 1, (128, 128), painter.paint(drawn), ((2, 2, 30, 30),), denoising_steps=2)
        assert painter._parts["transformer"].x_embedder.weight.dtype is kind
        for request in (drawn, edit):
            assert painter.paint(request).tobytes() == plain.paint(request).tobytes()


def test_a_local_edit_denoises_its_window_alone(folder: Path) -> None:
    painter = FluxPainter(str(folder))
    canvas = Image.effect_noise((128, 128), 60).convert("RGB")
    box = (2, 2, 30, 30)
    edits = [
        painter.paint(PaintRequest("add a cat", seed, (128, 128), canvas, (box,), denoising_steps=2)) for seed in (1, 2)
    ]
    far = (112, 112, 128, 128)  # beyond the decoder's reach of the window
    same = [edit.crop(far).tobytes() for edit in edits]
    near = [edit.crop((0, 0, 60, 60)).tobytes() for edit in edits]
    assert near[0] != near[1]
    assert max(abs(a - b) for a, b in zip(*same, strict=True)) <= 24  # group norms see all of it, a little


def test_progress_is_told_and_can_stop_it(folder: Path) -> None:
    painter, heard = FluxPainter(str(folder)), []

    def stop(done: int, total: int) -> None:
        heard.append((done, total))
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        painter.paint(PaintRequest("a cat", 0, (128, 128), denoising_steps=4), stop)
    assert heard == [(1, 4), (2, 4)]


def test_another_size_is_refused(folder: Path) -> None:
    with pytest.raises(SizeError, match="128x128 pixels, not 64x128"):
        FluxPainter(str(folder)).paint(PaintRequest("a cat", 0, (64, 128)))


def test_missing_truncated_and_foreign_folders_are_named(folder: Path, tmp_path: Path) -> None:
    import shutil

    with pytest.raises(WeightsError, match="no such folder"):
        FluxPainter(str(tmp_path / "none"))
    with pytest.raises(WeightsError, match=r"lack model_index\.json"):
        FluxPainter(str(tmp_path))
    cut = shutil.copytree(folder, tmp_path / "cut")
    weights = cut / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="no whole safetensors file"):
        FluxPainter(str(cut)).paint(PaintRequest("a cat", 0, (128, 128), denoising_steps=1))
    mixed = shutil.copytree(folder, tmp_path / "mixed")
    AutoencoderKL(block_out_channels=(8,), norm_num_groups=4, latent_channels=4).save_pretrained(mixed / "transformer")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        FluxPainter(str(mixed)).paint(PaintRequest("a cat", 0, (128, 128), denoising_steps=1))


@pytest.mark.parametrize("tokens", [40, 600])
def test_attention_is_the_same_where_a_cpu_learns(tokens: int) -> None:
    """Written out for short sequences, fused for long ones; in both the formula."""
    torch.manual_seed(4)
    query, key, value = (torch.randn(2, 2, tokens, 16, requires_grad=True) for _ in range(3))
    expected = (query @ key.transpose(2, 3) / 4).softmax(-1) @ value
    gradients = torch.autograd.grad(expected.pow(2).sum(), (query, key, value))
    with torch.autocast("cpu", torch.bfloat16):
        found = attend(query, key, value)
    torch.testing.assert_close(found.float(), expected, atol=0.03, rtol=0.03)
    for one, two in zip(torch.autograd.grad(found.float().pow(2).sum(), (query, key, value)), gradients, strict=True):
        assert (one - two).norm() < 0.02 * two.norm()
    with torch.no_grad():
        torch.testing.assert_close(attend(query, key, value), expected, atol=1e-5, rtol=1e-4)
