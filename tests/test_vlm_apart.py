"""The vision-language model in a process of its own: the same replies, and an end with the process that asks."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from brushloop.canvas import Plan
from brushloop.critic.prompt import look_schema
from brushloop.errors import BrushloopError, ModelError, WeightsError
from brushloop.scale.together import studio_of
from brushloop.vlm import Question, own_questions
from brushloop.vlm_apart import ApartVLM

PLAN = Question("plan: a red apple left of a cat", Plan.model_json_schema())


@pytest.fixture(scope="module")
def apart() -> Iterator[ApartVLM]:
    model = ApartVLM("embedded")
    yield model
    model.close()


def test_it_answers_as_the_model_here_does(apart: ApartVLM) -> None:
    assert apart.ask(PLAN) == apart.vlm.ask(PLAN)
    assert apart.ref == apart.vlm.ref and own_questions(apart) == own_questions(apart.vlm)
    assert apart.unknown_words("a zebrafish") == apart.vlm.unknown_words("a zebrafish")


def test_what_the_model_raises_comes_across_and_ends_nothing(apart: ApartVLM) -> None:
    impossible = replace(PLAN, schema={"type": "no such type"})
    with pytest.raises(BrushloopError) as here:
        apart.vlm.ask(impossible)
    with pytest.raises(type(here.value), match="cannot be turned into a grammar"):
        apart.ask(impossible)
    assert apart.ask(PLAN).text


def test_pictures_go_with_the_question(apart: ApartVLM) -> None:
    pictures = tuple(Image.linear_gradient("L").convert(mode).resize((128, 128)) for mode in ("RGB", "L"))
    look = Question("look: prompt a cat", look_schema(), pictures, max_tokens=60)
    assert apart.ask(look) == apart.vlm.ask(look)


def test_a_process_that_died_is_told_in_one_line() -> None:
    model = ApartVLM("embedded")
    model._process.kill()
    with pytest.raises(ModelError, match="process of embedded ended with exit code -9") as told:
        for _ in range(3):
            model.ask(PLAN)
    assert "\n" not in str(told.value)
    model.close()


def test_a_missing_folder_is_told_before_any_process(tmp_path: Path) -> None:
    with pytest.raises(WeightsError):
        ApartVLM(f"hf:{tmp_path}")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="processes are looked up in /proc")
def test_it_ends_with_the_process_that_asks_however_that_ends() -> None:
    script = (
        "import os; from brushloop.vlm_apart import ApartVLM; "
        "print(ApartVLM('embedded')._process.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, timeout=120)
    assert done.returncode == -9
    stat, until = Path("/proc", done.stdout.strip(), "stat"), time.monotonic() + 60
    while _lives(stat) and time.monotonic() < until:
        time.sleep(0.1)
    assert time.monotonic() < until


def _lives(stat: Path) -> bool:
    try:
        return ") Z " not in stat.read_text()  # a zombie has ended; nobody has asked for its exit code
    except FileNotFoundError:
        return False


def test_only_creations_at_once_have_it_apart(tmp_path: Path) -> None:
    alone = studio_of("embedded", "embedded", tmp_path)
    assert not isinstance(alone.vlm, ApartVLM)
    several = studio_of("embedded", "embedded", tmp_path, at_once=2)
    assert isinstance(several.vlm, ApartVLM)
    several.vlm.close()
