"""What people say when they want an edit: every kind, in phrasings of two divisions."""

from __future__ import annotations

import random
import re

import pytest

from brushloop.canvas import EditType
from brushloop.supervision.world.wishes import KINDS, PHRASINGS, fill, held_out, wish

OWN = {"thing", "other", "new", "some", "things"}


def test_every_kind_has_phrasings_of_both_divisions() -> None:
    assert set(KINDS) == {*EditType, None}
    for kind, phrasings in PHRASINGS.items():
        assert len(set(phrasings)) == len(phrasings) >= 9
        held = held_out(kind)
        assert 1 <= len(held) <= len(phrasings) / 4
        known = {word for each in phrasings if each not in held for word in re.findall(r"{?\w+", each)}
        for each in held:  # new phrasings of known words
            assert set(re.findall(r"{?\w+", each)) <= known


def test_no_phrasing_stands_for_two_kinds() -> None:
    said = [phrasing for phrasings in PHRASINGS.values() for phrasing in phrasings]
    assert len(set(said)) == len(said)


@pytest.mark.parametrize("training", [True, False])
def test_wishes_keep_to_their_division(training: bool) -> None:
    rng = random.Random(2)
    for kind in KINDS:
        allowed = [each for each in PHRASINGS[kind] if (each in held_out(kind)) is not training]
        for _ in range(20):
            text = wish(rng, kind, training)
            assert "{" not in text
            assert any(re.search(_pattern(each), text) for each in allowed), (kind, text)


def _pattern(phrasing: str) -> str:
    parts = re.split(r"{(\w+)}", phrasing)
    assert set(parts[1::2]) <= OWN | set(fill())
    return "".join(".+" if number % 2 else re.escape(part) for number, part in enumerate(parts))
