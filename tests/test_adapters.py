"""Asymmetric LoRA on tiny random transformers: it mixes, merges, switches, travels through files, refuses misfits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FluxPipeline, FluxTransformer2DModel
from peft import PeftModel, get_peft_model
from safetensors.torch import save_file
from tiny_flux import transformer as tiny
from torch import Tensor

from brushloop.errors import InputError, WeightsError
from brushloop.painter.adapters import files, layers
from brushloop.painter.adapters.adapter import Adapter, linears
from brushloop.painter.adapters.merge import Merger, Part
from brushloop.painter.domains import domains

NAMES = ("icon", "sketch", "emoji")


def run(model: Any, batch: int = 1) -> Tensor:
    torch.manual_seed(1)
    one = {
        "hidden_states": torch.randn(batch, 16, 16), "encoder_hidden_states": torch.randn(batch, 5, 32),
        "pooled_projections": torch.randn(batch, 24), "timestep": torch.tensor([0.7] * batch),
        "img_ids": torch.zeros(16, 3), "txt_ids": torch.zeros(5, 3),
    }  # fmt: skip
    with torch.no_grad():
        return model(**one, return_dict=False)[0]


def some(model: FluxTransformer2DModel, names: tuple[str, ...] = NAMES, rank: int = 4, seed: int = 2) -> Adapter:
    """An adapter with random A and B for every Linear of the blocks."""
    torch.manual_seed(seed)
    down = {name: torch.randn(rank, layer.in_features) * 0.1 for name, layer in linears(model).items()}
    up = {name: torch.randn(len(names), each.out_features, rank) * 0.1 for name, each in linears(model).items()}
    return Adapter("some", names, down, up)


def one_hot(*which: int, count: int = 3) -> Tensor:
    return torch.eye(count)[list(which)]


def test_every_linear_of_the_blocks_is_adapted_and_nothing_else() -> None:
    model = tiny()
    names = set(linears(model))
    assert len(names) == 14 + 6
    assert {"transformer_blocks.0.attn.to_out.0", "single_transformer_blocks.0.norm.linear"} <= names
    assert not [name for name in names if name.startswith(("x_embedder", "proj_out", "norm_out", "time_text"))]


def test_a_fresh_adapter_changes_nothing_and_trains_one_a_and_many_b() -> None:
    model = tiny()
    before = run(model)
    trained = layers.add(model, NAMES, rank=4)
    with layers.mixing(model, one_hot(1)):
        assert torch.equal(run(model), before)
    assert len(trained) == 2 * 20
    assert all(each.requires_grad for each in trained)
    with pytest.raises(RuntimeError, match="3 domains"):
        run(model)


def test_a_mixed_batch_is_each_sample_with_its_own_domain() -> None:
    model, adapter = tiny(), some(tiny())
    layers.put(model, adapter)
    omega = torch.cat([one_hot(2, 0), torch.tensor([[0.2, 0.5, 0.3]])])
    with layers.mixing(model, omega):
        mixed = run(model, 3)
    merged = tiny()
    merger = Merger(merged)
    for row in range(3):
        merger.use(Part(adapter, omega[row]))
        assert torch.allclose(run(merged, 3)[row], mixed[row], atol=1e-5)
    assert (mixed[0] - mixed[1]).abs().max() > 1e-3


def test_omega_repeats_with_its_batch() -> None:
    model = tiny()
    layers.put(model, some(tiny()))
    linear = dict(model.named_modules())["transformer_blocks.0.ff.net.2"]
    x = torch.randn(2, 5, linear.in_features)
    with layers.mixing(model, one_hot(0, 2)), torch.no_grad():
        assert torch.allclose(linear(torch.cat([x, x])), torch.cat([linear(x), linear(x)]), atol=1e-6)
        with pytest.raises(RuntimeError, match="2 samples, the batch has 3"):
            linear(torch.randn(3, 5, linear.in_features))


def test_training_touches_the_shared_a_and_only_the_b_of_the_batch() -> None:
    model = tiny().train()
    layers.put(model, some(tiny()))
    with layers.mixing(model, one_hot(0, 2)):
        torch.manual_seed(1)
        model(
            hidden_states=torch.randn(2, 16, 16), encoder_hidden_states=torch.randn(2, 5, 32),
            pooled_projections=torch.randn(2, 24), timestep=torch.tensor([0.2, 0.9]), img_ids=torch.zeros(16, 3),
            txt_ids=torch.zeros(5, 3), return_dict=False,
        )[0].pow(2).mean().backward()  # fmt: skip
    grads = {name: each.grad for name, each in layers.parameters(model).items()}
    for name, grad in grads.items():
        assert grad is not None and grad.abs().max() > 0, name
        if "lora_B" in name:
            parts = grad.view(3, -1, 4).abs().amax((1, 2))
            assert parts[0] > 0 and parts[1] == 0 and parts[2] > 0


def test_a_router_learns_through_omega() -> None:
    model = tiny()
    layers.put(model, some(tiny()))
    router = torch.zeros(1, 3, requires_grad=True)
    linear = dict(model.named_modules())["transformer_blocks.0.attn.to_q"]
    with layers.mixing(model, router.softmax(-1)):
        linear(torch.randn(1, 4, linear.in_features)).pow(2).sum().backward()
    assert router.grad is not None and router.grad.abs().min() > 0
    with pytest.raises(InputError, match=r"give \(batch, 3\)"), layers.mixing(model, torch.ones(1, 2)):
        pass


def test_switching_leaves_nothing_behind() -> None:
    model, adapter = tiny(), some(tiny())
    before, merger = run(model), Merger(model)
    merger.use(Part(adapter, "icon"))
    icon = run(model)
    for domain in NAMES * 3:
        merger.use(Part(adapter, domain))
    merger.use(Part(adapter, "icon"))
    assert torch.equal(run(model), icon) and not torch.equal(icon, before)
    merger.use()
    assert torch.equal(run(model), before)


def test_a_style_combines_with_a_domain(tmp_path: Path) -> None:
    model, adapter = tiny(), some(tiny())
    style = some(tiny(), ("style",), rank=2, seed=5)
    written = files.read(files.export(style, None, tmp_path / "style.safetensors"))
    merger = Merger(model)
    merger.use(Part(adapter, "icon"), Part(written, strength=0.5))
    layer = "transformer_blocks.0.attn.to_q"
    wanted = linears(tiny())[layer].weight + adapter.up[layer][0] @ adapter.down[layer]
    wanted = wanted + 0.5 * style.up[layer][0] @ style.down[layer]
    assert torch.allclose(linears(model)[layer].weight, wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("omega", "said"),
    [
        ({"icon": 0.5, "sketch": 0.4}, "sum to 0.900"),
        ([0.5, 0.8, -0.3], "the least is -0.300"),
        ([1.0], "1 weights for the 3 domains"),
        ("ikon", "no domain 'ikon': use icon"),
        (None, "name one of icon, sketch, emoji"),
        ([float("nan"), 0, 1], "sum to nan"),
    ],
)
def test_an_omega_that_does_not_fit_is_refused(omega: Any, said: str) -> None:
    model = tiny()
    before = linears(model)["transformer_blocks.0.attn.to_q"].weight.clone()
    with pytest.raises(InputError, match=said):
        Merger(model).use(Part(some(model), omega))
    assert torch.equal(linears(model)["transformer_blocks.0.attn.to_q"].weight, before)


def test_an_adapter_of_another_base_or_rank_is_refused_with_both_numbers() -> None:
    adapter = some(tiny(heads=4))
    with pytest.raises(WeightsError, match="64 to 384 features, here it goes from 32 to 192"):
        Merger(tiny()).use(Part(adapter, "icon"))
    deeper = FluxTransformer2DModel(
        in_channels=16, num_layers=2, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, pooled_projection_dim=24, axes_dims_rope=(4, 4, 8),
    )  # fmt: skip
    with pytest.raises(WeightsError, match="1 double and 1 single blocks"):
        Merger(tiny()).use(Part(some(deeper), "icon"))
    model = tiny()
    layers.put(model, some(model, rank=4))
    with pytest.raises(WeightsError, match=r"has rank 8 and 3 domains, the adapter 'default' .* rank 4 and 3"):
        layers.put(model, some(tiny(), rank=8))
    with pytest.raises(WeightsError, match="A of a has rank 4, its B has rank 8"):
        Adapter("odd", ("x",), {"a": torch.zeros(4, 2)}, {"a": torch.zeros(1, 2, 8)})


def test_diffusers_saves_it_and_everyone_reads_it_back(tmp_path: Path) -> None:
    adapter, model = some(tiny()), tiny()
    layers.put(model, adapter)
    path = layers.save(model, tmp_path / "process.safetensors")
    again = files.read(path)
    assert again.domains == NAMES and again.form == "tokens" and again.rank == 4
    assert all(torch.equal(again.up[layer], adapter.up[layer]) for layer in adapter.up)

    ours = tiny()
    layers.put(ours, again)
    theirs = tiny()  # diffusers' own loader, into an adapter of the same shape
    layers.add(theirs, NAMES, rank=4)
    theirs.load_lora_adapter(path.parent, weight_name=path.name, adapter_name="default", prefix=None, hotswap=True)
    for other in (ours, theirs):
        with layers.mixing(model, one_hot(2)), layers.mixing(other, one_hot(2)):
            assert torch.equal(run(other), run(model))
    written = files.read(files.write(adapter, tmp_path / "written.safetensors"))
    assert all(torch.equal(written.up[layer], adapter.up[layer]) for layer in adapter.up)


def test_what_is_installed_is_half_as_large_and_adds_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "INSTALLED", tmp_path / "installed")
    adapter, models = some(tiny()), (tiny(), tiny())
    path = files.write(adapter, tmp_path / "process.safetensors")
    made = files.install(path)
    assert made == tmp_path / "installed" / "process.safetensors"
    assert made.stat().st_size < 0.6 * path.stat().st_size
    again = files.installed("process")
    assert again and again.domains == NAMES == files.trained() and again.form == adapter.form and again.rank == 4
    for model, each in zip(models, (adapter, again), strict=True):
        Merger(model).use(Part(each, "sketch"))
    change = run(models[0]) - run(tiny())
    assert 0 < (run(models[0]) - run(models[1])).norm() < 0.02 * change.norm()


def test_peft_saves_and_loads_it(tmp_path: Path) -> None:
    config = layers.AsymmetricConfig(r=4, lora_alpha=8, target_modules=["to_q", "to_k"], domains=list(NAMES))
    model = get_peft_model(tiny(), config)
    torch.manual_seed(3)
    for name, value in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=0.1)
    model.save_pretrained(tmp_path)
    read = layers.AsymmetricConfig.from_pretrained(tmp_path)
    assert isinstance(read, layers.AsymmetricConfig) and read.domains == list(NAMES)
    again = PeftModel.from_pretrained(tiny(), tmp_path, config=read).eval()
    with layers.mixing(model, one_hot(1)), layers.mixing(again, one_hot(1)):
        assert torch.equal(run(again), run(model.eval()))


@pytest.mark.parametrize("omega", ["sketch", {"icon": 0.25, "emoji": 0.75}])
def test_an_exported_domain_is_an_ordinary_lora_for_diffusers(tmp_path: Path, omega: Any) -> None:
    adapter, model = some(tiny()), tiny()
    path = files.export(adapter, omega, tmp_path / "one.safetensors")
    Merger(model).use(Part(adapter, omega))
    from diffusers import FlowMatchEulerDiscreteScheduler

    pipeline = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(), vae=None, text_encoder=None, tokenizer=None, text_encoder_2=None,
        tokenizer_2=None, transformer=tiny(),
    )  # fmt: skip
    before = run(pipeline.transformer)
    pipeline.load_lora_weights(tmp_path, weight_name=path.name)
    after = run(pipeline.transformer)
    assert (after - before).abs().max() > 1e-2
    assert (after - run(model)).abs().max() < 1e-5


def public(path: Path, count: int = 21, rank: int = 4, alpha: float = 1.0) -> dict[str, Tensor]:
    """A file in the layout of the public weights, for the tiny transformer: qkv in one Linear, B numbered from 0."""
    torch.manual_seed(7)
    sizes = {
        f"double_blocks_0_{side}_{layer}": shape
        for side in ("img", "txt")
        for layer, shape in {
            "attn_qkv": (32, 96), "attn_proj": (32, 32), "mlp_0": (32, 128), "mlp_2": (128, 32), "mod_lin": (32, 192),
        }.items()
    } | {
        "single_blocks_0_linear1": (32, 96 + 128), "single_blocks_0_linear2": (160, 32),
        "single_blocks_0_modulation_lin": (32, 96),
    }  # fmt: skip
    state = {}
    for name, (wide, out) in sizes.items():
        state[f"lora_unet_{name}.lora_down.weight"] = torch.randn(rank, wide) * 0.2
        state[f"lora_unet_{name}.alpha"] = torch.tensor(alpha)
        for number in range(count):
            key = "lora_up" if count == 1 else f"lora_ups.{number}"
            state[f"lora_unet_{name}.{key}.weight"] = torch.randn(out, rank) * 0.2
    save_file(state, path)
    return state


def test_the_public_files_are_read_in_the_order_of_the_domains(tmp_path: Path) -> None:
    state = public(tmp_path / "asylora.safetensors")
    adapter = files.read(tmp_path / "asylora.safetensors")
    assert adapter.domains == tuple(each.name for each in domains()) and adapter.form == "in_grid"
    assert adapter.up.keys() == linears(tiny()).keys()
    model = tiny()
    Merger(model).use(Part(adapter, "line draw"))  # number 20, B index 19
    name = "lora_unet_double_blocks_0_img_attn_qkv"
    joined = state[f"{name}.lora_ups.19.weight"] @ state[f"{name}.lora_down.weight"] / 4
    base = linears(tiny())
    for part, row in (("to_q", 0), ("to_k", 32), ("to_v", 64)):
        layer = f"transformer_blocks.0.attn.{part}"
        added = linears(model)[layer].weight - base[layer].weight
        assert torch.allclose(added, joined[row : row + 32], atol=1e-6)
    name = "lora_unet_single_blocks_0_linear1"
    joined = state[f"{name}.lora_ups.19.weight"] @ state[f"{name}.lora_down.weight"] / 4
    layer = "single_transformer_blocks.0.proj_mlp"
    assert torch.allclose(linears(model)[layer].weight - base[layer].weight, joined[96:], atol=1e-6)


def test_the_public_layout_is_what_diffusers_makes_of_it(tmp_path: Path) -> None:
    """One B in kohya's layout: diffusers' own conversion and ours give the same picture."""
    from diffusers.loaders.lora_conversion_utils import _convert_kohya_flux_lora_to_diffusers

    ours, theirs = tiny(), tiny()
    state = public(tmp_path / "one.safetensors", count=1, alpha=2.0)
    state = {key: value for key, value in state.items() if "linear1" not in key}  # diffusers knows one width of it only
    save_file(state, tmp_path / "one.safetensors")
    Merger(ours).use(Part(files.read(tmp_path / "one.safetensors")))
    theirs.load_lora_adapter(_convert_kohya_flux_lora_to_diffusers(dict(state)), prefix="transformer")
    assert (run(ours) - run(theirs)).abs().max() < 1e-5


def test_files_that_are_no_adapter_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="there is no adapter at"):
        files.read(tmp_path / "none.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    with pytest.raises(WeightsError, match="no whole safetensors file"):
        files.read(tmp_path / "cut.safetensors")
    save_file({"unet.conv.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="no part of a LoRA"):
        files.read(tmp_path / "other.safetensors")
    public(tmp_path / "six.safetensors", count=6)
    with pytest.raises(InputError, match="has 6 B, the public weights have 21"):
        files.read(tmp_path / "six.safetensors")
    assert files.read(tmp_path / "six.safetensors", tuple("abcdef")).domains == tuple("abcdef")
    state = public(tmp_path / "gap.safetensors", count=21)
    del state["lora_unet_single_blocks_0_linear2.lora_ups.3.weight"]
    save_file(state, tmp_path / "gap.safetensors")
    with pytest.raises(WeightsError, match="lacks its A or one of its B"):
        files.read(tmp_path / "gap.safetensors")
