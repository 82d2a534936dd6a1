"""Letting the graph run from a state of the chain, and hearing what it does."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypedDict

from langgraph.errors import InvalidUpdateError

from brushloop.agent import postgres
from brushloop.agent.beside import attended
from brushloop.agent.checkpoints import errors_told
from brushloop.agent.context import Context
from brushloop.agent.events import OnEvent, PausedEvent
from brushloop.agent.graph import LAST_NODE, NODES
from brushloop.agent.state import State
from brushloop.errors import InputError, Interrupted
from brushloop.telemetry import operation

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig

    from brushloop.agent.graph import Graph

Cancel = Callable[[], bool]

MAX_NODES = 10_000
"""Far beyond any budget: LangGraph's own limit must never be what ends a creation."""


class Options(TypedDict, total=False):
    """What every method that paints understands."""

    on_event: OnEvent | None
    """Called with every `Event`, in the caller's thread."""
    pause: Sequence[str]
    """Where to wait for a person: `("before:refine", "after:reflect")`; see `Studio.answer`."""
    cancel: Cancel | None
    """Asked often: once it returns true, the run ends and the best picture so far is returned."""
    interrupt: Cancel | None
    """Asked between nodes: once it returns true, the run waits for a person, as after a pause."""


@dataclass(frozen=True)
class Pause:
    """The nodes before and after which a run waits for a person."""

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    @classmethod
    def at(cls, places: Sequence[str]) -> Pause:
        """Read `("before:draft", "after:reflect")`.

        Raises:
            InputError: there is no such node.
        """
        named: dict[str, list[str]] = {"before": [], "after": []}
        for place in places:
            side, _, node = place.partition(":")
            if side not in named or node not in NODES:
                raise InputError(
                    f"cannot pause at {place!r}: write before: or after: and one of {', '.join(NODES)}, "
                    "for example before:refine"
                )
            named[side].append(node)
        return cls(tuple(named["before"]), tuple(named["after"]))


def carry_out(graph: Graph, state: State, context: Context, options: Options, afresh: bool) -> None:
    """Run from `state` as the options say, until the creation is finished or waits.

    Raises:
        Interrupted: Ctrl-C. The creation was ended as cancelled, with its best picture.
    """
    pause = Pause.at(options.get("pause", ()))

    def work(tell: OnEvent, cancelled: Cancel) -> None:
        run(graph, state, replace(context, tell=tell, cancelled=cancelled), pause, afresh, options.get("interrupt"))

    try:
        attended(work, options.get("on_event"), options.get("cancel"))
    except KeyboardInterrupt:
        raise Interrupted(f"stopped; what was made is kept: brushloop resume {state['id']}") from None


def run(
    graph: Graph, state: State, context: Context, pause: Pause, afresh: bool, interrupt: Cancel | None = None
) -> None:
    """Run from `state` until the creation is finished or paused.

    The chain is the truth: where the checkpoint says anything else than `state` (it may be behind by a
    node, lost, or unreadable) it is brought in line first. `afresh` is whether a pause before the first
    node is kept; one who answers a pause has just waited there.
    """
    config: RunnableConfig = {"configurable": {"thread_id": state["id"]}, "recursion_limit": MAX_NODES}
    with (
        operation("invoke_agent", "brushloop", agent__name="brushloop", conversation__id=state["id"]) as told,
        errors_told(context.store.url),
        postgres.errors_told(postgres.url_of_environment()),
    ):
        told.words("input.messages", "user", state["brief"].prompt)
        waiting = _enter(graph, config, state)
        wished = interrupt or (lambda: False)
        while waiting and not (afresh and (waiting in pause.before or wished())):
            before, after = (pause.before, pause.after) if interrupt is None else ((), NODES)  # then node by node
            last = waiting
            running = graph.stream(
                None,
                config,
                context=context,
                stream_mode=[],  # the nodes tell what they do themselves
                durability="sync",
                interrupt_before=list(before),
                interrupt_after=list(after),
            )
            deque(running, maxlen=0)
            waiting, afresh = _waiting(graph, config), True
            if interrupt is None or last in pause.after:
                break
        if waiting:
            context.tell(PausedEvent(type="paused", id=state["id"], next=waiting))
        elif graph.checkpointer and not isinstance(graph.checkpointer, bool):
            graph.checkpointer.delete_thread(state["id"])  # the chain holds it all; the file stays small


def _enter(graph: Graph, config: RunnableConfig, state: State) -> str | None:
    """Make the checkpoint agree with `state`; return the node that comes next."""
    saver = graph.checkpointer
    assert saver and not isinstance(saver, bool)
    known: dict[str, Any] = {}
    ahead: tuple[str, ...] = ()
    try:
        saved = graph.get_state(config)
        known, ahead = saved.values, saved.next
    except (ValueError, TypeError, KeyError, AttributeError, InvalidUpdateError):  # written by something else
        pass
    if known != state or not ahead:  # nothing ahead: killed between a node's writes and its checkpoint
        saver.delete_thread(state["id"])  # those writes too: they would be taken into account a second time
        graph.update_state(config, {**state}, as_node=LAST_NODE[state["phase"]])
    return _waiting(graph, config)


def _waiting(graph: Graph, config: RunnableConfig) -> str | None:
    return next(iter(graph.get_state(config).next), None)
