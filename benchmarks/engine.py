"""What painting costs beside the bare transformer: our loop, the condition cache, domains, training; and a VLM's turn.

    python -m benchmarks.engine               small transformers on the processor: only ratios mean something
    python -m benchmarks.engine --full        FLUX.1 and an 8B language model of random weights, on a GPU

Nothing is downloaded. Every comparison alternates its two sides within one run and takes the best of each, since
neighbours on a machine only ever add. The limit on a GPU is the rate of a large matrix product in the same run.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from peft import LoraConfig
from torch import Tensor

from benchmarks.engine_page import write
from brushloop.painter.adapters import layers
from brushloop.painter.adapters.adapter import Adapter, linears
from brushloop.painter.adapters.merge import Merger, Part
from brushloop.painter.condition import encode_condition, positions, prepare, velocity
from brushloop.painter.grids import Layout
from brushloop.painter.sheets import Sheet, denoise

OUT = Path("runs/bench")
Figures = dict[str, float]


@dataclass(frozen=True)
class Size:
    """How large the models of a run are."""

    flux: dict[str, Any]
    side: int
    """Tokens along a side of the picture."""
    words: int
    steps: int
    rank: int
    repeats: int
    language: dict[str, Any]
    prompt: int
    """Tokens of the language model's prompt."""


SMALL = Size(
    dict(num_layers=2, num_single_layers=4, num_attention_heads=4, attention_head_dim=64, joint_attention_dim=256,
         pooled_projection_dim=64, axes_dims_rope=(16, 24, 24), guidance_embeds=True),
    32, 32, 4, 16, 5,
    dict(hidden_size=256, intermediate_size=704, num_hidden_layers=5, num_attention_heads=4, num_key_value_heads=4,
         vocab_size=1024), 200,
)  # fmt: skip
FULL = Size(
    dict(guidance_embeds=True), 64, 512, 8, 64, 3,
    dict(hidden_size=4096, intermediate_size=12288, num_hidden_layers=36, num_attention_heads=32,
         num_key_value_heads=8, vocab_size=151_936, max_position_embeddings=8192), 1500,
)  # fmt: skip


class Bench:
    """One machine, one size."""

    def __init__(self, size: Size, device: str) -> None:
        self.size, self.device = size, device
        self.dtype = torch.bfloat16 if device == "cuda" else torch.float32

    def flux(self) -> Any:
        """A transformer of random weights."""
        torch.manual_seed(0)
        with torch.device(self.device):
            return FluxTransformer2DModel(**self.size.flux).to(self.dtype).requires_grad_(False)

    def random(self, *shape: int) -> Tensor:
        """Normal numbers."""
        return torch.randn(*shape, device=self.device, dtype=self.dtype)

    def seconds(self, work: Callable[[], object]) -> float:
        """How long one call takes; on a processor, what it takes of the processor."""
        clock = time.perf_counter if self.device == "cuda" else time.process_time
        self.wait()
        start = clock()
        work()
        self.wait()
        return clock() - start

    def wait(self) -> None:
        """Until the GPU has done all that it was asked for."""
        if self.device == "cuda":
            torch.cuda.synchronize()

    def best(self, *works: Callable[[], object]) -> list[float]:
        """The best seconds of each, in turns."""
        for work in works:
            work()
        rounds = [[self.seconds(work) for work in works] for _ in range(self.size.repeats)]
        return [min(times) for times in zip(*rounds, strict=True)]

    def peak(self) -> float:
        """GiB of GPU memory at most since the last call; 0 without a GPU."""
        gc.collect()
        if self.device != "cuda":
            return 0.0
        most = torch.cuda.max_memory_allocated() / 2**30
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return most

    def inputs(self, config: Any, batch: int = 1) -> dict[str, Tensor]:
        """What a denoising step reads."""
        return {
            "noisy": self.random(batch, self.size.side**2, config.in_channels),
            "words": self.random(batch, self.size.words, config.joint_attention_dim),
            "pooled": self.random(batch, config.pooled_projection_dim),
        }


def limit(bench: Bench) -> float:
    """TFLOP/s of a large matrix product."""
    n = 16384 if bench.device == "cuda" else 1024
    left, right = bench.random(n, n), bench.random(n, n)
    (best,) = bench.best(lambda: left @ right)
    return 2 * n**3 / best / 1e12


def flops(transformer: Any, queries: int, keys: int) -> float:
    """FLOPs of one denoising step: two for each weight and token, four for each pair of tokens and width of attention.

    In double blocks words and picture have Linears of their own, of equal shapes; modulations see no tokens.
    """
    width: int = transformer.config.num_attention_heads * transformer.config.attention_head_dim
    blocks: int = transformer.config.num_layers + transformer.config.num_single_layers
    weights = sum(
        layer.weight.numel()
        for name, layer in linears(transformer).items()
        if not any(part in name for part in ("norm", "add_", "context"))
    )
    return 2.0 * weights * queries + 4.0 * queries * keys * width * blocks


def painter(bench: Bench) -> Figures:
    """Bar 2: our sampler against the same denoising steps of a transformer nobody has touched."""
    size, ours, bare = bench.size, prepare(bench.flux()), bench.flux()
    given, steps = bench.inputs(bare.config), bench.size.steps
    sheet, scheduler = Sheet(Layout(1, 1), size.side), FlowMatchEulerDiscreteScheduler()
    ids, told = positions(size.side, size.side).to(bench.device), (given["words"], given["pooled"])
    scale = torch.full((1,), 3.5, device=bench.device)
    half = torch.full((1,), 0.5, device=bench.device)

    def mine() -> None:
        denoise(ours, scheduler, sheet, given["noisy"], told, steps=steps, guidance=3.5)

    def theirs() -> None:
        for _ in range(steps):
            velocity(bare, given["noisy"], half, *told, ids, None, scale)

    with torch.inference_mode():
        taken, plain = bench.best(mine, theirs)
    tokens = size.side**2 + size.words
    rate = steps * flops(bare, tokens, tokens) / taken / 1e12
    return {"painter over bare": taken / plain, "step seconds": taken / steps, "painter tflops": rate}


def cache(bench: Bench) -> Figures:
    """Bar 5: a step that reads a cached condition against one that carries its tokens along; and the difference."""
    size, transformer = bench.size, prepare(bench.flux())
    given = bench.inputs(transformer.config)
    ids = positions(size.side, size.side).to(bench.device)
    there = positions(size.side, size.side, 1).to(bench.device)
    clean = bench.random(*given["noisy"].shape)
    t, scale = torch.full((1,), 0.5, device=bench.device), torch.full((1,), 3.5, device=bench.device)
    told = given["words"], given["pooled"]
    with torch.inference_mode():
        kept = encode_condition(transformer, clean, there)
        both, places = torch.cat([given["noisy"], clean], 1), torch.cat([ids, there])
        cached, joined = bench.best(
            lambda: velocity(transformer, given["noisy"], t, *told, ids, kept, scale),
            lambda: velocity(transformer, both, t, *told, places, None, scale),
        )
        first = velocity(transformer, given["noisy"], t, *told, ids, kept, scale)
        again = velocity(transformer, given["noisy"], t, *told, ids, encode_condition(transformer, clean, there), scale)
    return {"cache gain": joined / cached, "cache difference": float((first - again).abs().max())}


def domains(bench: Bench) -> Figures:
    """Bar 6: changing the domain in place, and what a denoising step costs with one laid over."""
    transformer, bare = prepare(bench.flux()), prepare(bench.flux())
    given, size = bench.inputs(bare.config), bench.size
    ids = positions(size.side, size.side).to(bench.device)
    t, scale = torch.full((1,), 0.5, device=bench.device), torch.full((1,), 3.5, device=bench.device)
    down, up = {}, {}
    for name, layer in linears(transformer).items():
        down[name] = bench.random(size.rank, layer.in_features).float() / size.rank
        up[name] = bench.random(2, layer.out_features, size.rank).float() / size.rank
    merger = Merger(transformer, keep=bench.device)
    part = Adapter("two domains", ("one", "two"), down, up)
    with torch.inference_mode():
        uses = [partial(merger.use, Part(part, name)) for name in ("one", "two")]
        switch = min(bench.best(*uses))
        read = (given["noisy"], t, given["words"], given["pooled"], ids, None, scale)
        laid, plain = bench.best(partial(velocity, transformer, *read), partial(velocity, bare, *read))
    return {"switch seconds": switch, "domain step over base": laid / plain}


def training(bench: Bench) -> Figures:
    """Bar 8: a training step of an asymmetric LoRA, one domain for each sample, against a plain one of equal rank."""
    steps = []
    for asymmetric in (True, False):
        transformer = bench.flux()
        if asymmetric:
            layers.add(transformer, [f"domain {i}" for i in range(10)], rank=bench.size.rank, name="bench")
        else:
            rank = bench.size.rank
            transformer.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=sorted(linears(transformer))))
        learned = [value for value in transformer.parameters() if value.requires_grad]
        steps.append(_step(bench, transformer, asymmetric, learned))
    ours, plain = bench.best(*steps)
    return {"asymmetric over plain": ours / plain, "training step seconds": ours}


def _step(bench: Bench, transformer: Any, asymmetric: bool, learned: list[Any]) -> Callable[[], None]:
    given = bench.inputs(transformer.config, 2)
    ids = positions(bench.size.side, bench.size.side).to(bench.device)
    t, scale = torch.tensor([0.3, 0.6], device=bench.device), torch.ones(2, device=bench.device)
    omega = torch.eye(10, device=bench.device)[[0, 1]]
    optimizer = torch.optim.AdamW(learned, lr=1e-5)
    target = bench.random(*given["noisy"].shape)

    def step() -> None:
        with layers.mixing(transformer, omega, "bench") if asymmetric else nullcontext():
            guess = velocity(transformer, given["noisy"], t, given["words"], given["pooled"], ids, None, scale)
        loss: Any = (guess - target).float().pow(2).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def language(bench: Bench) -> Figures:
    """A turn of a planner or critic: reading the prompt, and writing a token."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(**bench.size.language)
    with torch.device(bench.device):
        model: Any = Qwen3ForCausalLM(config).to(bench.dtype).eval()
    ids = torch.randint(0, config.vocab_size, (1, bench.size.prompt), device=bench.device)
    with torch.inference_mode():
        (prefill,) = bench.best(lambda: model(ids, use_cache=True, logits_to_keep=1))
        past = model(ids, use_cache=True, logits_to_keep=1).past_key_values
        one = ids[:, :1]
        decode = float(np.median([bench.seconds(lambda: model(one, past_key_values=past)) for _ in range(16)]))
    return {"prefill seconds": prefill, "decode seconds": decode}


PARTS: dict[str, Callable[[Bench], Figures]] = {
    "painter": painter, "cache": cache, "domains": domains, "training": training, "language": language,
}  # fmt: skip


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="full-size models, on a GPU")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS))
    given = parser.parse_args()
    if given.full and not torch.cuda.is_available():
        parser.error("--full needs a GPU, and torch sees none: leave it out to measure small models here")
    bench = Bench(FULL, "cuda") if given.full else Bench(SMALL, "cpu")
    column = "gpu" if given.full else "cpu"
    kept = OUT / f"engine-{column}.json"
    figures: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    figures["machine"] = torch.cuda.get_device_name() if given.full else platform.machine()
    figures["limit tflops"] = limit(bench)
    for name in given.only:
        print(f"measuring {name} …", flush=True)
        try:
            figures |= PARTS[name](bench)
        except torch.OutOfMemoryError:
            figures[f"{name} failed"] = 1.0
        figures[f"{name} gib"] = bench.peak()
    OUT.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(figures, indent=1))
    print(write({name: _read(OUT / f"engine-{name}.json") for name in ("cpu", "gpu")}))


def _read(path: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return read


if __name__ == "__main__":
    main()
