"""The Python API: a studio paints, resumes, forks and replays creations.

from brushloop import Studio

creation = Studio().paint("a red apple on a beach", seed=7)
creation.export("apple.png")
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Unpack

from brushloop.agent.beside import heard
from brushloop.agent.briefs import brief_from
from brushloop.agent.checkpoints import checkpoint_path, open_saver
from brushloop.agent.context import Context, Effort
from brushloop.agent.events import DoneEvent, Event, OnEvent
from brushloop.agent.graph import build
from brushloop.agent.human import human_step
from brushloop.agent.nodes import seed_for
from brushloop.agent.routing import nothing_left
from brushloop.agent.run import Cancel, Options, Pause, carry_out
from brushloop.agent.state import State, advance, replay
from brushloop.canvas import Brief, Budget, Step, StepKind, StopReason
from brushloop.creation import Creation
from brushloop.critic.critic import Critic
from brushloop.errors import InputError, UnknownCreationError
from brushloop.painter.base import Painter, PaintRequest, open_painter
from brushloop.planner.planner import Planner
from brushloop.store import Store
from brushloop.vlm import VLM, open_vlm

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from PIL.Image import Image

    from brushloop.agent.graph import Graph
    from brushloop.agent.human import Edit

Limits = Budget | Mapping[str, float]


class Studio:
    """A painter, a vision-language model, and a place where creations are kept.

    Args:
        painter: name of a painter backend, or a painter.
        vlm: name of a vision-language backend, or a model; it plans and criticises.
        home: folder or URL of the store; by default `$BRUSHLOOP_HOME`.
        effort: how much work goes into a picture.
        checkpointer: LangGraph's memory; by default a SQLite file in `home`.
        clock: seconds, for the budget and for measurements.

    Models are loaded when they are first needed. The methods that paint take `Options`. They raise
    `InputError` before anything is recorded, and `ModelError`, `StoreError` or, for Ctrl-C, `Interrupted`
    later: then what was made is kept, and `resume` goes on from there.
    """

    def __init__(
        self,
        painter: str | Painter = "embedded",
        vlm: str | VLM = "embedded",
        home: str | os.PathLike[str] | None = None,
        *,
        effort: Effort | None = None,
        checkpointer: BaseCheckpointSaver[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._painter, self._vlm, self._checkpointer = painter, vlm, checkpointer
        self.store = Store(home)
        self.effort = effort or Effort()
        self.clock = clock

    @cached_property
    def painter(self) -> Painter:
        """The painter, loaded."""
        return open_painter(self._painter) if isinstance(self._painter, str) else self._painter

    @cached_property
    def vlm(self) -> VLM:
        """The vision-language model, loaded."""
        return open_vlm(self._vlm) if isinstance(self._vlm, str) else self._vlm

    @cached_property
    def graph(self) -> Graph:
        """The compiled state machine."""
        return build(self._checkpointer or open_saver(checkpoint_path(self.store.url)))

    # Making

    def paint(
        self,
        prompt: str,
        seed: int = 0,
        size: tuple[int, int] | None = None,
        budget: Limits | None = None,
        *,
        id: str | None = None,
        **options: Unpack[Options],
    ) -> Creation:
        """Paint a picture, round by round.

        Args:
            prompt: what is wanted, in words.
            seed: the same brief and seed on the same machine give the same steps, byte for byte.
            size: width and height in pixels; by default the painter's own.
            budget: limits; a mapping names some of them (`{"rounds": 4}`).
            id: a name for the creation; by default date, time and some random digits.
        """
        brief = brief_from(prompt, seed, size, budget)
        self._check(brief, options)
        root = self.store.put_step(self._brief_step(brief))
        return self._go(self.store.create(root, id), options)

    def stream(
        self,
        prompt: str,
        seed: int = 0,
        size: tuple[int, int] | None = None,
        budget: Limits | None = None,
        *,
        id: str | None = None,
        pause: Sequence[str] = (),
    ) -> AsyncGenerator[Event]:
        """`paint` as an async iterator of events; the last one, `done`, sums up the creation.

        Leaving it early cancels the run at the next denoising step.
        """

        def work(tell: OnEvent, cancelled: Cancel) -> Creation:
            return self.paint(prompt, seed, size, budget, id=id, on_event=tell, pause=pause, cancel=cancelled)

        return heard(work)

    def resume(self, name: str | None = None, **options: Unpack[Options]) -> Creation:
        """Go on with a creation that was stopped, killed, cancelled or paused; by default the newest.

        It ends with the same bytes as if it had never stopped. One that ended by itself is returned as it is.
        """
        id = self._id(name)
        Pause.at(options.get("pause", ()))
        creation = self.open(id)
        if creation.finished:
            parent = creation.steps[-1].parent
            if creation.stop_reason is not StopReason.CANCELLED or parent is None:
                return creation
            self.store.set_head(id, parent)
        return self._go(id, options, afresh=False)

    def answer(self, name: str, edit: Edit = None, **options: Unpack[Options]) -> Creation:
        """Answer a creation that waits, and let it go on. The answer is recorded as a `human` step.

        Args:
            name: the creation.
            edit: None approves; a `Plan`, `Critique`, `Correction` or picture takes the place of what was there.
        """
        id = self._id(name)
        state = self._state(id, self.store.head(id))
        if state["phase"] == "finished":
            raise InputError(f"creation {id} is finished: fork it to go on from there")
        Pause.at(options.get("pause", ()))
        self.store.set_head(id, self.store.put_step(self._human_step(state, edit)))
        return self._go(id, options, afresh=False)

    def fork(
        self,
        name: str,
        prompt: str | None = None,
        seed: int | None = None,
        edit: Edit = None,
        budget: Limits | None = None,
        *,
        id: str | None = None,
        **options: Unpack[Options],
    ) -> Creation:
        """Begin another creation at any step of one, named by its hash; the steps before it are shared.

        With a new prompt it is planned again, and the picture there is worked on. With a new seed (the next
        one, if nothing is given) it is painted on differently. With an edit it goes on from that.
        """
        _, digest = self.store.resolve(name)
        state = self._state("fork", digest)
        old = state["brief"]
        if seed is None:
            seed = old.seed if prompt or edit is not None or budget else old.seed + 1
        brief = brief_from(old.prompt if prompt is None else prompt, seed, old.size, budget, like=old)
        self._check(brief, options)
        root = self._brief_step(brief, parent=digest)
        if edit is not None:
            forked = advance(state, self.store.put_step(root), root)
            root = self._human_step(forked, edit)
        elif nothing_left(advance(state, digest, root)):  # then a new seed has something to paint only if told so
            root = root.model_copy(update={"settings": {**root.settings, "again": True}})
        return self._go(self.store.create(self.store.put_step(root), id), options)

    def one_shot(self, prompt: str, seed: int = 0, size: tuple[int, int] | None = None) -> Image:
        """The painter alone on the raw prompt, with the seed of a first draft: what the loop is measured against."""
        brief = brief_from(prompt, seed, size)
        size = brief.size or self.painter.size
        self.painter.check_size(size)
        effort = self.effort
        request = PaintRequest(brief.prompt, seed_for(seed, "draft/0/0"), size)
        request = replace(request, denoising_steps=effort.refine_steps, guidance=effort.guidance)
        return self.painter.paint(request)

    # Looking

    def open(self, name: str) -> Creation:
        """A creation by its id, a step by its hash, or a unique prefix of either."""
        return Creation.open(self.store, name)

    def replay(self, name: str) -> Iterator[tuple[str, Step, Image | None]]:
        """Every step of a creation with its hash and its picture, oldest first. No model is loaded."""
        for digest, step in self.store.chain(self.open(name).head):
            yield digest, step, self.store.get_image(step.outputs[-1]) if step.outputs else None

    # Inside

    def _go(self, id: str, options: Options, afresh: bool = True) -> Creation:
        """Run a creation from its head until it is finished or waits."""
        state = self._state(id, self.store.head(id))
        if state["phase"] != "finished":
            makers = self.painter, Planner(self.vlm), Critic(self.vlm)
            carry_out(self.graph, state, Context(self.store, *makers, self.effort, self.clock), options, afresh)
        creation = self.open(id)
        if on_event := options.get("on_event"):
            on_event(DoneEvent(type="done", creation=creation.summary()))
        return creation

    def _check(self, brief: Brief, options: Options) -> None:
        """Everything that can be refused before anything is recorded."""
        Pause.at(options.get("pause", ()))
        self.painter.check_size(brief.size or self.painter.size)
        Planner(self.vlm).check(brief.prompt)

    def _state(self, id: str, digest: str) -> State:
        return replay(id, self.store.chain(digest), self.store.measurements)

    def _id(self, name: str | None) -> str:
        if name is not None:
            return self.store.resolve(name)[0]
        heads = self.store.heads()
        if not heads:
            raise UnknownCreationError(f"there is no creation in {self.store.url} yet: paint one first")
        return heads[0].id

    def _brief_step(self, brief: Brief, parent: str | None = None) -> Step:
        names: dict[str, str | int | float | bool] = {
            "painter": self._painter if isinstance(self._painter, str) else self._painter.ref.id,
            "vlm": self._vlm if isinstance(self._vlm, str) else self._vlm.ref.id,
        }
        return Step(kind=StepKind.BRIEF, parent=parent, brief=brief, text=brief.prompt, settings=names)

    def _human_step(self, state: State, edit: Edit) -> Step:
        return human_step(state, edit, self.store, state["brief"].size or self.painter.size)
