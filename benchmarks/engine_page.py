"""The page of `benchmarks.engine`: docs/engine.md."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PAGE = Path("docs/engine.md")
ROWS = (
    ("our sampler ÷ bare transformer, same steps", "painter over bare", "≤ 1.05", "{:.3f}"),
    ("its share of the limit measured beside it", "share", "≥ 0.80 on a GPU", "{:.2f}"),
    ("one denoising step, s", "step seconds", "", "{:.3f}"),
    ("step with condition tokens carried along ÷ with them cached", "cache gain", "≥ 1.65, GPU 1.75", "{:.2f}"),
    ("largest difference between cached and not", "cache difference", "0", "{:.1g}"),
    ("step with a domain laid over ÷ base", "domain step over base", "≤ 1.03, GPU 1.02", "{:.3f}"),
    ("changing the domain, s", "switch seconds", "≤ 0.05 on a GPU", "{:.3f}"),
    ("training step, asymmetric ÷ plain LoRA", "asymmetric over plain", "≤ 1.05", "{:.3f}"),
    ("training step, s", "training step seconds", "≤ 0.65 on a GPU", "{:.2f}"),
    ("language model: reading the prompt, s", "prefill seconds", "", "{:.3f}"),
    ("language model: one token, s", "decode seconds", "", "{:.4f}"),
)


def write(columns: Mapping[str, Mapping[str, Any]]) -> str:
    """Write the page from the figures of each machine, and return it; what is not there was not measured."""
    lines = []
    for label, key, bar, form in ROWS:
        cells = [form.format(found) if (found := value(figures, key)) is not None else "not measured"
                 for figures in columns.values()]  # fmt: skip
        lines.append(f"| {label} | {bar} | {' | '.join(cells)} |")
    machines = "; ".join(f"{name}: {f.get('machine', 'none yet')}" for name, f in columns.items())
    memory = ", ".join(
        f"{key.removesuffix(' gib')} {amount:.0f} GiB"
        for key, amount in columns["gpu"].items()
        if key.endswith(" gib") and amount
    )
    text = f"""# Engine

What painting costs beside the bare transformer. Left: small transformers of random weights on a processor (1,024
tokens, process time), where only ratios mean something. Right: FLUX.1 (12B) and an 8B language model of random weights
in bf16 at 1024 x 1024, rank 64, batch 2 in training. Measured {datetime.date.today().isoformat()} ({machines}) by
`python -m benchmarks.engine` and `make bench-gpu`.

| figure | bar | processor | GPU |
|---|---|---|---|
{chr(10).join(lines)}

Peak memory on the GPU: {memory or "not measured"}.
"""
    PAGE.write_text(text)
    return text


def value(figures: Mapping[str, Any], key: str) -> float | None:
    """A figure, or one that follows from two of them."""
    if key == "share":
        rate, most = figures.get("painter tflops"), figures.get("limit tflops")
        return rate / most if rate and most else None
    found: float | None = figures.get(key)
    return found
