"""What a run needs besides its state: the three makers, the store, and a few constants. Never checkpointed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from brushloop.agent.events import OnEvent
from brushloop.agent.memory import held
from brushloop.agent.patience import patience
from brushloop.agent.review import Policy, policy_of_environment
from brushloop.critic.critic import Critic
from brushloop.painter.base import Painter
from brushloop.planner.planner import Planner
from brushloop.store import Store


@dataclass(frozen=True)
class Effort:
    """How much work goes into a picture: drafts are cheap, refinements are worth more denoising steps."""

    draft_steps: int = 10
    """Denoising steps of a draft of one thing."""
    refine_steps: int = 16
    """Denoising steps of a refinement, and the most that a draft takes."""
    per_thing: int = 2
    """Denoising steps more for each further thing that a draft shows: effort follows the prompt."""
    guidance: float = 2.0
    strength: float = 0.9
    """Of a refinement: partial denoising, from the picture it refines. 1 would begin from pure noise."""
    margin: int = 3
    """Percent of the canvas around a region in which the new picture fades into the old."""

    def of_draft(self, things: int) -> int:
        """Denoising steps of a draft that shows `things` things."""
        return min(self.refine_steps, self.draft_steps + self.per_thing * max(0, things - 1))


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
    cancelled: Callable[[], bool] = lambda: False
    """Asked between nodes and after every denoising step."""
    tell: OnEvent = lambda event: None
    """Hears every event, as LangGraph's custom stream does; a plain call costs less than that stream."""
