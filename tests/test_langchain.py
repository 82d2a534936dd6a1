"""LangChain and LangGraph: a tool with an artifact, and the loop as a graph that others can hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypedDict

import pytest
from fakes import SHORT, ToyPainter, ToyVLM
from langchain_core.messages import ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph

from brushloop import Creation, Studio
from brushloop.agent.checkpoints import serializer
from brushloop.serve import graph as served
from brushloop.serve.graph import exported
from brushloop.serve.tool import PaintTool

PROMPT = "a cat and a red ball on a beach"


@pytest.fixture
def studio() -> Studio:
    return Studio(ToyPainter(), ToyVLM([SHORT]))


def call(tool: PaintTool, **arguments: object) -> ToolMessage:
    message = tool.invoke({"name": "paint", "args": arguments, "id": "call-1", "type": "tool_call"})
    assert isinstance(message, ToolMessage)
    return message


def test_the_tool_gives_words_and_the_creation(studio: Studio) -> None:
    tool = PaintTool(studio)
    message = call(tool, prompt=PROMPT, seed=5)
    made = message.artifact
    assert isinstance(made, Creation) and made.finished and made.brief.seed == 5
    assert made.id in str(message.content) and "accepted" in str(message.content)
    forked = call(tool, prompt="a cat on a beach", fork=made.id).artifact
    assert forked.hashes[: len(made.hashes)] == made.hashes
    assert set(tool.tool_call_schema.model_json_schema()["properties"]) == {"prompt", "seed", "fork"}  # type: ignore[union-attr]


def test_what_cannot_be_done_is_told_to_the_agent(studio: Studio) -> None:
    message = call(PaintTool(studio), prompt="   ")
    assert message.status == "error" and "the prompt is empty" in str(message.content)
    assert call(PaintTool(studio), prompt=PROMPT, fork="nobody").status == "error"


def test_the_graph_makes_the_steps_of_the_studio(studio: Studio, tmp_path: Path) -> None:
    made = exported(studio).invoke({"prompt": PROMPT, "seed": 5}, {"recursion_limit": 1000})
    assert list(made) == ["creation"] and made["creation"]["stop_reason"] == "accepted"
    direct = Studio(ToyPainter(), ToyVLM([SHORT]), tmp_path / "direct").paint(PROMPT, 5)
    assert made["creation"]["head"] == direct.head
    json.dumps(made)


def test_the_graph_is_a_node_of_another(studio: Studio) -> None:
    class Story(TypedDict, total=False):
        prompt: str
        seed: int
        creation: dict[str, Any]
        caption: str

    def caption(story: Story) -> Story:
        return {"caption": f"{story['prompt']}: {story['creation']['stop_reason']}"}

    story = StateGraph(Story)
    story.add_node("paint", exported(studio))
    story.add_node("caption", caption)
    story.add_edge(START, "paint")
    story.add_edge("paint", "caption")
    story.add_edge("caption", END)
    told = story.compile().invoke({"prompt": PROMPT}, {"recursion_limit": 1000})
    assert told["caption"] == f"{PROMPT}: accepted"


def test_the_graph_waits_and_goes_on_with_a_checkpointer(studio: Studio) -> None:
    graph = exported(studio, InMemorySaver(serde=serializer()))
    config: Any = {"configurable": {"thread_id": "1"}, "recursion_limit": 1000}
    graph.invoke({"prompt": PROMPT}, config, interrupt_before=["draft"])
    assert graph.get_state(config).next == ("draft",)
    assert graph.invoke(None, config)["creation"]["stop_reason"] == "accepted"


def test_langgraph_json_names_a_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    import brushloop.agent.studio as module

    monkeypatch.setattr(module, "open_painter", lambda name: ToyPainter())
    monkeypatch.setattr(module, "open_vlm", lambda name: ToyVLM([SHORT]))
    drawn = served.graph().get_graph()
    assert {"brief", "plan", "draft", "reflect", "refine", "finish", "creation"} <= set(drawn.nodes)
