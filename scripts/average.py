"""The mean of two painters that one run went on from the other: `python scripts/average.py ONE OTHER OUT [SHARE]`.

Each weight is that of ONE, a SHARE (0.5) of the way to that of OTHER; words that they number differently keep their own
rows. What a run's last part forgot and what it learned meet halfway, often better than either (Wortsman et al.,
Robust fine-tuning of zero-shot models, 2022, arXiv:2109.01903).
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save_file

WORDS = {"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"}


def average(one: Path, other: Path, out: Path, share: float = 0.5) -> None:
    """Write the mean of two diffusers folders to `out`, with everything else as `other` has it."""
    shutil.copytree(other, out)
    for path in sorted(other.rglob("*.safetensors")):
        part = path.relative_to(other)
        first, second = load_file(one / part), load_file(path)
        if words := WORDS.get(part.parts[0]):
            theirs, ours = (vocabulary(folder / words) for folder in (one, other))
            order = [theirs[word] for word, _ in sorted(ours.items(), key=lambda item: item[1])]
            for name, table in first.items():
                if len(table) == len(order) and table.ndim == 2:
                    first[name] = table[order]
        mean = {name: first[name].float().lerp(second[name].float(), share).to(second[name].dtype) for name in second}
        with safe_open(path, "pt") as file:
            save_file(mean, out / part, metadata=file.metadata())


def vocabulary(folder: Path) -> dict[str, int]:
    """The numbers of all the tokens of a tokenizer, in order without a gap."""
    told = json.loads((folder / "tokenizer.json").read_text())
    words: dict[str, int] | list[list[object]] = told["model"]["vocab"]
    found = words if isinstance(words, dict) else {str(word): number for number, (word, _) in enumerate(words)}
    return found | {each["content"]: each["id"] for each in told["added_tokens"]}


if __name__ == "__main__":
    one, other, out = map(Path, sys.argv[1:4])
    average(one, other, out, *map(float, sys.argv[4:5]))
