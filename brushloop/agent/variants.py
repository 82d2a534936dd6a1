"""Variants: several paths from one plan, side by side, all of them kept as forks; and choosing one.

The variants of creation `x` are the creations `x-1`, `x-2`, ... . Choosing leaves them as they are: the head of `x`
moves to the end of the chosen one, with a finish step that says which it was and who chose it. So `x` is what was
chosen, and its chain is how that was made.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, cast

from brushloop.agent.beside import attended
from brushloop.agent.events import Event, OnEvent
from brushloop.agent.hold import hold
from brushloop.agent.run import Cancel, Options
from brushloop.canvas import Step, StepKind, StopReason
from brushloop.creation import Creation
from brushloop.errors import InputError, Interrupted, UnknownCreationError
from brushloop.heads import ID
from brushloop.painter.base import OnDenoise, Painter, PaintRequest
from brushloop.store import Store

if TYPE_CHECKING:
    from PIL.Image import Image

    from brushloop.agent.studio import Studio

MOST = 64
"""Variants of one creation."""


class InTurn:
    """A painter that several threads share: it paints one picture at a time."""

    def __init__(self, painter: Painter, lock: threading.Lock) -> None:
        self.painter, self.lock = painter, lock
        self.ref, self.size = painter.ref, painter.size

    def check_size(self, size: tuple[int, int]) -> None:
        """As the painter's."""
        self.painter.check_size(size)

    def paint(self, request: PaintRequest, on_denoise: OnDenoise | None = None) -> Image:
        """Paint when it is this one's turn."""
        with self.lock:
            return self.painter.paint(request, on_denoise)


def in_turn(painter: Painter, lock: threading.Lock) -> Painter:
    """The painter as several threads may use it: as it is, if it says that it can be `shared`, else one at a time."""
    return painter if getattr(painter, "shared", False) else InTurn(painter, lock)


def variants(store: Store, id: str) -> list[Creation]:
    """The variants of a creation, in order."""
    found: list[Creation] = []
    while len(found) < MOST:
        try:
            name = f"{id}-{len(found) + 1}"
            found.append(Creation(name, store.head(name), store))
        except UnknownCreationError:
            break
    return found


def check(id: str, number: int) -> None:
    """Refuse what cannot be explored, before anything is recorded.

    Raises:
        InputError: fewer than two variants or too many of them, or an id too long to be numbered.
    """
    if not 2 <= number <= MOST:
        raise InputError(f"cannot explore {number} variants: give a number from 2 to {MOST}")
    if not ID.fullmatch(f"{id}-{number}"):
        raise InputError(f"the id {id!r} is too long for its variants to be numbered: choose a shorter one")


def explore(studio: Studio, id: str, number: int, options: Options) -> list[Creation]:
    """Paint so many variants of a creation that has a plan; those that are there already go on where they were.

    Raises:
        Interrupted: Ctrl-C. Each variant was ended with its best picture.
    """
    creation = studio.open(id)
    for count in range(1, number + 1):
        try:
            studio.store.head(f"{id}-{count}")
        except UnknownCreationError:
            studio.branch(creation.head, seed=creation.brief.seed + count - 1, id=f"{id}-{count}")

    def work(tell: OnEvent, cancelled: Cancel) -> None:
        def one(count: int) -> None:
            studio.go(
                f"{id}-{count}",
                cancel=cancelled,
                on_event=lambda event: tell(cast(Event, {**event, "variant": count})),
            )

        with ThreadPoolExecutor(number) as pool:
            running = [pool.submit(one, count) for count in range(1, number + 1)]
        for future in running:
            future.result()

    try:
        attended(work, options.get("on_event"), options.get("cancel"))
    except KeyboardInterrupt:
        raise Interrupted(f"stopped; what was made is kept as {id}-1 to {id}-{number}: brushloop choose {id}") from None
    return variants(studio.store, id)


def best(found: Sequence[Creation]) -> int:
    """The number of the best variant: accepted before not accepted, then by the critic's score, then the first.

    Raises:
        InputError: none of them is finished.
    """
    marks = [(*_mark(creation), -count) for count, creation in enumerate(found, 1) if _choosable(creation)]
    if not marks:
        raise InputError("no variant is finished yet: brushloop resume goes on with one")
    return -max(marks)[-1]


def choose(store: Store, id: str, number: int | None, why: str = "") -> Creation:
    """Mark a variant as the chosen one; without a number, the best by the critic's score.

    Raises:
        InputError: the creation has no variants, or not that one, or it is not finished.
        ConflictError: somebody else works on the creation, or has just chosen.
    """
    seen, found = store.head(id), variants(store, id)
    if not found:
        raise InputError(f"creation {id} has no variants: brushloop paint --variants makes some")
    count = best(found) if number is None else number
    if not 1 <= count <= len(found):
        raise InputError(f"creation {id} has no variant {count}: choose from 1 to {len(found)}")
    chosen = found[count - 1]
    if not _choosable(chosen):
        raise InputError(f"variant {count} is not finished: brushloop resume {chosen.id} goes on with it")
    with hold(store, id, seen):
        store.set_head(id, _marked(store, chosen, found, count, "score" if number is None else "person", why))
    return Creation(id, store.head(id), store)


def chosen(store: Store, id: str) -> int | None:
    """The number of the variant that stands for a creation; None if none was chosen."""
    number = store.get_step(store.head(id)).settings.get("variant")
    return int(number) if number is not None else None


def _marked(store: Store, chosen: Creation, found: Sequence[Creation], count: int, by: str, why: str) -> str:
    end, head = chosen.steps[-1], chosen.head
    critique, reason = end.critique, str(end.settings["stop_reason"])
    frames = tuple(creation.frame for creation in found if creation.frame)
    score = f" with score {critique.score:.2f}" if critique else ""
    text = f"variant {count} of {len(found)}{score}, chosen by {by}" + (f": {why}" if why else "")
    if by == "person":
        step = Step(kind=StepKind.HUMAN, parent=head, inputs=frames, outputs=end.outputs, text=text)
        head = store.put_step(step)
    finish = Step(
        kind=StepKind.FINISH,
        parent=head,
        inputs=frames,
        outputs=end.outputs,
        critique=critique,
        text=f"{reason}: {text}",
        settings={"stop_reason": reason, "variant": count, "variants": len(found), "chosen_by": by},
    )
    return store.put_step(finish)


def _choosable(creation: Creation) -> bool:
    return creation.finished and bool(creation.steps[-1].outputs)


def _mark(creation: Creation) -> tuple[bool, float]:
    critique = creation.steps[-1].critique
    return creation.stop_reason is StopReason.ACCEPTED, critique.score if critique else 0.0
