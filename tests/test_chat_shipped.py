"""Conversations with the models that ship: what a turn does not speak of keeps its bits. Figures: docs/people.md."""

from __future__ import annotations

import pytest

from benchmarks.conversation import THINGS, hold, script
from brushloop import Studio
from brushloop.supervision.judge import Judge


@pytest.mark.trust
@pytest.mark.models
def test_a_few_turns_do_not_drift() -> None:
    talk = hold(Studio(), Judge(), seed=1, turns=4)
    assert talk.turns == 4 and not talk.refused and talk.sound
    assert talk.outside == 0 and talk.kept and min(talk.free) > 0.3


@pytest.mark.trust
@pytest.mark.models
def test_thirty_turns_do_not_drift() -> None:
    talk = hold(Studio(), Judge(), seed=0)
    assert talk.turns + len(talk.refused) == 30 and len(talk.refused) <= 3 and talk.sound
    assert talk.outside == 0 and talk.kept
    assert sum(talk.done) >= 0.6 * len(talk.done), "what was asked for is seen in most turns"


def test_the_script_speaks_of_everything_but_what_is_kept() -> None:
    said = script(30)
    assert len(set(said)) > 25 and all(any(thing in turn for turn in said) for thing in THINGS)
    assert not any("house" in turn for turn in said[1:])
