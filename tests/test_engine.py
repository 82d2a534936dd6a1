"""The engine's benchmark, with models so small that only its arithmetic is tested."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from diffusers import FluxTransformer2DModel

from benchmarks import engine, engine_page

TINY = dataclasses.replace(
    engine.SMALL,
    flux=dict(
        num_layers=1, num_single_layers=1, num_attention_heads=2, attention_head_dim=16, joint_attention_dim=32,
        pooled_projection_dim=16, axes_dims_rope=(4, 6, 6), guidance_embeds=True,
    ),
    language=dict(
        hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2,
        vocab_size=64,
    ),
    side=6, words=4, steps=2, rank=2, repeats=1, prompt=8,
)  # fmt: skip


def test_every_part_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = engine.Bench(TINY, "cpu")
    figures: dict[str, float] = {"limit tflops": engine.limit(bench)}
    for part in engine.PARTS.values():
        figures |= part(bench)
    assert figures["cache difference"] == 0
    assert all(figure > 0 for name, figure in figures.items() if name != "cache difference")
    monkeypatch.setattr(engine_page, "PAGE", tmp_path / "engine.md")
    rows = [line for line in engine_page.write({"cpu": figures, "gpu": {}}).splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + len(engine_page.ROWS)
    assert all(row.endswith("| not measured |") and row.count("not measured") == 1 for row in rows[1:])


def test_flops_of_the_real_size() -> None:
    """74.4 TFLOP for a denoising step of FLUX.1 at 1024 x 1024: 2 x 6.455e9 a token, 4 x 57 x 3072 a pair."""
    with torch.device("meta"):
        transformer = FluxTransformer2DModel(**engine.FULL.flux)
    tokens = engine.FULL.side**2 + engine.FULL.words
    assert engine.flops(transformer, tokens, tokens) == pytest.approx(74.4e12, rel=0.002)
    assert engine.flops(transformer, tokens, 0) == pytest.approx(2 * 6.455e9 * tokens, rel=0.001)


def test_a_full_run_needs_a_gpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["engine", "--full"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as stop:
        engine.main()
    assert stop.value.code == 2 and "needs a GPU" in capsys.readouterr().err
