"""The loop as a LangGraph graph that takes a prompt: for `langgraph.json`, and as a node of other graphs.

    {"graphs": {"brushloop": "brushloop.serve.graph:graph"}, "dependencies": ["brushloop"]}

Its nodes are the loop's own, between one that records the brief and one that sums up the creation. The run-time
dependencies come from a studio, since a caller's context is plain JSON. As a sub-graph it shares `prompt`, `seed`
and `creation` with its parent; the checkpoints are those of whoever runs it, and the step chain is kept as always.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime

from brushloop.agent import nodes
from brushloop.agent.context import Context
from brushloop.agent.graph import NODES, add_loop
from brushloop.agent.state import State
from brushloop.critic.critic import Critic
from brushloop.planner.planner import Planner

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.graph.state import CompiledStateGraph

    from brushloop.agent.studio import Studio


class Wish(TypedDict, total=False):
    """What goes in."""

    prompt: str
    seed: int


class Made(TypedDict, total=False):
    """What comes out: `Creation.summary()`."""

    creation: dict[str, Any]


class Whole(State, Wish, Made):
    """The loop's state, and what it was asked for."""


def exported(
    studio: Studio, checkpointer: BaseCheckpointSaver[str] | bool | None = None
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Compile the graph over a studio; it can be run, drawn, or added to another graph as a node."""

    def context() -> Context:
        makers = studio.painter, Planner(studio.vlm), Critic(studio.vlm)
        return Context(studio.store, *makers, studio.effort, studio.clock)

    def brief(wish: Wish) -> dict[str, Any]:
        return {**studio.state(studio.begin(wish["prompt"], wish.get("seed", 0)).id)}

    def creation(state: State) -> Made:
        return Made(creation=studio.open(state["id"]).summary())

    graph: StateGraph[Any, Any, Any, Any] = StateGraph(Whole, input_schema=Wish, output_schema=Made)
    loop = {name: _with(context, getattr(nodes, name)) for name in NODES}
    made: dict[str, Any] = {"brief": brief, **loop, "creation": creation}
    for name, node in made.items():
        graph.add_node(name, node)
    graph.add_edge(START, "brief")
    graph.add_edge("brief", "plan")
    graph.add_edge("finish", "creation")
    graph.add_edge("creation", END)
    add_loop(graph)
    return graph.compile(checkpointer=checkpointer, name="brushloop")


def graph() -> CompiledStateGraph[Any, Any, Any, Any]:
    """The graph over the models named in BRUSHLOOP_PAINTER and BRUSHLOOP_VLM, by default those that ship."""
    from brushloop.agent.studio import Studio

    return exported(
        Studio(os.environ.get("BRUSHLOOP_PAINTER", "embedded"), os.environ.get("BRUSHLOOP_VLM", "embedded"))
    )


def _with(context: Callable[[], Context], node: Callable[[State, Runtime[Context]], dict[str, Any]]) -> Any:
    """The node with run-time dependencies of ours; typed loosely, as the graph's overloads know no such wrapper."""

    def run(state: State, runtime: Runtime[Any]) -> dict[str, Any]:
        return node(state, replace(runtime, context=context()))

    return run
