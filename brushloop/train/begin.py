"""Beginning a run with the weights of a folder that ships, even where they were learned in another world."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from transformers import PreTrainedTokenizerBase

from brushloop.errors import WeightsError
from brushloop.weights import check

Rows = Sequence[tuple[int, int]]
"""Places (here, there) of the words that both vocabularies know."""


@torch.no_grad()
def take_over(module: nn.Module, folder: Path, words: str = "", rows: Rows = ()) -> None:
    """Give a module the weights in a folder; of the embedding named `words` only `rows`, the others stay fresh.

    Raises:
        WeightsError: the folder holds none, damaged ones, or those of another architecture.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise WeightsError(f"{folder} holds no safetensors to begin with: name a folder like the one that ships")
    for path in files:
        check(path)
    theirs = {name: tensor for path in files for name, tensor in load_file(path).items()}
    for name, ours in module.named_parameters():
        known = theirs.get(name)
        size, there = tuple(ours.shape), "none" if known is None else tuple(known.shape)
        if known is None or known.shape[name == words :] != ours.shape[name == words :]:
            raise WeightsError(f"{folder} is of another architecture: {name} is {there} there and {size} here")
        if name == words:
            here, its = (list(places) for places in zip(*rows, strict=True))
            ours[here] = known[its].to(ours)
        else:
            ours.copy_(known)


def shared(ours: PreTrainedTokenizerBase, folder: Path) -> Rows:
    """The tokens of a tokenizer that the one in a folder has too.

    Raises:
        WeightsError: there is no tokenizer in the folder.
    """
    from transformers import PreTrainedTokenizerFast

    try:
        theirs: Mapping[str, int] = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True).get_vocab()
    except (OSError, ValueError) as error:
        raise WeightsError(f"{folder} holds no tokenizer, which tells what its weights know: copy it again") from error
    return [(number, theirs[token]) for token, number in ours.get_vocab().items() if token in theirs]
