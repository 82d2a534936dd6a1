"""Which precision a device computes in."""

from __future__ import annotations

import pytest
import torch

from brushloop.precision import assuming, autocast, in_bf16


def cpu(monkeypatch: pytest.MonkeyPatch, *known: str) -> None:
    """Let torch tell that the CPU knows these instructions."""
    told = {"architecture": "any", "avx2": True, **dict.fromkeys(known, True)}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: told, raising=False)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)


@pytest.mark.parametrize(("known", "gains"), [((), False), (("avx512_f",), False), (("avx512_bf16",), True),
                                              (("amx_bf16", "amx_tile"), True), (("bf16",), True)])  # fmt: skip
def test_a_cpu_gains_by_bfloat16_where_it_multiplies_in_it(
    monkeypatch: pytest.MonkeyPatch, known: tuple[str, ...], gains: bool
) -> None:
    cpu(monkeypatch, *known)
    assert in_bf16("cpu") is gains
    layer, x = torch.nn.Linear(4, 4), torch.ones(1, 4)
    with autocast("cpu"):
        assert layer(x).dtype is (torch.bfloat16 if gains else torch.float32)
    with autocast("cpu", wanted=False):
        assert layer(x).dtype is torch.float32


def test_where_nothing_is_told_a_cpu_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu(monkeypatch, "avx512_bf16")
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not in_bf16("cpu"), "without oneDNN nothing uses the instructions"
    cpu(monkeypatch)
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert not in_bf16("cpu"), "a torch that does not tell"


def test_accelerators_compute_in_bfloat16() -> None:
    assert in_bf16("cuda") and in_bf16(torch.device("mps"))


def test_what_is_assumed_of_a_device_holds_within_it() -> None:
    with assuming(True):
        assert in_bf16("cpu")
        with assuming(False):
            assert not in_bf16("cpu") and not in_bf16("cuda")
        assert in_bf16("cpu")
    assert in_bf16("cuda")


@pytest.mark.parametrize("shape", [(6, 4), (4, 6)])
def test_muon_takes_torchs_steps_in_either_precision(shape: tuple[int, int]) -> None:
    from brushloop.train.muon import Muon

    generator, ends = torch.Generator().manual_seed(1), []
    begun, grads = torch.randn(shape, generator=generator), torch.randn(3, *shape, generator=generator)
    kinds = (torch.optim.Muon, False), (Muon, True), (Muon, False)
    for kind, half in kinds:
        weight = torch.nn.Parameter(begun.clone())
        optimizer = kind([weight], lr=0.1, momentum=0.95, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
        for grad in grads:
            weight.grad = grad.clone()
            with assuming(half):
                optimizer.step()
        ends.append((weight.detach(), optimizer.state_dict()))
    (theirs, state), (same, _), (full, ours) = ends
    assert torch.equal(theirs, same)
    assert torch.allclose(theirs, full, atol=4e-3) and not torch.equal(theirs, full)
    assert (full - begun).norm() > 0.1, "it moves"
    kept = [each["state"][0]["momentum_buffer"] for each in (state, ours)]
    assert torch.allclose(*kept), "either goes on from the other's checkpoint"
