"""The Python API: a studio paints, edits, resumes, forks and replays creations.

from brushloop import Studio

creation = Studio().paint("a red apple on a beach", seed=7)
creation.export("apple.png")
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Unpack

from brushloop.agent import chat, crafts
from brushloop.agent.beside import heard
from brushloop.agent.briefs import brief_from
from brushloop.agent.checkpoints import open_checkpoints
from brushloop.agent.context import Context, Second
from brushloop.agent.effort import Bounded, Effort
from brushloop.agent.events import DoneEvent, Event, OnEvent
from brushloop.agent.given import masked
from brushloop.agent.graph import build
from brushloop.agent.hold import hold
from brushloop.agent.intake import Intake, Limits
from brushloop.agent.nodes import seed_for
from brushloop.agent.review import Policy
from brushloop.agent.run import Cancel, Options, Pause, carry_out
from brushloop.agent.variants import check, choose, explore, in_turn
from brushloop.canvas import Step, StopReason
from brushloop.creation import Creation
from brushloop.critic.critic import Critic
from brushloop.painter.base import Painter, PaintRequest, open_painter
from brushloop.planner.planner import Planner
from brushloop.vlm import VLM, open_vlm

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from PIL.Image import Image

    from brushloop.agent.graph import Graph
    from brushloop.agent.human import Edit


class Studio(Intake):
    """A painter, a vision-language model, and a place where creations are kept.

    Args:
        painter: name of a painter backend, or a painter.
        vlm: name of a vision-language backend, or a model; it plans and criticises.
        home: folder or URL of the store; by default `$BRUSHLOOP_HOME`.
        effort: how much work goes into a picture: "low", "normal", "high", or an `Effort`.
        checkpointer: LangGraph's memory; by default the Postgres that `BRUSHLOOP_CHECKPOINTS` names, else a
            SQLite file in `home`.
        clock: seconds, for the budget and for measurements.
        second: a second opinion on each critique (`brushloop.supervision.second`); disagreements are recorded.
        policy: content review; by default the rules that `BRUSHLOOP_REVIEW` names, if any.

    Models are loaded when they are first needed. The methods that paint take `Options`. They raise
    `InputError` before anything is recorded, and `ModelError`, `StoreError` or, for Ctrl-C, `Interrupted`
    later: then what was made is kept, and `resume` goes on from there. Each of them records first what is
    wanted (`begin`, `begin_edit`, `branch`, `say`, `reopen`) and then lets it run (`go`).
    """

    def __init__(
        self,
        painter: str | Painter = "embedded",
        vlm: str | VLM = "embedded",
        home: str | os.PathLike[str] | None = None,
        *,
        effort: Effort | str | None = None,
        checkpointer: BaseCheckpointSaver[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        policy: Policy | None = None,
        second: Second | None = None,
    ) -> None:
        super().__init__(painter, vlm, home, policy, effort)
        self._checkpointer, self._loading, self._painting = checkpointer, threading.RLock(), threading.Lock()
        self.clock, self.second = clock, second

    @property
    def painter(self) -> Painter:
        """The painter, loaded."""
        with self._loading:  # two threads must not load it twice
            return self._loaded_painter

    @property
    def vlm(self) -> VLM:
        """The vision-language model, loaded."""
        with self._loading:
            return self._loaded_vlm

    @cached_property
    def _loaded_painter(self) -> Painter:
        return open_painter(self._painter) if isinstance(self._painter, str) else self._painter

    @cached_property
    def _loaded_vlm(self) -> VLM:
        return open_vlm(self._vlm) if isinstance(self._vlm, str) else self._vlm

    @cached_property
    def _bounded(self) -> Bounded:
        return Bounded(self.vlm, self.effort.reply_tokens)

    @cached_property
    def _built(self) -> Graph:
        return build(self._checkpointer or open_checkpoints(self.store.url))

    @property
    def graph(self) -> Graph:
        """The compiled state machine."""
        with self._loading:
            return self._built

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
        Pause.at(options.get("pause", ()))
        return self.go(self.begin(prompt, seed, size, budget, id=id).id, **options)

    def edit(
        self,
        picture: Image,
        instruction: str,
        mask: Image | None = None,
        seed: int = 0,
        budget: Limits | None = None,
        *,
        id: str | None = None,
        **options: Unpack[Options],
    ) -> Creation:
        """Work on a given picture: what the instruction asks for is planned, looked for, and painted where it lacks.

        Args:
            picture: where to begin; scaled to fit the painter's own size, with its edge colour around it.
            instruction: what is to be seen afterwards, in words.
            mask: of the picture's size; only where it is white, or transparent, may anything change.
            seed: as for `paint`.
            budget: as for `paint`.
            id: as for `paint`.
        """
        Pause.at(options.get("pause", ()))
        return self.go(self.begin_edit(picture, instruction, mask, seed, budget, id=id).id, **options)

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
        Pause.at(options.get("pause", ()))
        old = self.reopen(name)
        return chat.rest(self, self.go(old.id, afresh=False, head=old.head, **options), **options)

    def answer(
        self,
        name: str,
        edit: Edit = None,
        mask: Image | None = None,
        head: str | None = None,
        **options: Unpack[Options],
    ) -> Creation:
        """Answer a creation that waits, and let it go on. The answer is recorded as a `human` step.

        Args:
            name: the creation.
            edit: None approves; a `Plan`, `Critique`, `Correction` or picture takes the place of what was there.
            mask: for a `Correction`: a picture of the creation's size; only where it is white may anything change.
            head: the step it answers to; a `ConflictError` if somebody else has answered that already.
        """
        Pause.at(options.get("pause", ()))
        said = self.say(name, edit, mask, head)
        return self.go(said.id, afresh=False, head=said.head, **options)

    def fork(
        self,
        name: str,
        prompt: str | None = None,
        seed: int | None = None,
        edit: Edit = None,
        budget: Limits | None = None,
        *,
        mask: Image | None = None,
        id: str | None = None,
        **options: Unpack[Options],
    ) -> Creation:
        """Begin another creation at any step of one, named by its hash; the steps before it are shared.

        With a new prompt it is planned again, and the picture there is worked on. With a new seed (the next
        one, if nothing is given) it is painted on differently. With an edit it goes on from that.
        """
        Pause.at(options.get("pause", ()))
        return self.go(self.branch(name, prompt, seed, edit, budget, mask=mask, id=id).id, **options)

    def chat(self, said: str, name: str | None = None, *, seed: int = 0, **options: Unpack[Options]) -> Creation:
        """Take a turn of a conversation over one creation.

        Args:
            said: what to change in the newest picture, or in another (`the second one, but with the tree from the
                first`); or which picture to go back to. The first turn describes a picture.
            name: the creation; None begins a conversation. Any finished creation can be spoken about.
            seed: of the first turn.
            options: as for `paint`.

        Returns:
            The creation. After going back it is a new one, a fork at the end of the turn that was meant.
        """
        if name is None:
            return self.go(chat.begin(self, said, seed).id, **options)
        return chat.turn(self, self._id(name), said, **options)

    def explore(self, name: str, number: int, *, choosing: bool = True, **options: Unpack[Options]) -> Creation:
        """Paint several variants of a creation side by side, from its plan on, and choose the best by its score.

        Args:
            name: a creation, recorded (`begin`) or painted; its variants are the forks `<id>-1`, `<id>-2`, ...
            number: how many; those that are there already go on where they were left.
            choosing: False leaves the choice to a person: see `choose`.
            options: as for `paint`, without pauses; events say of which `variant` they are.
        """
        id = self._id(name)
        check(id, number)
        creation = self.go(id, pause=["after:plan"], cancel=options.get("cancel"), on_event=options.get("on_event"))
        if creation.stop_reason is StopReason.CANCELLED:
            return creation
        explore(self, id, number, options)
        return self.choose(id) if choosing else self.open(id)

    def choose(self, name: str, number: int | None = None, why: str = "") -> Creation:
        """Mark a variant of a creation as the chosen one: by its number, or the best by the critic's score.

        The creation then ends as that variant ended; a person's choice is recorded as a `human` step.
        """
        return choose(self.store, self._id(name), number, why)

    def go(self, id: str, *, afresh: bool = True, head: str | None = None, **options: Unpack[Options]) -> Creation:
        """Run a recorded creation from its head until it is finished or waits; a finished one is returned as it is.

        Args:
            id: the creation.
            afresh: whether it may wait before the very first node; one who answers a pause has just waited there.
            head: the step that was its newest when the caller looked.

        Raises:
            ConflictError: somebody else works on it, or has gone on from `head`.
        """
        with hold(self.store, id, head):
            state = self.state(id)
            craft = crafts.asked(self.open(id)) if state["brief"].task in crafts.TASKS else None
            if state["phase"] != "finished" and craft:
                crafts.carry_out(self, self.open(id), craft, options)
            elif state["phase"] != "finished":
                painter = masked(in_turn(self.painter, self._painting), state["brief"], self.store)
                makers = painter, Planner(self._bounded), Critic(self._bounded)
                context = Context(self.store, *makers, self.effort, self.clock, policy=self.policy, second=self.second)
                carry_out(self.graph, state, context, options, afresh)
        creation = self.open(id)
        if on_event := options.get("on_event"):
            on_event(DoneEvent(type="done", creation=creation.summary()))
        return creation

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

    def replay(self, name: str) -> Iterator[tuple[str, Step, Image | None]]:
        """Every step of a creation with its hash and its picture, oldest first. No model is loaded."""
        for digest, step in self.store.chain(self.open(name).head):
            yield digest, step, self.store.get_image(step.outputs[-1]) if step.outputs else None
