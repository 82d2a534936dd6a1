"""The small world stays as the shipped models know it: what seeds give there is pinned."""

from __future__ import annotations

import hashlib
import random
from typing import Any

import pytest

from brushloop.supervision import faults, held_out, processes
from brushloop.supervision.world import cases, edits, scenes, wishes, words

PINNED = {
    "scenes": "6878cf83110719bb",
    "pictures": "5fbf8c8cf74e6a64",
    "prompts": "ad48ebd62f95a411",
    "crowds": "8ee76acbd822fe57",
    "edits": "bf6731948df2e65d",
    "faults": "190d97076203c779",
    "cases": "dc47abaea97ab5e7",
    "wishes": "a936bf342ab8e75f",
    "makings": "fb11d24823fda67d",
    "bench": "698daadc7c2517a8",
}


def _said(kind: str) -> Any:
    rng = random.Random(f"pinned/{kind}")
    for number in range(100):
        if kind == "scenes":
            yield scenes.sample_split(rng, number % 2 == 0, None, 0.5)
        elif kind == "pictures":
            if number < 12:
                scene = scenes.sample(rng)
                yield scenes.render(scene.elements, scene.style, scene.variant).tobytes()
        elif kind == "prompts":
            scene = scenes.sample(rng)
            yield words.prompt(scene, rng), words.plan(scene)
        elif kind == "crowds":
            if number < 30:
                yield scenes.crowd(rng)
        elif kind == "edits":
            yield edits.sample(rng, number % 2 == 0)
        elif kind == "faults":
            if number >= 30:
                return
            state = faults.sample(rng, number % 2 == 0, fancied=number % 5 == 0)
            yield state.prompt, state.plan, state.step, state.look, state.drawn, state.picture.tobytes()
        elif kind == "cases":
            if number < len(cases.WORLD):
                case = cases.case(rng, cases.WORLD[number], number % 2 == 0)
                yield case.text, case.before.tobytes(), case.after.tobytes(), case.regions
        elif kind == "wishes":
            yield wishes.wish(rng, wishes.KINDS[number % len(wishes.KINDS)], number % 2 == 0)
        elif kind == "makings":
            if number < 6:
                made = processes.make(sorted(processes.DOMAINS)[number % len(processes.DOMAINS)], rng, 4, 64)
                yield made.prompt, [frame.tobytes() for frame in made.frames]
        elif number == 0:
            yield held_out.prompts(30)


@pytest.mark.parametrize("kind", PINNED)
def test_seeds_give_what_they_gave_when_the_shipped_models_were_trained(kind: str) -> None:
    assert hashlib.sha256(repr(list(_said(kind))).encode()).hexdigest()[:16] == PINNED[kind]
