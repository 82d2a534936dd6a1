"""The real vLLM, serving the embedded model: `make test-vllm`. Minutes, so not part of `make test`.

`BRUSHLOOP_TEST_VLM` names another folder in the embedded model's format than the one that ships.
"""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import MODELS
from fakes import SHORT, ToyPainter
from PIL import Image

from brushloop import Studio
from brushloop.canvas import Brief, StepKind
from brushloop.critic.critic import Critic
from brushloop.critic.prompt import look_schema
from brushloop.errors import ContextError, ServerError
from brushloop.planner.prompt import plan_schema, plan_text
from brushloop.vlm import Question, open_vlm
from brushloop.vlm_embedded import EmbeddedVLM
from brushloop.vlm_openai import ServedVLM
from brushloop.vlm_server import Served, end, serving

FOLDER = Path(os.environ.get("BRUSHLOOP_TEST_VLM") or MODELS / "vlm")
PROMPTS = [
    f"{first} and {second} on a {place}"
    for first, second in (("a red apple", "two cats"), ("a dog", "a blue car"), ("three stars", "a house"))
    for place in ("beach", "meadow", "desert", "forest")
]

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(not (FOLDER / "world.json").is_file(), reason=f"no vision-language model in {FOLDER}"),
]


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(str(FOLDER), port=0) as running:
        yield running


@pytest.fixture
def vlm(served: Served) -> ServedVLM:
    model = open_vlm(served.name)
    assert isinstance(model, ServedVLM)
    return model


def counter(vlm: ServedVLM, name: str) -> float:
    text = urllib.request.urlopen(vlm.url.removesuffix("/v1") + "/metrics", timeout=10).read().decode()
    match = re.search(rf"^vllm:{name}_total{{[^}}]*}} (\S+)$", text, re.MULTILINE)
    assert match, f"vLLM has no counter {name}"
    return float(match[1])


def test_it_plans_as_the_model_itself_does(vlm: ServedVLM) -> None:
    local, same = EmbeddedVLM(str(FOLDER)), 0
    for prompt in PROMPTS:
        question = Question(plan_text(prompt), plan_schema(), instructions="left out by its template")
        ours, theirs = local.ask(question), vlm.ask(question)
        assert json.loads(theirs.text)["elements"] and theirs.tokens_in == ours.tokens_in
        same += ours.text == theirs.text
    assert same >= len(PROMPTS) - 1, f"{same} of {len(PROMPTS)}"


def test_it_sees_two_pictures_and_says_how_sure_it_is(vlm: ServedVLM) -> None:
    answer = Critic(vlm).reflect(Brief(prompt="a cat and a red ball"), SHORT, 0, Image.new("RGB", (128, 128), "white"))
    scores = [finding.score for finding in answer.value.findings if finding.score is not None]
    assert scores and all(0 <= score <= 1 for score in scores)
    told = [token.logprob for token in answer.replies[-1].tokens]
    assert any(logprob is not None and logprob < 0 for logprob in told), "the server tells how sure it is of each token"
    assert answer.replies[-1].tokens_in > 72, "two pictures of 36 tokens each"


def test_a_whole_picture_and_its_usage(vlm: ServedVLM) -> None:
    queries = counter(vlm, "prefix_cache_queries")
    creation = Studio(ToyPainter(), vlm).paint(PROMPTS[0], budget={"rounds": 3})
    assert creation.finished and creation.frame
    costs = [creation.store.measurements(digest) for digest in creation.hashes]
    read = sum(cost.get("tokens_in", 0) for cost in costs)
    assert read > 0 and counter(vlm, "prefix_cache_queries") - queries == read, "the server counts the same tokens"


def test_the_prefix_cache_is_used_and_told(vlm: ServedVLM) -> None:
    question = Question("look: " + "a red apple " * 40, look_schema(), max_tokens=1)
    vlm.ask(question)
    hits = counter(vlm, "prefix_cache_hits")
    cached = vlm.ask(question).tokens_cached
    assert cached >= 32 and counter(vlm, "prefix_cache_hits") - hits == cached


def test_what_it_refuses(served: Served, vlm: ServedVLM) -> None:
    with pytest.raises(ServerError, match="has no model 'other': it has embedded"):
        open_vlm(served.name.replace("#embedded", "#other"))
    picture = Image.new("RGB", (96, 96))
    with pytest.raises(ServerError, match="refuses the picture"):
        vlm.ask(Question("look: a cat", look_schema(), (picture,) * 3))
    with pytest.raises(ContextError, match="does not fit"):
        vlm.ask(Question("plan: " + "zyx " * 2000, plan_schema()))


def test_killed_in_mid_plan_and_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The request is on its way when the server dies; the loop waits, and goes on with the one that comes up."""
    monkeypatch.setenv("BRUSHLOOP_VLM_PATIENCE", "900")
    heard: list[Any] = []
    made: list[Any] = []
    with serving(str(FOLDER), port=0) as first:
        studio = Studio(ToyPainter(), open_vlm(first.name))
        port = int(first.name.partition("#")[0].split(":")[-1].removesuffix("/v1"))
        os.killpg(first.process.pid, signal.SIGSTOP)
        paint = threading.Thread(
            target=lambda: made.append(studio.paint(PROMPTS[1], on_event=heard.append, budget={"rounds": 2}))
        )
        paint.start()
        time.sleep(1)
        assert heard == [], "it is being asked for a plan"
        os.killpg(first.process.pid, signal.SIGKILL)
        end(first.process)
    until = time.monotonic() + 60
    while not heard and time.monotonic() < until:
        time.sleep(0.1)
    assert heard and heard[0]["type"] == "wait" and str(port) in heard[0]["why"]
    with serving(str(FOLDER), port=port):
        paint.join(300)
    (creation,) = made
    assert creation.finished and [step.kind for step in creation.steps[:2]] == [StepKind.BRIEF, StepKind.PLAN]
    assert all(event["type"] == "wait" for event in heard[: [event["type"] for event in heard].index("step")])
