"""Condition units: pictures that a text speaks of, as clean tokens in one sequence (ACE, sections 3.1 and 3.2).

A picture's place in the sequence is its number: the canvas is picture 0, at position index 1, and its mask at index
2; picture k stands at 2k + 1 and 2k + 2. One that an edit follows (a sketch, a depth map) has no number and stands
at index -1, on the other side of what is painted. In a text `{image}` is picture 0, `{image1}` picture 1, and so on. A
learned indicator of a number is added to the picture's tokens and to the text where it is named, so that one leads
to the other. The indicators begin at zero: a base that was never taught them computes what it did before.

Shapes: B batch, N tokens of a picture, C channels of a token, L text tokens, D features.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from brushloop.errors import InputError
from brushloop.painter.condition import positions

if TYPE_CHECKING:
    from PIL.Image import Image

MOST = 16
"""Pictures of one request, those of earlier turns among them."""
FOLLOWED = -1
"""In the place of a number: a picture that an edit follows, which no text names."""
MARK = re.compile(r"\{image(\d*)\}")


@dataclass(frozen=True)
class Unit:
    """One picture as tokens, and where it lies."""

    tokens: Tensor
    """(B N C), clean."""
    size: tuple[int, int]
    """Rows and columns of tokens."""
    mask: Tensor | None = None
    """(B N C), see `mask_tokens`."""
    number: int = 0


def named(text: str) -> tuple[int, ...]:
    """Numbers of the pictures that a text names, in order: `{image}` is 0."""
    return tuple(int(match[1] or 0) for match in MARK.finditer(text))


def check(text: str, pictures: int) -> None:
    """Raise `InputError` if a text names a picture that is not given, or there are too many."""
    if pictures > MOST:
        raise InputError(f"{pictures} pictures are given: at most {MOST} can be read at once")
    for number in named(text):
        if number >= pictures:
            given = f"{pictures} pictures are" if pictures != 1 else "1 picture is"
            known = ", ".join(mark(each) for each in range(pictures)) or "none"
            raise InputError(f"the text names {mark(number)}, and {given} given: use {known}")


def mark(number: int) -> str:
    """How a text names picture `number`."""
    return f"{{image{number or ''}}}"


def plain(text: str, words: Sequence[str] = ()) -> str:
    """The text as a model without indicators reads it: `{image1}` becomes `image 2`, or the word given for it."""

    def said(match: re.Match[str]) -> str:
        number = int(match[1] or 0)
        return words[number] if number < len(words) else "the picture" if number == 0 else f"picture {number + 1}"

    return MARK.sub(said, text)


def places(text: str, number: int) -> list[tuple[int, int]]:
    """Where `plain(text)` speaks of picture `number`: first and last character."""
    found, at, shift = [], 0, 0
    for match in MARK.finditer(text):
        at = match.start() + shift
        said = plain(match[0])
        if int(match[1] or 0) == number:
            found.append((at, at + len(said)))
        shift += len(said) - len(match[0])
    return found


def mask_tokens(mask: Image, rows: int, columns: int, channels: int) -> Tensor:
    """A grey mask (white may change) as (N C) tokens in -1..1, each holding its own square of the mask.

    The square has as many cells as a token has channels: 8 x 8 where 64 channels stand for 16 x 16 pixels. It is the
    form in which the embedded painter was taught its regions.
    """
    side = math.isqrt(channels)
    from PIL.Image import Resampling

    small = mask.convert("L").resize((columns * side, rows * side), Resampling.BOX)
    cells = torch.from_numpy(np.asarray(small, np.float32).copy()) / 127.5 - 1
    blocks = cells.view(rows, side, columns, side).permute(0, 2, 1, 3).reshape(rows * columns, side * side)
    return torch.nn.functional.pad(blocks, (0, channels - side * side), value=-1.0)


class Indicators(nn.Module):
    """Learned codes of the pictures' numbers, for their tokens and for the words that name them."""

    def __init__(self, channels: int, features: int) -> None:
        super().__init__()
        self.of_picture = nn.Parameter(torch.zeros(MOST, channels))
        self.of_words = nn.Parameter(torch.zeros(MOST, features))

    def picture(self, tokens: Tensor, number: int) -> Tensor:
        """Tokens (B N C) of picture `number`, marked as its."""
        return tokens + self.of_picture[number].to(tokens)

    def words(self, features: Tensor, text: str, spans: Sequence[tuple[int, int]]) -> Tensor:
        """Text features (1 L D) of `plain(text)`, marked where a picture is named.

        `spans` are first and last characters of each text token, as a fast tokenizer tells them (0, 0 for none).
        """
        marks = torch.zeros_like(features)
        for number in set(named(text)):
            for start, end in places(text, number):
                for index, (first, last) in enumerate(spans[: features.shape[1]]):
                    if first < end and last > start:
                        marks[:, index] += self.of_words[number].to(features)
        return features + marks


def join(units: Sequence[Unit], indicators: Indicators | None = None) -> tuple[Tensor, Tensor]:
    """Tokens (B M C) and position ids (M 3) of all units in one sequence."""
    tokens, ids = [], []
    for unit in units:
        if indicators is not None and unit.number != FOLLOWED:
            tokens.append(indicators.picture(unit.tokens, unit.number))
        else:
            tokens.append(unit.tokens)
        ids.append(positions(*unit.size, 2 * unit.number + 1))
        if unit.mask is not None:
            tokens.append(unit.mask)
            ids.append(positions(*unit.size, 2 * unit.number + 2))
    return torch.cat(tokens, dim=1), torch.cat(ids)
