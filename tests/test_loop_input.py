"""What cannot be painted as asked is refused in one line, before anything is recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes import ToyPainter, ToyVLM

from brushloop import Studio
from brushloop.errors import BackendError, InputError, OutsideWorldError, PromptError, SizeError, UnwritableError


@pytest.mark.parametrize(
    ("wanted", "error", "said"),
    [
        ({"prompt": ""}, PromptError, "the prompt is empty"),
        ({"prompt": " \n\t"}, PromptError, "the prompt is empty"),
        ({"prompt": "cat " * 25_000}, PromptError, "100000 characters long: shorten it to 2000"),
        ({"prompt": "\x00\x01\x02"}, PromptError, "not text"),
        ({"prompt": "a \udcff cat"}, PromptError, "not valid Unicode|string"),
        ({"prompt": b"a cat"}, PromptError, "bytes, not text"),
        ({"prompt": None}, PromptError, "NoneType, not text"),
        ({"size": (8, 8)}, SizeError, "40x40 is possible"),
        ({"size": (0, 40)}, InputError, "size"),
        ({"size": 40}, InputError, "size"),
        ({"seed": -1}, InputError, "seed '-1' cannot be used: it should be greater than or equal to 0"),
        ({"seed": 2**63}, InputError, "seed"),
        ({"seed": "lucky"}, InputError, "seed"),
        ({"budget": {"rounds": 0}}, InputError, "budget rounds '0' cannot be used"),
        ({"budget": {"seconds": 0}}, InputError, "budget seconds"),
        ({"budget": {"money": 3}}, InputError, "budget money '3' cannot be used: no such limit"),
        ({"pause": ["before:lunch"]}, InputError, "cannot pause at 'before:lunch'"),
        ({"id": "../etc"}, InputError, "cannot name a creation"),
    ],
)
def test_it_is_one_line_and_nothing_is_recorded(wanted: dict[str, Any], error: type[Exception], said: str) -> None:
    painter, vlm = ToyPainter(), ToyVLM()
    studio = Studio(painter, vlm)
    with pytest.raises(error, match=said) as caught:
        studio.paint(**{"prompt": "a cat", **wanted})
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
    assert type(caught.value) is error
    assert studio.store.heads() == []
    assert painter.requests == [] and vlm.questions == []


def test_an_unknown_word_leaves_nothing_behind() -> None:
    studio = Studio(ToyPainter(), ToyVLM(unknown=[("giraffe", ["horse"])]))
    with pytest.raises(OutsideWorldError, match="'giraffe'"):
        studio.paint("a giraffe")
    assert studio.store.heads() == []


def test_an_unknown_backend() -> None:
    with pytest.raises(BackendError, match="unknown painter backend"):
        Studio("crayons", ToyVLM()).paint("a cat")


def test_a_home_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UnwritableError):
        Studio(ToyPainter(), ToyVLM(), tmp_path / "file" / "home").paint("a cat")


def test_one_shot_is_the_painter_alone() -> None:
    painter, vlm = ToyPainter(), ToyVLM()
    studio = Studio(painter, vlm)
    studio.one_shot("a cat", seed=3)
    (request,) = painter.requests
    assert (request.prompt, request.canvas, request.regions, vlm.questions) == ("a cat", None, (), [])
    studio.paint("a cat", seed=3)
    assert painter.requests[1].seed == request.seed, "the first draft begins from the same noise"
    assert len(studio.store.heads()) == 1
    with pytest.raises(SizeError):
        studio.one_shot("a cat", size=(8, 8))
