"""What is written down before anything is painted: a brief, a fork, a person's answer, a taken-back ending.

Each of these leaves a creation whose head says all that a run needs. So the run can begin at once, later, or in
another process: whoever accepts work records it first.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from brushloop.agent import strokes
from brushloop.agent.briefs import brief_from
from brushloop.agent.effort import Effort
from brushloop.agent.expect import Expected, expected
from brushloop.agent.given import fitted, fitted_mask
from brushloop.agent.hold import hold
from brushloop.agent.human import human_step
from brushloop.agent.review import (
    Policy,
    Refused,
    policy_of_environment,
    redacted,
    refusal,
    reviewed,
    reviewed_picture,
)
from brushloop.agent.routing import nothing_left
from brushloop.agent.state import State, advance, replay, shown
from brushloop.canvas import (
    Brief,
    Budget,
    ConditionUnit,
    Frame,
    Noun,
    Plan,
    Step,
    StepKind,
    StopReason,
    Task,
    UnitImage,
)
from brushloop.creation import Creation
from brushloop.errors import InputError, UnknownCreationError
from brushloop.painter.base import Painter
from brushloop.planner.planner import Planner
from brushloop.store import Store
from brushloop.vlm import VLM

if TYPE_CHECKING:
    from PIL.Image import Image

    from brushloop.agent.human import Edit

Limits = Budget | Mapping[str, float]


class Intake:
    """The recording half of a studio. What cannot be done is refused here, before anything is recorded."""

    def __init__(
        self,
        painter: str | Painter,
        vlm: str | VLM,
        home: str | os.PathLike[str] | None,
        policy: Policy | None = None,
        effort: Effort | str | None = None,
    ) -> None:
        self.policy = policy or policy_of_environment()
        self.effort = Effort.named(effort) if isinstance(effort, str) else effort or Effort()
        self._painter, self._vlm = painter, vlm
        self.store = Store(home)

    @property
    def painter(self) -> Painter:
        """The painter, loaded."""
        raise NotImplementedError

    @property
    def vlm(self) -> VLM:
        """The vision-language model, loaded."""
        raise NotImplementedError

    def begin(
        self,
        prompt: str,
        seed: int = 0,
        size: tuple[int, int] | None = None,
        budget: Limits | None = None,
        *,
        id: str | None = None,
    ) -> Creation:
        """Record a creation that is to be painted; the arguments are those of `Studio.paint`."""
        brief = brief_from(prompt, seed, size, self._limits(budget))
        self._check(brief)
        return self._new(self._brief_step(brief), id)

    def begin_edit(
        self,
        picture: Image,
        instruction: str,
        mask: Image | None = None,
        seed: int = 0,
        budget: Limits | None = None,
        *,
        id: str | None = None,
    ) -> Creation:
        """Record a creation that begins with a picture; the arguments are those of `Studio.edit`."""
        brief = brief_from(instruction, seed, budget=self._limits(budget))
        self._check(brief)
        try:
            given, reasons = reviewed_picture(self.policy, fitted(picture, self.painter.size))
        except Refused as refused:
            return self._refused(self._brief_step(brief), refused, id)
        canvas = self.store.put_image(given)
        area = self.store.put_image(fitted_mask(mask, picture, self.painter.size)) if mask else None
        unit = ConditionUnit(text=brief.prompt, images=(UnitImage(image=canvas, mask=area),))
        brief = brief.model_copy(update={"task": Task.EDIT, "units": (unit,)})
        root = self._brief_step(brief).model_copy(update={"outputs": (canvas,)})
        return self._new(redacted(root, reasons), id)

    def branch(
        self,
        name: str,
        prompt: str | None = None,
        seed: int | None = None,
        edit: Edit = None,
        budget: Limits | None = None,
        *,
        mask: Image | None = None,
        id: str | None = None,
    ) -> Creation:
        """Record a fork; the arguments are those of `Studio.fork`."""
        _, digest = self.store.resolve(name)
        state = self._state("fork", digest)
        old = state["brief"]
        if seed is None:
            seed = old.seed if prompt or edit is not None or budget else old.seed + 1
        brief = brief_from(old.prompt if prompt is None else prompt, seed, old.size, budget, like=old)
        if old.task is Task.CHAT and prompt is not None:  # no turn of the conversation any more
            brief = brief.model_copy(update={"task": Task.PAINT, "units": ()})
        self._check(brief)
        root = self._brief_step(brief, parent=digest)
        if edit is not None:
            try:
                root = reviewed(self.policy, root)
                forked = advance(state, self.store.put_step(root), root)
                root = self._human_step(forked, edit, mask)
            except Refused as refused:
                return self._refused(root, refused, id, shown(state))
        elif nothing_left(advance(state, digest, root)):  # then a new seed has something to paint only if told so
            root = root.model_copy(update={"settings": {**root.settings, "again": True}})
        return self._new(root, id)

    def say(self, name: str, edit: Edit = None, mask: Image | None = None, head: str | None = None) -> Creation:
        """Record a person's answer as a `human` step; None approves. `head` is the step that it answers to.

        Raises:
            ConflictError: somebody else works on it, or has gone on with it meanwhile.
            InputError: the creation is finished, or the answer does not fit it.
        """
        id = self._id(name)
        with hold(self.store, id, head or self.store.head(id)):
            state = self.state(id)
            if state["phase"] == "finished":
                raise InputError(f"creation {id} is finished: fork it to go on from there")
            try:
                step = self._human_step(state, edit, mask)
            except Refused as refused:
                step = refusal(state["head"], refused, shown(state))
            digest = self.store.record(id, step)
        return Creation(id, digest, self.store)

    def reopen(self, name: str | None = None) -> Creation:
        """Take back the ending of a cancelled creation; any other is returned as it is. By default the newest.

        Raises:
            ConflictError: somebody else has just done so.
        """
        id = self._id(name)
        creation = self.open(id)
        parent = creation.steps[-1].parent
        if creation.stop_reason is not StopReason.CANCELLED or parent is None:
            return creation
        with hold(self.store, id, creation.head):
            self.store.set_head(id, parent)
        return Creation(id, parent, self.store)

    def open(self, name: str) -> Creation:
        """A creation by its id, a step by its hash, or a unique prefix of either."""
        return Creation.open(self.store, name)

    def state(self, id: str) -> State:
        """The state of the loop at the head of a creation: what a run of the graph begins from."""
        return self._state(id, self.store.head(id))

    def expect(self, prompt: str, size: tuple[int, int] | None = None, budget: Limits | None = None) -> Expected:
        """What painting a prompt is likely to cost, by what was measured before. Nothing is recorded or painted."""
        brief = brief_from(prompt, 0, size, self._limits(budget))
        self._check(brief)
        return self._expected(brief)

    # Inside

    def _expected(self, brief: Brief) -> Expected:
        return expected(self.store, brief, brief.size or self.painter.size, self._makers, self.effort.name)

    def _limits(self, budget: Limits | None) -> Limits | None:
        """What the budget names, and for the rest what the effort says."""
        if isinstance(budget, Budget) or not self.effort.limits:
            return budget
        return {**self.effort.limits, **(budget or {})}

    @property
    def _makers(self) -> tuple[str, str]:
        painter = self._painter if isinstance(self._painter, str) else self._painter.ref.id
        return painter, self._vlm if isinstance(self._vlm, str) else self._vlm.ref.id

    def _new(self, root: Step, id: str | None) -> Creation:
        try:
            root = reviewed(self.policy, root)
        except Refused as refused:
            return self._refused(root, refused, id)
        return self.open(self.store.create(self.store.put_step(root), id))

    def _refused(self, root: Step, refused: Refused, id: str | None, shown: Frame | None = None) -> Creation:
        """A creation that a policy stops before it begins: what was asked for, and why it is not done."""
        digest = self.store.put_step(root)
        id = self.store.create(digest, id)
        self.store.record(id, refusal(digest, refused, shown))
        return self.open(id)

    def _check(self, brief: Brief) -> None:
        """Everything that can be refused before anything is recorded."""
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
        names: dict[str, str | int | float | bool] = dict(zip(("painter", "vlm"), self._makers, strict=True))
        if self.effort.name != "normal":
            names["effort"] = self.effort.name
        return Step(kind=StepKind.BRIEF, parent=parent, brief=brief, text=brief.prompt, settings=names)

    def _human_step(self, state: State, edit: Edit, mask: Image | None = None) -> Step:
        size, reasons = state["brief"].size or self.painter.size, list[str]()
        if edit is not None and not isinstance(edit, Noun) and hasattr(edit, "getbbox"):
            edit, reasons = reviewed_picture(self.policy, edit)
        if isinstance(edit, Plan):
            strokes.check(edit, self.painter, shown(state) is not None)
        step = human_step(state, edit, self.store, size, mask)
        return redacted(reviewed(self.policy, step), reasons)
