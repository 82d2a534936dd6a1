"""The editor over a tiny FLUX.1 folder: experts, router, guidance, units, and what is told of faults."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_flux
import torch
from PIL import Image, ImageDraw
from torch.nn import functional as F

from brushloop.canvas import EditType
from brushloop.errors import InputError, SizeError, WeightsError
from brushloop.painter import tokens
from brushloop.painter.base import Able, Noting, PaintRequest, Picture
from brushloop.painter.condition import prepare
from brushloop.painter.editor.guidance import Given, Scales, guided
from brushloop.painter.editor.model import Config, Editor, attentions, read, write
from brushloop.painter.editor.painter import EditorPainter, drawn, near
from brushloop.painter.editor.parts import EXPERTS, Experts, Resampler, Router, VisualPrompt
from brushloop.painter.editor.vision import PLACE, Vision
from brushloop.painter.units import FOLLOWED, Indicators, Unit, check, join, mask_tokens, named, places, plain

KINDS = (EditType.TONE, EditType.SKETCH, EditType.MOVE, EditType.OUTPAINT)


def config(**given: object) -> Config:
    sizes = {"rank": 4, "queries": 3, "depth": 1, "heads": 2, "head_dim": 8, "kinds": tuple(map(str, KINDS))}
    return Config.of(tiny_flux.transformer(), **{**sizes, **given})


def editor(taught: bool = True, **given: object) -> Editor:
    """Of random weights; a fresh one has its gates, differences and indicators at zero."""
    torch.manual_seed(5)
    made = Editor(config(**given))
    if taught:
        for name, value in made.named_parameters():
            if "experts" in name or "indicators" in name:
                value.data = torch.randn_like(value)
    return made.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_flux.folder(tmp_path_factory.mktemp("base"))


def canvas(size: tuple[int, int] = (64, 48)) -> Image.Image:
    picture = Image.new("RGB", size, "teal")
    ImageDraw.Draw(picture).ellipse((10, 10, 40, 40), fill="orange")
    return picture


def request(**given: object) -> PaintRequest:
    fields: dict[str, object] = {"prompt": "make it red", "seed": 3, "size": (64, 48), "canvas": canvas()}
    return PaintRequest(**{**fields, "denoising_steps": 2, **given})  # type: ignore[arg-type]


# Parts ----------------------------------------------------------------------------------------------------------


def test_the_router_chooses_the_best_and_is_punished_for_choosing_always_the_same() -> None:
    torch.manual_seed(0)
    router = Router(8, top=2)
    task = torch.randn(5, 8)
    weights, balance = router(task)
    assert weights.shape == (5, EXPERTS) and torch.allclose(weights.sum(1), torch.ones(5))
    assert ((weights > 0).sum(1) == 2).all()
    best = router.gate(task).topk(2).indices
    assert torch.equal(weights > 0, torch.zeros_like(weights).scatter(1, best, 1.0) > 0)
    weights.pow(2).sum().backward()
    assert router.gate.weight.grad is not None and router.gate.weight.grad.abs().sum() > 0
    router.gate.weight.data.zero_()
    router.gate.bias.data = torch.tensor([9.0, 9.0] + [0.0] * 7)
    assert router(task)[1] > 4 > 1.5 > balance, "two experts for everything: E/2 = 4.5"


def test_the_load_balance_is_one_when_all_experts_are_used_alike() -> None:
    router = Router(EXPERTS, top=1)
    router.gate.weight.data, router.gate.bias.data = 5 * torch.eye(EXPERTS), torch.zeros(EXPERTS)
    assert router(torch.eye(EXPERTS))[1].item() == pytest.approx(1.0, abs=1e-5)


def test_the_resampler_gives_a_fixed_number_of_tokens_for_any_number_of_features() -> None:
    torch.manual_seed(0)
    resampler = Resampler(6, 10, queries=3, depth=2, heads=2, head_dim=4)
    one, two = resampler(torch.randn(2, 5, 6)), resampler(torch.randn(2, 50, 6))
    assert one.shape == two.shape == (2, 3, 10)
    full = Resampler(6, 10)
    assert full.queries.shape == (1, 16, 12 * 64) and len(full.layers) == 4, "the sizes of the paper"


@pytest.mark.parametrize("layer", [0, 1])
def test_experts_begin_as_the_keys_and_values_of_the_text(layer: int) -> None:
    model = prepare(tiny_flux.transformer())
    attn, visual = attentions(model)[layer], torch.randn(2, 4, 32)
    fresh = Experts(32, 32, rank=4)
    keys, values = fresh(attn, visual)
    to_k, to_v, norm = (
        (attn.add_k_proj, attn.add_v_proj, attn.norm_added_k) if layer == 0 else (attn.to_k, attn.to_v, attn.norm_k)
    )
    for expert in range(EXPERTS):
        assert torch.equal(keys[:, expert], norm(to_k(visual).unflatten(-1, (2, 16))))
        assert torch.equal(values[:, expert], to_v(visual).unflatten(-1, (2, 16)))
    fresh.up["v"].data.normal_()
    assert not torch.equal(fresh(attn, visual)[1][:, 0], fresh(attn, visual)[1][:, 1])


def test_decoupled_attention_is_the_formula() -> None:
    """Z = Attn(Q, K, V) + g Σ wᵢ Attn(Q, Kᵢ, Vᵢ) for the picture's tokens, and Attn(Q, K, V) for the text's."""
    torch.manual_seed(1)
    attn = attentions(prepare(tiny_flux.transformer()))[0]
    layer = Experts(32, 32, rank=2)
    for value in layer.parameters():
        value.data.normal_()
    visual, query, mixed = torch.randn(2, 4, 32), torch.randn(2, 7, 2, 16), torch.randn(2, 7, 2, 16)
    weights = torch.tensor([[0.25, 0.75] + [0.0] * 7, [0.0] * 8 + [1.0]])
    out = VisualPrompt(visual, weights, {attn: layer}, words=3).add(attn, query, mixed)
    keys, values = layer(attn, visual)
    expected = mixed.clone()
    for sample in range(2):
        for head in range(2):
            asked = query[sample, 3:, head]
            for expert in range(EXPERTS):
                scores = asked @ keys[sample, expert, :, head].T / 16**0.5
                taken = F.softmax(scores, -1) @ values[sample, expert, :, head]
                expected[sample, 3:, head] += layer.opening * weights[sample, expert] * taken
    assert torch.allclose(out, expected, atol=1e-5)
    other = attentions(tiny_flux.transformer())[0]
    assert VisualPrompt(visual, weights, {attn: layer}, 3).add(other, query, mixed) is mixed


def test_guidance_over_three_conditions_is_the_formula() -> None:
    torch.manual_seed(2)
    e = {Given(i, t, v): torch.randn(3) for i in (False, True) for t in (False, True) for v in (False, True)}
    none, image = e[Given(False, False, False)], e[Given(True, False, False)]
    text, visual = e[Given(True, True, False)], e[Given(True, True, True)]
    for scales in (Scales(1.5, 4.0, 2.0), Scales(1.0, 2.0), Scales(1.0, 1.0, 1.0), Scales(2.0, 2.0, 0.5)):
        s_v = scales.text if scales.visual is None else scales.visual
        expected = none + scales.picture * (image - none) + scales.text * (text - image) + s_v * (visual - text)
        assert torch.allclose(guided(scales, True, e.__getitem__), expected, atol=1e-5)
        expected = none + scales.picture * (image - none) + scales.text * (text - image)
        assert torch.allclose(guided(scales, False, e.__getitem__), expected, atol=1e-5)
        assert sum(scales.factors(True).values()) == pytest.approx(1)
    assert len(Scales(1.0, 2.0).factors(True)) == 2, "as many evaluations as ordinary guidance"
    assert list(Scales(1.0, 1.0).factors(True)) == [Given(True, True, True)]


# Units ----------------------------------------------------------------------------------------------------------


def test_marks_in_a_text_mean_pictures() -> None:
    text = "put {image1} beside {image} and {image2}"
    assert named(text) == (1, 0, 2) and plain(text) == "put picture 2 beside the picture and picture 3"
    for number, said in enumerate(("the picture", "picture 2", "picture 3")):
        ((start, end),) = places(text, number)
        assert plain(text)[start:end] == said
    check(text, 3)
    with pytest.raises(InputError, match=r"names \{image3\}, and 2 pictures are given: use \{image\}, \{image1\}"):
        check("like {image3}", 2)
    with pytest.raises(InputError, match=r"names \{image\}, and 0 pictures are given: use none"):
        check("like {image}", 0)
    with pytest.raises(InputError, match="17 pictures are given: at most 16"):
        check("", 17)


def test_an_indicator_marks_the_words_that_name_its_picture_and_no_others() -> None:
    codes = Indicators(4, 6)
    codes.of_words.data = torch.arange(1.0, 17)[:, None].expand(16, 6).clone()
    codes.of_picture.data = torch.arange(1.0, 17)[:, None].expand(16, 4).clone()
    text = "a {image1} b"
    spans = [(0, 1), (2, 9), (10, 11), (12, 13), (0, 0)]  # a, picture, 2, b, end
    marked = codes.words(torch.zeros(1, 6, 6), text, spans)
    assert marked[0, :, 0].tolist() == [0, 2, 2, 0, 0, 0]
    assert codes.picture(torch.zeros(1, 3, 4), 1).unique().tolist() == [2.0]


def test_a_mask_becomes_the_tokens_that_the_embedded_painter_learned() -> None:
    regions = ((10, 20, 60, 50), (50, 50, 90, 80))
    ours = mask_tokens(drawn(regions, (64, 64)), 8, 8, 64)
    assert (ours - tokens.mask(regions)).abs().max() <= 1 / 127.5 + 1e-6
    assert mask_tokens(drawn((), (30, 10)), 2, 5, 20).unique().tolist() == [-1.0]


def test_a_picture_that_is_followed_stands_on_the_other_side_of_what_is_painted() -> None:
    codes, tokens = Indicators(4, 6), torch.zeros(1, 2, 4)
    codes.of_picture.data.fill_(1.0)
    canvas, followed = Unit(tokens, (1, 2), tokens + 3), Unit(tokens + 5, (1, 2), None, FOLLOWED)
    joined, ids = join([canvas, followed], codes)
    assert ids[:, 0].tolist() == [1, 1, 2, 2, -1, -1] and ids[4:, 1:].tolist() == ids[:2, 1:].tolist()
    assert joined[0, :, 0].tolist() == [1, 1, 3, 3, 5, 5], "no text names it: it bears no mark"


def test_reference_pictures_keep_their_ratio_and_stay_within_the_tokens_of_the_canvas() -> None:
    for size in ((64, 64), (20, 10_000), (10_000, 20), (1, 1), (300, 200)):
        rows, columns = near(size, 12)
        assert 1 <= rows * columns <= 12
    assert near((300, 100), 12) == (2, 6)


# The painter ----------------------------------------------------------------------------------------------------


def test_an_untaught_editor_leaves_its_base_as_it_is(base: Path) -> None:
    """Gates, differences and indicators at zero: the experts' path equals the general path exactly."""
    painter = EditorPainter(str(base), editor(taught=False))
    for kind, visual in ((EditType.TONE, None), (EditType.SKETCH, canvas())):
        general = painter.paint(request(visual=visual))
        assert painter.paint(request(kind=kind, visual=visual)).tobytes() == general.tobytes()
    assert painter.paint(request(seed=4)).tobytes() != general.tobytes()


def test_kind_visual_input_mask_and_pictures_all_reach_the_picture(base: Path) -> None:
    painter = EditorPainter(str(base), editor())
    told = request(kind=EditType.SKETCH, visual=canvas())
    plain_one = painter.paint(told)
    assert plain_one.size == (64, 48) and painter.paint(told).tobytes() == plain_one.tobytes()
    other = Image.new("RGB", (90, 30), "red")
    half = Image.new("L", (64, 48), 0)
    half.paste(255, (0, 0, 32, 48))
    for change in (
        {"kind": EditType.TONE, "visual": None}, {"visual": other}, {"mask": half}, {"canvas": other.resize((64, 48))},
        {"images": (Picture(other),)}, {"regions": ((0, 0, 50, 100),)}, {"canvas": None}, {"strength": 0.5},
        {"kind": None, "visual": None}, {"guidance": 1.0}, {"prompt": "make it blue"},
    ):  # fmt: skip
        assert painter.paint(request(**{"kind": EditType.SKETCH, "visual": canvas(), **change})) != plain_one, change
    two = request(prompt="like {image1}", images=(Picture(other),))
    assert painter.paint(two).tobytes() != painter.paint(request(prompt="like {image}", images=two.images)).tobytes()


def test_the_weights_of_the_experts_are_there_to_be_recorded(base: Path) -> None:
    painter = EditorPainter(str(base), editor())
    assert isinstance(painter, Noting) and isinstance(painter, Able)
    notes = painter.notes(request(kind=EditType.MOVE))
    shares = [value for name, value in notes.items() if name.startswith("expert_")]
    assert notes["path"] == "experts" and len(shares) == 2 and sum(map(float, shares)) == pytest.approx(1, abs=1e-3)
    assert notes != painter.notes(request(kind=EditType.TONE, visual=None))
    assert painter.notes(request()) == {"path": "general"}


def test_ablations_take_the_router_or_the_task_away(base: Path) -> None:
    alike = editor(router=False).weights([EditType.TONE, EditType.MOVE])[0]
    assert torch.allclose(alike, torch.full((2, 9), 1 / 9))
    same = editor(task=False).weights([EditType.TONE, None])[0]
    assert torch.equal(same[0], same[1])
    both = editor().weights([EditType.TONE, EditType.MOVE])[0]
    assert not torch.equal(both[0], both[1])


def test_what_cannot_be_done_is_told(base: Path) -> None:
    painter = EditorPainter(str(base), editor())
    with pytest.raises(InputError, match="not taught the kind material: it knows move, outpaint, sketch, tone"):
        painter.paint(request(kind=EditType.MATERIAL))
    with pytest.raises(InputError, match="the kind sketch follows a picture"):
        painter.paint(request(kind=EditType.SKETCH))
    with pytest.raises(InputError, match=r"names \{image3\}, and 2 pictures are given"):
        painter.paint(request(prompt="{image3}", images=(Picture(canvas()),)))
    with pytest.raises(SizeError, match="multiples of 16 pixels, not 65x48: give 64x48"):
        painter.paint(request(size=(65, 48)))
    with pytest.raises(SizeError, match="more than 16384 tokens"):
        painter.check_size((16_000, 16_000))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "I;16", "LA"])
def test_pictures_of_any_mode_are_read(base: Path, mode: str) -> None:
    odd = Image.new("L", (5, 3), 99).convert("I").convert("I;16") if mode == "I;16" else canvas((5, 3)).convert(mode)
    painter = EditorPainter(str(base), editor())
    assert painter.paint(request(images=(Picture(odd),), denoising_steps=1)).size == (64, 48)


# The file -------------------------------------------------------------------------------------------------------


def test_an_editor_is_written_and_read_again(tmp_path: Path) -> None:
    made = editor()
    again = read(write(made, tmp_path / "editor.safetensors"))
    assert again.config == made.config
    for (name, value), (other, kept) in zip(made.state_dict().items(), again.state_dict().items(), strict=True):
        assert name == other and torch.equal(value.bfloat16().float(), kept)


def test_an_editor_for_another_base_names_both_sizes(base: Path, tmp_path: Path) -> None:
    wide = Editor(Config.of(tiny_flux.transformer(heads=4), rank=2, queries=1, depth=1, heads=1, head_dim=4))
    with pytest.raises(WeightsError, match="its width is 64, here it is 32"):
        EditorPainter(str(base), wide).paint(request())
    with pytest.raises(WeightsError, match="there is no editor at"):
        read(tmp_path / "none.safetensors")
    with pytest.raises(InputError, match=r"end in \.safetensors"):
        write(wide, tmp_path / "editor.pt")
    (tmp_path / "cut.safetensors").write_bytes(write(wide, tmp_path / "whole.safetensors").read_bytes()[:-8])
    with pytest.raises(WeightsError, match="no whole safetensors file"):
        read(tmp_path / "cut.safetensors")
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match=r"other\.safetensors is no editor"):
        read(tmp_path / "other.safetensors")


def test_the_eyes_tell_where_a_thing_stands(base: Path) -> None:
    """The resampler reads tokens as a set, and the autoencoder's do not know their places."""
    made = editor()
    seen = Vision("autoencoder", EditorPainter(str(base), made), side=64).features([canvas()])
    told = made.projector(seen)
    assert torch.allclose(told, made.projector(seen.flip(1)), atol=1e-5), "a set"
    elsewhere = torch.cat([seen[..., :16].flip(1), seen[..., 16:]], dim=-1)
    assert not torch.allclose(told, made.projector(elsewhere), atol=1e-3), "the same tokens, elsewhere"


def test_the_eyes_may_be_an_image_encoder_of_transformers(base: Path, tmp_path: Path) -> None:
    from transformers import CLIPVisionConfig, CLIPVisionModel

    small = CLIPVisionConfig(
        hidden_size=12, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=16
    )
    CLIPVisionModel(small).save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 32}, "crop_size": 32})
    )
    vision = Vision(str(tmp_path), EditorPainter(str(base), editor()))
    assert vision.size == 12 and vision.features([canvas(), canvas((20, 90))]).shape == (2, 5, 12)
    own = Vision("autoencoder", EditorPainter(str(base), editor()), side=64)
    assert own.size == 16 + PLACE and own.features([canvas()]).shape == (1, 16, 16 + PLACE)
