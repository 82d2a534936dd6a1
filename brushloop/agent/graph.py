"""The state machine, drawn: plan, then draft, reflect and refine until the picture is as planned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langgraph.graph import END, START, StateGraph

from brushloop.agent import nodes
from brushloop.agent.context import Context
from brushloop.agent.routing import Move, route
from brushloop.agent.state import Phase, State

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.graph.state import CompiledStateGraph

    Graph = CompiledStateGraph[State, Context, State, State]

NODES = ("plan", "draft", "reflect", "refine", "finish")

LAST_NODE: dict[Phase, str] = {"briefed": START, "planned": "plan", "painted": "draft", "judged": "reflect"}
"""The node after which a creation in that phase stands: where a run enters the graph."""


def build(checkpointer: BaseCheckpointSaver[str] | None = None) -> Graph:
    """Compile the graph."""
    graph = StateGraph(State, context_schema=Context)
    for name in NODES:
        graph.add_node(name, getattr(nodes, name))
    graph.add_edge(START, "plan")
    graph.add_edge("finish", END)
    add_loop(graph)
    return graph.compile(checkpointer=checkpointer, name="brushloop")


def add_loop(graph: StateGraph[Any, Any, Any, Any]) -> None:
    """The edges between plan and finish, as they are in every graph that holds the loop."""
    graph.add_conditional_edges("plan", route, {Move.DRAFT: "draft", Move.REFLECT: "reflect", Move.FINISH: "finish"})
    graph.add_conditional_edges("draft", route, {Move.REFLECT: "reflect", Move.FINISH: "finish"})
    graph.add_conditional_edges(
        "reflect",
        route,
        {Move.DRAW: "draft", Move.REFINE: "refine", Move.REPLAN: "plan", Move.FINISH: "finish"},
    )
    graph.add_conditional_edges("refine", route, {Move.REFLECT: "reflect", Move.FINISH: "finish"})
