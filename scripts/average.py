"""The mean of two painters that one run went on from the other: `python scripts/average.py ONE OTHER OUT [SHARE]`.

Each weight is that of ONE, a SHARE (0.5) of the way to that of OTHER; words that they number differently keep their own
rows. What a run's last part forgot and what it learned meet halfway, often better than either (Wortsman et al.,
Robust fine-tuning of zero-shot models, 2022, arXiv:2109.01903).
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerFast

from brushloop.train.begin import shared
from brushloop.train.painter import READERS


def average(one: Path, other: Path, out: Path, share: float = 0.5) -> None:
    """Write the mean of two diffusers folders to `out`, with everything else as `other` has it."""
    shutil.copytree(other, out)
    for path in sorted(other.rglob("*.safetensors")):
        part = path.relative_to(other)
        first, second = load_file(one / part), load_file(path)
        if part.parts[0] in READERS:
            embedding, words = READERS[part.parts[0]]
            theirs, first[embedding] = first[embedding], second[embedding].clone()
            for here, there in shared(PreTrainedTokenizerFast.from_pretrained(other / words), one / words):
                first[embedding][here] = theirs[there]
        mean = {name: first[name].float().lerp(second[name].float(), share).to(second[name].dtype) for name in second}
        with safe_open(path, "pt") as file:
            save_file(mean, out / part, metadata=file.metadata())


if __name__ == "__main__":
    one, other, out = map(Path, sys.argv[1:4])
    average(one, other, out, *map(float, sys.argv[4:5]))
