"""Beginning a run with weights like those that ship, even where they were learned in another world."""

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
"""Rows (here, there) of the words or names that both know."""


@torch.no_grad()
def take_over(module: nn.Module, where: Path, rows: Mapping[str, Rows] | None = None) -> None:
    """Give a module the weights in a file or folder; of those named in `rows` these rows, the others stay fresh.

    Raises:
        WeightsError: there are none, damaged ones, or those of another architecture.
    """
    files = [where] if where.is_file() else sorted(where.glob("*.safetensors"))
    if not files:
        raise WeightsError(f"{where} holds no safetensors to begin with: name weights like those that ship")
    for path in files:
        check(path)
    theirs = {name: tensor for path in files for name, tensor in load_file(path).items()}
    counted = {name: each for name, each in module.named_buffers() if name in theirs}
    for name, ours in {**dict(module.named_parameters()), **counted}.items():
        known, some = theirs.get(name), (rows or {}).get(name)
        size, there = tuple(ours.shape), "none" if known is None else tuple(known.shape)
        if known is None or known.shape[some is not None :] != ours.shape[some is not None :]:
            raise WeightsError(f"{where} is of another architecture: {name} is {there} there and {size} here")
        if some is None:
            ours.copy_(known)
        else:
            for here, its in some:
                ours[here] = known[its]


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


def named(ours: Sequence[str], theirs: Sequence[str], here: int = 0, there: int = 0) -> Rows:
    """The names that both lists know, which begin at the rows `here` and `there`."""
    places = {name: there + number for number, name in enumerate(theirs)}
    return [(here + number, places[name]) for number, name in enumerate(ours) if name in places]
