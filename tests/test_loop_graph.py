"""The state machine: how it is drawn, what it keeps, what it tells."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
from fakes import PLAN, SHORT, ToyPainter, ToyVLM, look
from langgraph.checkpoint.memory import InMemorySaver

from brushloop import Studio
from brushloop.agent.checkpoints import open_saver, serializer
from brushloop.agent.context import Context
from brushloop.agent.graph import build
from brushloop.agent.state import replay
from brushloop.canvas import ModelRef, StepKind, StopReason
from brushloop.critic.critic import Critic
from brushloop.errors import OutsideWorldError
from brushloop.planner.planner import Planner

PROMPT = "a cat and a red ball on a beach"
PAGE = Path(__file__).resolve().parents[1] / "docs" / "architecture.md"


def test_the_diagram_in_the_docs_is_the_graph() -> None:
    drawn = build().get_graph().draw_mermaid().strip()
    found = re.search(r"<!-- graph -->\n```mermaid\n(.*?)\n```\n<!-- /graph -->", PAGE.read_text(), re.DOTALL)
    assert found, f"{PAGE.name} has lost the markers of its diagram"
    assert found[1] == drawn, f"draw it again: put this between the markers of {PAGE.name}\n{drawn}"


def test_checkpoints_hold_hashes_and_text_and_stay_small(home: Path) -> None:
    saver = InMemorySaver(serde=serializer())
    painter = ToyPainter(fails=lambda request: True)
    sizes, ids = [], set()
    studio = Studio(painter, ToyVLM(), checkpointer=saver)
    creation = studio.paint(PROMPT, budget={"stall": 30, "rounds": 40}, pause=["after:reflect"])
    while not creation.finished:
        state = saver.get_tuple({"configurable": {"thread_id": creation.id}})
        assert state
        values = state.checkpoint["channel_values"]
        sizes.append(len(json.dumps(values, default=lambda noun: noun.model_dump(mode="json"))))
        ids.add(values["id"])
        creation = studio.answer(creation.id, pause=["after:reflect"])
    assert ids == {creation.id} and len(sizes) > 30
    assert max(sizes) < 1.3 * sizes[0] < 6_000, "it does not grow with the rounds"


def test_the_checkpoint_says_what_the_chain_says(home: Path) -> None:
    painter = ToyPainter(fails=lambda request: request.seed % 3 != 0)
    studio = Studio(painter, ToyVLM())
    creation = studio.paint(PROMPT, pause=["before:refine"])
    graph = build(open_saver(home / "checkpoints.sqlite"))
    known = graph.get_state({"configurable": {"thread_id": creation.id}})
    chain = studio.store.chain(creation.head)
    assert known.values == replay(creation.id, chain, studio.store.measurements)


def test_nothing_but_the_nouns_of_the_state_is_built_from_a_checkpoint() -> None:
    strict = serializer()
    assert strict.loads_typed(strict.dumps_typed(SHORT)) == SHORT
    with pytest.raises(ValueError, match="did not write"):
        strict.loads_typed(strict.dumps_typed(ModelRef(id="x")))


def test_another_checkpointer_may_be_given(home: Path) -> None:
    creation = Studio(ToyPainter(), ToyVLM(), checkpointer=InMemorySaver(serde=serializer())).paint(PROMPT)
    assert creation.stop_reason is StopReason.ACCEPTED
    assert not list(home.glob("checkpoints*"))


def test_a_home_that_is_not_local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platformdirs.user_state_path", lambda name: tmp_path / name)
    creation = Studio(ToyPainter(), ToyVLM(), home="memory://loop").paint(PROMPT)
    assert creation.stop_reason is StopReason.ACCEPTED and creation.image
    assert len(list(tmp_path.glob("brushloop/*/checkpoints.sqlite"))) == 1


def test_redraw_and_replan() -> None:
    looks = [
        look("wrong", "missing", "missing", verdict="redraw"),
        look("wrong", "missing", "missing", verdict="redraw"),
        look("wrong", "missing", "missing", verdict="redraw"),
        look("present", "missing", "missing", verdict="replan"),
        look("present", "missing", "missing", verdict="replan"),
        None,
    ]
    painter, vlm = ToyPainter(), ToyVLM([SHORT, SHORT], looks)
    creation = Studio(painter, vlm).paint(PROMPT, budget={"stall": 9})
    acts = [step.kind.value for step in creation.steps if step.kind is not StepKind.REFLECT]
    assert acts == ["brief", "plan", "draft", "draft", "draft", "refine", "plan", "refine", "finish"]
    assert vlm.questions[5].text.startswith(f"plan: {PROMPT}\nfaults: cat missing; ball missing")
    drafts = painter.requests[:3]
    assert len({request.seed for request in drafts}) == 3, "a redraw has another seed"
    assert len({(request.prompt, request.regions) for request in drafts}) == 1
    assert creation.stop_reason is StopReason.ACCEPTED


def test_the_chain_is_a_chain_and_names_its_makers() -> None:
    creation = Studio(ToyPainter(), ToyVLM()).paint(PROMPT, seed=3)
    for (before, _), (_, step) in itertools.pairwise(creation.store.chain(creation.head)):
        assert step.parent == before
    root = creation.steps[0]
    assert root.kind is StepKind.BRIEF and root.parent is None
    assert root.settings == {"painter": "toy-painter", "vlm": "toy-vlm"}
    assert {step.model.id for step in creation.steps if step.model} == {"toy-painter", "toy-vlm"}
    assert creation.steps[-1].outputs == (creation.frame,)
    costs = [creation.store.measurements(digest) for digest in creation.hashes[1:]]
    assert all(cost["seconds"] >= 0 for cost in costs)
    assert sum(cost["tokens"] for cost in costs) > 0


def test_events_tell_every_step_and_every_denoising_step() -> None:
    heard: list[Any] = []
    creation = Studio(ToyPainter(), ToyVLM([SHORT])).paint(PROMPT, on_event=heard.append)
    steps = [event for event in heard if event["type"] == "step"]
    assert [event["hash"] for event in steps] == creation.hashes[1:]
    assert [event["text"] for event in steps] == [step.text for step in creation.steps[1:]]
    assert steps[1]["image"] == creation.steps[2].outputs[0].hash and steps[0]["image"] is None
    denoised = [(event["node"], event["done"], event["total"]) for event in heard if event["type"] == "denoise"]
    assert denoised == [("draft", done, 8) for done in range(1, 9)]
    assert heard[-1] == {"type": "done", "creation": creation.summary()}
    json.dumps(heard)


def test_whoever_runs_the_graph_itself_hears_the_same_events() -> None:
    told: list[Any] = []
    studio = Studio(ToyPainter(), ToyVLM())
    waiting = studio.paint(PROMPT, pause=["after:plan"])
    chain = studio.store.chain(waiting.head)
    context = Context(studio.store, studio.painter, Planner(studio.vlm), Critic(studio.vlm), tell=told.append)
    state = replay(waiting.id, chain, studio.store.measurements)
    streamed = list(build().stream(state, context=context, stream_mode="custom"))
    assert streamed == told
    assert {event["type"] for event in streamed} == {"step", "denoise"}


def test_the_async_twin() -> None:
    async def hear() -> list[Any]:
        return [event async for event in Studio(ToyPainter(), ToyVLM()).stream(PROMPT, seed=3)]

    heard = asyncio.run(hear())
    twin = Studio(ToyPainter(), ToyVLM()).paint(PROMPT, seed=3)
    assert [event["hash"] for event in heard if event["type"] == "step"] == twin.hashes[1:]
    assert heard[-1]["creation"]["head"] == twin.head


def test_leaving_the_async_twin_cancels_it() -> None:
    studio = Studio(ToyPainter(), ToyVLM())

    async def leave() -> None:
        events = studio.stream(PROMPT, id="left")
        async for event in events:
            if event["type"] == "denoise":
                break
        await events.aclose()

    asyncio.run(leave())
    assert studio.open("left").stop_reason is StopReason.CANCELLED


def test_an_error_reaches_the_async_listener() -> None:
    async def hear() -> None:
        async for _ in Studio(ToyPainter(), ToyVLM(unknown=[("giraffe", ())])).stream("a giraffe"):
            raise AssertionError("there is nothing to hear")

    with pytest.raises(OutsideWorldError):
        asyncio.run(hear())


def test_replay_needs_no_model() -> None:
    one = Studio(ToyPainter(), ToyVLM()).paint(PROMPT)
    blind = Studio("no such painter", "no such model")
    seen = list(blind.replay(one.id))
    assert [digest for digest, _, _ in seen] == one.hashes
    assert [picture is not None for _, _, picture in seen] == [bool(step.outputs) for step in one.steps]
    assert blind.open(one.id).plan == PLAN
