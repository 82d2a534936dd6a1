"""The Python API: a studio paints, resumes, forks and replays creations.

from brushloop import Studio

creation = Studio().paint("a red apple on a beach", seed=7)
creation.export("apple.png")
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from brushloop.agent.beside import beside
from brushloop.agent.briefs import brief_from
from brushloop.agent.checkpoints import checkpoint_path, open_saver
from brushloop.agent.context import Context, Effort
from brushloop.agent.events import DoneEvent, Event, OnEvent
from brushloop.agent.graph import build
from brushloop.agent.human import human_step
from brushloop.agent.nodes import seed_for
from brushloop.agent.routing import Move, route
from brushloop.agent.run import Pause, run
from brushloop.agent.state import State, advance, replay
from brushloop.canvas import Brief, Budget, Step, StepKind, StopReason
from brushloop.creation import Creation
from brushloop.critic.critic import Critic
from brushloop.errors import InputError, Interrupted, UnknownCreationError
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
Cancel = Callable[[], bool]


class Studio:
    """A painter, a vision-language model, and a place where creations are kept.

    Args:
        painter: name of a painter backend, or a painter.
        vlm: name of a vision-language backend, or a model; it plans and criticises.
        home: folder or URL of the store; by default `$BRUSHLOOP_HOME`.
        effort: how much work goes into a picture.
        checkpointer: LangGraph's memory; by default a SQLite file in `home`.
        clock: seconds, for the budget and for measurements.

    Models are loaded when they are first needed. The methods that paint take `on_event`, called with every
    `Event`; `pause`, where to wait for a person (`("before:refine", "after:reflect")`, see `answer`); and
    `cancel`, asked often: once it returns true, the best picture so far is returned. They raise `InputError`
    before anything is recorded, and `ModelError`, `StoreError` or, for Ctrl-C, `Interrupted` later: then
    what was made is kept, and `resume` goes on from there.
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
        on_event: OnEvent | None = None,
        pause: Sequence[str] = (),
        cancel: Cancel | None = None,
    ) -> Creation:
        """Paint a picture, round by round.

        Args:
            prompt: what is wanted, in words.
            seed: the same brief and seed on the same machine give the same steps, byte for byte.
            size: width and height in pixels; by default the painter's own.
            budget: limits; a mapping names some of them (`{"rounds": 4}`).
            id: a name for the creation; by default date, time and some random digits.
        """
        places = Pause.at(pause)
        brief = brief_from(prompt, seed, size, budget)
        self._check(brief)
        root = self.store.put_step(self._brief_step(brief))
        return self._go(self.store.create(root, id), on_event, places, cancel)

    async def stream(
        self,
        prompt: str,
        seed: int = 0,
        size: tuple[int, int] | None = None,
        budget: Limits | None = None,
        *,
        id: str | None = None,
        pause: Sequence[str] = (),
    ) -> AsyncIterator[Event]:
        """`paint` as an async iterator of events; the last one, `done`, sums up the creation.

        Leaving it early cancels the run at the next denoising step.
        """
        loop, stop = asyncio.get_running_loop(), threading.Event()
        events: asyncio.Queue[Event | None] = asyncio.Queue()

        def hear(event: Event | None) -> None:
            loop.call_soon_threadsafe(events.put_nowait, event)

        def work() -> None:
            try:
                self.paint(prompt, seed, size, budget, id=id, on_event=hear, pause=pause, cancel=stop.is_set)
            finally:
                hear(None)

        painting = asyncio.create_task(asyncio.to_thread(work))
        try:
            while (event := await events.get()) is not None:
                yield event
        finally:
            stop.set()
            await painting

    def resume(
        self,
        name: str | None = None,
        *,
        on_event: OnEvent | None = None,
        pause: Sequence[str] = (),
        cancel: Cancel | None = None,
    ) -> Creation:
        """Go on with a creation that was stopped, killed, cancelled or paused; by default the newest.

        It ends with the same bytes as if it had never stopped. One that ended by itself is returned as it is.
        """
        places = Pause.at(pause)
        id = self._id(name)
        creation = self.open(id)
        if creation.finished:
            parent = creation.steps[-1].parent
            if creation.stop_reason is not StopReason.CANCELLED or parent is None:
                return creation
            self.store.set_head(id, parent)
        return self._go(id, on_event, places, cancel, afresh=False)

    def answer(
        self,
        name: str,
        edit: Edit = None,
        *,
        on_event: OnEvent | None = None,
        pause: Sequence[str] = (),
        cancel: Cancel | None = None,
    ) -> Creation:
        """Answer a creation that waits, and let it go on. The answer is recorded as a `human` step.

        Args:
            name: the creation.
            edit: None approves; a `Plan`, `Critique`, `Correction` or picture takes the place of what was there.
        """
        places = Pause.at(pause)
        id = self._id(name)
        state = self._state(id, self.store.head(id))
        if state["phase"] == "finished":
            raise InputError(f"creation {id} is finished: fork it to go on from there")
        self.store.set_head(id, self.store.put_step(self._human_step(state, edit)))
        return self._go(id, on_event, places, cancel, afresh=False)

    def fork(
        self,
        name: str,
        prompt: str | None = None,
        seed: int | None = None,
        edit: Edit = None,
        budget: Limits | None = None,
        *,
        id: str | None = None,
        on_event: OnEvent | None = None,
        pause: Sequence[str] = (),
        cancel: Cancel | None = None,
    ) -> Creation:
        """Begin another creation at any step of one, named by its hash; the steps before it are shared.

        With a new prompt it is planned again, and the picture there is worked on. With a new seed (the next
        one, if nothing is given) it is painted on differently. With an edit it goes on from that.
        """
        places = Pause.at(pause)
        _, digest = self.store.resolve(name)
        state = self._state("fork", digest)
        old = state["brief"]
        if seed is None:
            seed = old.seed if prompt or edit is not None or budget else old.seed + 1
        brief = brief_from(old.prompt if prompt is None else prompt, seed, old.size, budget, like=old)
        self._check(brief)
        root = self._brief_step(brief, parent=digest)
        forked = advance(state, digest, root)
        if edit is not None:
            human = self._human_step({**forked, "head": self.store.put_step(root)}, edit)
            digest = self.store.put_step(human)
        else:
            if forked["phase"] == "judged" and route(forked) is Move.FINISH:  # else the new seed would paint nothing
                root = root.model_copy(update={"settings": {**root.settings, "again": True}})
            digest = self.store.put_step(root)
        return self._go(self.store.create(digest, id), on_event, places, cancel)

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

    def _go(
        self, id: str, on_event: OnEvent | None, pause: Pause, cancel: Cancel | None, afresh: bool = True
    ) -> Creation:
        stop = threading.Event()
        planner, critic = Planner(self.vlm), Critic(self.vlm)
        context = Context(
            self.store, self.painter, planner, critic, self.effort, self.clock,
            cancelled=lambda: stop.is_set() or (cancel is not None and cancel()),
        )  # fmt: skip
        state = self._state(id, self.store.head(id))
        try:
            with closing(beside(run(self.graph, state, context, pause, afresh), stop)) as events:
                for event in events:
                    if on_event:
                        on_event(event)
        except KeyboardInterrupt:
            raise Interrupted(f"stopped; what was made is kept: brushloop resume {id}") from None
        creation = self.open(id)
        if on_event:
            on_event(DoneEvent(type="done", creation=creation.summary()))
        return creation

    def _check(self, brief: Brief) -> None:
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
