"""What a run needs besides its state: the three makers, the store, and how much effort. Never checkpointed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from brushloop.agent.effort import Effort
from brushloop.agent.events import OnEvent
from brushloop.agent.memory import held
from brushloop.agent.patience import patience
from brushloop.agent.review import Policy, policy_of_environment
from brushloop.canvas import Critique, Plan
from brushloop.critic.critic import Critic
from brushloop.painter.base import Painter
from brushloop.planner.planner import Planner
from brushloop.store import Store

if TYPE_CHECKING:
    from PIL.Image import Image


Second = Callable[[Plan, int, "Image", Critique], list[str]]
"""From a plan, the plan step painted last, a picture and a critique of it to disagreements in words."""


@dataclass(frozen=True)
class Context:
    """The run-time dependencies of the graph's nodes."""

    store: Store
    painter: Painter
    planner: Planner
    critic: Critic
    effort: Effort = field(default_factory=Effort)
    clock: Callable[[], float] = time.monotonic
    """Seconds, for the budget and for measurements."""
    patience: float = field(default_factory=patience)
    """Seconds that a model server which has gone away is waited for."""
    memory: Callable[[], int] = held
    """MiB held by this process, for the budget and for measurements."""
    policy: Policy | None = field(default_factory=policy_of_environment)
    """Content review: sees every text and picture before the next node."""
    second: Second | None = None
    """A second opinion on what the critic says of a picture: told beside it, and nothing follows from it."""
    cancelled: Callable[[], bool] = lambda: False
    """Asked between nodes and after every denoising step."""
    tell: OnEvent = lambda event: None
    """Hears every event, as LangGraph's custom stream does; a plain call costs less than that stream."""
