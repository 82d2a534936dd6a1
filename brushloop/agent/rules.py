"""A policy from a file: words that stop a creation or are replaced, and pictures that must not be seen again.

    [[stop]]
    words = ["rifle", "machine gun"]
    reason = "no weapons"

    [[redact]]
    words = ["acme"]
    replace = "a brand"
    reason = "no brands"

    [[redact]]
    pictures = ["not-this.png"]     # beside the rules file
    reason = "shown before"

Words are found whole, in any case and spelling width. Pictures are found by a difference hash (64 bits: whether
each cell of a 9 x 8 thumbnail is clearly brighter than the one to its left), so scaled or slightly changed copies count
too; a redacted one is shown in coarse squares. It is an example and a first line of defence: whoever needs to judge
what a picture means gives a policy of their own (`Studio(policy=...)`).
"""

from __future__ import annotations

import os
import re
import tomllib
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, ValidationError

from brushloop.agent.review import Ruling
from brushloop.canvas import Noun
from brushloop.errors import InputError
from brushloop.pictures import open_picture

if TYPE_CHECKING:
    from PIL.Image import Image

NEAR = 6
"""Bits of 64 in which the hashes of two pictures may differ and still count as the same."""
SQUARES = 6
"""Along each side of a redacted picture."""


class Rule(Noun):
    """What to look for, and why."""

    words: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    pictures: tuple[str, ...] = ()
    reason: Annotated[str, Field(min_length=1)]
    replace: str = ""
    """What a redacted word becomes."""


class _File(Noun):
    stop: tuple[Rule, ...] = ()
    redact: tuple[Rule, ...] = ()


class Rules:
    """A policy that follows rules. Those that stop come first."""

    def __init__(self, stop: Sequence[Rule] = (), redact: Sequence[Rule] = (), folder: Path = Path()) -> None:
        self._texts = [(_pattern(rule.words), rule, halts) for rule, halts in _both(stop, redact) if rule.words]
        self._pictures = [
            (difference_hash(open_picture(folder / name)), rule, halts)
            for rule, halts in _both(stop, redact)
            for name in rule.pictures
        ]

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Rules:
        """Rules from a TOML file.

        Raises:
            InputError: it cannot be read, or is not written like that.
        """
        where = Path(path).expanduser()
        try:
            found = _File.model_validate(tomllib.loads(where.read_text(encoding="utf-8")))
        except OSError as error:
            raise InputError(f"cannot read the review rules {where}: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"the review rules {where} are no TOML: {error}") from error
        except ValidationError as error:
            fault = error.errors()[0]
            place = ".".join(map(str, fault["loc"]))
            raise InputError(f"the review rules {where} cannot be used: {place}: {fault['msg']}") from error
        return cls(found.stop, found.redact, where.parent)

    def text(self, said: str) -> Ruling | None:
        """Stop at a forbidden word; else replace those that are to be replaced, all of them at once."""
        plain, reasons = unicodedata.normalize("NFKC", said), []
        for pattern, rule, halts in self._texts:
            if pattern.search(plain):
                if halts:
                    return Ruling(rule.reason)
                plain = pattern.sub(lambda _, rule=rule: rule.replace, plain)  # type: ignore[misc]
                reasons.append(rule.reason)
        return Ruling("; ".join(dict.fromkeys(reasons)), " ".join(plain.split())) if reasons else None

    def picture(self, seen: Image) -> Ruling | None:
        """Stop at, or coarsen, a picture that looks like one of the rules'."""
        from PIL.Image import Resampling

        if not self._pictures:
            return None
        found = difference_hash(seen)
        for known, rule, halts in self._pictures:
            if (found ^ known).bit_count() <= NEAR:
                if halts:
                    return Ruling(rule.reason)
                coarse = seen.convert("RGB").resize((SQUARES, SQUARES), Resampling.BOX)
                return Ruling(rule.reason, picture=coarse.resize(seen.size, Resampling.NEAREST))
        return None


def difference_hash(picture: Image) -> int:
    """64 bits: is each cell of a 9 x 8 grey thumbnail brighter than its left neighbour, by more than noise?"""
    from PIL.Image import Resampling

    grey = picture.convert("L").resize((9, 8), Resampling.BOX).tobytes()
    bits = (grey[row * 9 + column] + 4 < grey[row * 9 + column + 1] for row in range(8) for column in range(8))
    return sum(bit << place for place, bit in enumerate(bits))


def _both(stop: Sequence[Rule], redact: Sequence[Rule]) -> list[tuple[Rule, bool]]:
    return [*((rule, True) for rule in stop), *((rule, False) for rule in redact)]


def _pattern(words: Sequence[str]) -> re.Pattern[str]:
    """Any of the words, whole, in any case; white space in one is any white space."""
    forms = (r"\s+".join(map(re.escape, unicodedata.normalize("NFKC", word).split())) for word in words)
    return re.compile(rf"(?<!\w)(?:{'|'.join(sorted(forms, key=len, reverse=True))})(?!\w)", re.IGNORECASE)
