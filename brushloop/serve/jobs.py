"""Jobs: creations that are worked on in the background, one at a time, and outlive the server.

What is asked for is recorded (a head in the store, a line in its log) before it is accepted. The queue in memory is
only a list of ids: after a restart it is read from the logs again. One worker paints, since painters and models
share one accelerator; a creation that waits for a person does not hold it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import threading
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from brushloop.agent import chat
from brushloop.agent.events import Event
from brushloop.agent.run import Pause
from brushloop.canvas import StopReason
from brushloop.creation import Creation
from brushloop.errors import BrushloopError, ConflictError, UnknownCreationError
from brushloop.serve.log import ALIVE, Job, Line, Log, job_of

if TYPE_CHECKING:
    from PIL.Image import Image

    from brushloop.agent.human import Edit
    from brushloop.agent.studio import Studio

ANYONE = ""
"""The owner who sees everything: the person at this machine, or whoever has the unnamed key."""

_told = logging.getLogger(__name__)


class Jobs:
    """The creations of a studio, as jobs. Start it before use, close it at the end."""

    def __init__(self, studio: Studio) -> None:
        self.studio, self.store = studio, studio.store
        self.log = Log(self.store)
        self._queue: deque[str] = deque()
        self._cancelled: set[str] = set()
        self._interrupted: set[str] = set()
        self._beats: Counter[str] = Counter()
        self._changed = threading.Condition()
        self._recording = threading.Lock()
        self._closing = False
        self._worker: threading.Thread | None = None

    # The worker

    def start(self) -> None:
        """Begin to work: first on what was accepted before and is not done."""
        for id in self.log.ids():
            job = job_of(self.log.lines(id))
            if job.state in ALIVE:
                if job.cancelled:
                    self._cancelled.add(id)
                self._queue.append(id)
        self._worker = threading.Thread(target=self._work, name="brushloop-jobs", daemon=True)
        self._worker.start()

    def close(self, seconds: float = 5.0) -> None:
        """Stop between two nodes. What is not done stays accepted, and goes on after the next start."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._worker:
            self._worker.join(seconds)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._queue)
                if self._closing:
                    return
                id = self._queue.popleft()
            try:
                self._run(id)
            except Exception:  # a record that cannot be written must not end the worker
                _told.exception("creation %s", id)

    def _run(self, id: str) -> None:
        with self.log.held(id) as held:
            if not held:  # another process works on it
                return
            self.log.catch_up(id)
            job = self.log.job(id)
            if job.state not in ALIVE:
                return
            turn = job.said if self.store.head(id) == job.at else ""
            if turn or not self._ended(id):
                if job.state != "running":  # it was killed while it ran, or tries again
                    self._tell(id, "running")
                try:
                    self._go(id, job, turn)
                except ConflictError:  # somebody else works on it: perhaps a machine cut off, which lets go late
                    with self._changed:
                        self._queue.append(id)
                    return
                except BrushloopError as error:
                    still = turn and self.store.head(id) == job.at  # nothing came of it: the creation is as it was
                    self._tell(id, "refused" if still else "failed", error={"code": error.code, "message": str(error)})
                    return
                except Exception as error:
                    _told.exception("creation %s", id)
                    message = f"{type(error).__name__}: not foreseen; the server's log has the rest"
                    self._tell(id, "failed", error={"code": "unexpected", "message": message})
                    return
            if self._ended(id):
                self._cancelled.discard(id)
                self._interrupted.discard(id)
                self._tell(id, "done")

    def _go(self, id: str, job: Job, turn: str) -> None:
        """Work until it ends or waits; one that was cancelled just as it came to a pause goes on to its end.

        A turn of a conversation is recorded first, and so is each further wish of it once the one before is done.
        """
        afresh = job.afresh
        if turn:
            chat.say(self.studio, self.studio.open(id), turn)
            self._told_by_chain(id)
        while True:
            self.studio.go(
                id,
                afresh=afresh,
                pause=job.pause,
                on_event=lambda event: self._hear(id, event),
                cancel=lambda: id in self._cancelled,
                interrupt=lambda: self._closing or id in self._interrupted,
            )
            if chat.more(self.studio, self.studio.open(id)):
                self._told_by_chain(id)
                afresh = True
                continue
            if id not in self._cancelled or self._closing or self._ended(id):
                return
            afresh = False

    def _ended(self, id: str) -> bool:
        creation = Creation(id, self.store.head(id), self.store)
        return creation.finished and not chat.left(creation)

    def _told_by_chain(self, id: str) -> None:
        """Tell of steps that were recorded outside of a run."""
        self.log.catch_up(id)
        self._beat(id)

    def _hear(self, id: str, event: Event) -> None:
        match event["type"]:
            case "step":
                self._tell(id, "step", hash=event["hash"])
            case "done":
                pass
            case "paused":
                with self._changed:  # a cancellation comes before this, or finds it waiting
                    if id not in self._cancelled and (not self._closing or id in self._interrupted):
                        self._interrupted.discard(id)
                        self._tell(id, "paused", next=event["next"])
            case type:
                self._tell(id, type, **{key: value for key, value in event.items() if key != "type"})

    def _tell(self, id: str, type: str, **told: object) -> None:
        self.log.append(id, type, **told)
        self._beat(id)

    def _beat(self, id: str) -> None:
        with self._changed:
            self._beats[id] += 1
            self._changed.notify_all()

    # Asking for work

    def submit(
        self,
        record: Callable[[str | None], Creation],
        owner: str = ANYONE,
        pause: Sequence[str] = (),
        key: str | None = None,
        request: str = "",
    ) -> tuple[str, bool]:
        """Accept a creation: once this returns, it is on the disk and will be worked on.

        Args:
            record: records it under an id (`Studio.begin` and its like) and raises if it cannot be done.
            owner: who may see it.
            pause: where to wait for a person.
            key: an Idempotency-Key: the same key gives the same creation.
            request: what is asked for, in any exact form; the same key must come with the same request.

        Returns:
            Its id, and whether it is new.

        Raises:
            ConflictError: the key was used for something else.
        """
        Pause.at(pause)
        digest = hashlib.sha256(request.encode("utf-8", "surrogatepass")).hexdigest()
        id = None
        if key is not None:
            named = hashlib.sha256(f"{owner}\n{key}".encode("utf-8", "surrogatepass")).hexdigest()
            id = f"key-{named[:32]}"
        with self._recording:
            if id is not None and (lines := self.log.lines(id)):
                if job_of(lines).request != digest:
                    raise ConflictError(
                        "that Idempotency-Key was used for another request: send the same request, or another key"
                    )
                return id, False
            id = record(id).id
            self._accept(id, owner=owner, request=digest, pause=list(pause), afresh=True)
        return id, True

    def answer(
        self,
        id: str,
        edit: Edit,
        mask: Image | None = None,
        head: str | None = None,
        pause: Sequence[str] | None = None,
    ) -> None:
        """Record a person's answer and go on; a mask holds a correction.

        Raises:
            ConflictError: it is being worked on, is finished, or is no longer at `head`.
        """
        with self._idle(id) as job:
            if head is not None and head != self.store.head(id):
                raise ConflictError(f"creation {id} has moved on from step {head[:12]}: look at it again, then answer")
            if job.state == "finished":
                raise ConflictError(f"creation {id} is finished: fork it to go on from there")
            pause = job.pause if pause is None else pause
            Pause.at(pause)
            self.studio.say(id, edit, mask)
            self._accept(id, pause=list(pause), afresh=False)

    def chat(
        self, id: str, said: str, owner: str = ANYONE, head: str | None = None, pause: Sequence[str] | None = None
    ) -> str:
        """Accept a turn of a conversation over a finished creation: once this returns, it is on the disk.

        Args:
            id: the creation.
            said: what to change, or which picture to go back to.
            owner: who says it.
            head: the step that was looked at.
            pause: where to wait for a person.

        Returns:
            The id of the creation; after going back it is another one, a fork at the end of the turn that was meant.

        Raises:
            ConflictError: it is being worked on, or is no longer at `head`.
            InputError: it is not finished, or what was said speaks of something that is not there.
        """
        with self._idle(id) as job:
            creation = Creation(id, self.store.head(id), self.store)
            if head not in (None, creation.head):
                raise ConflictError(f"creation {id} has moved on from step {head[:12]}: look at it again, then say it")
            meant = chat.understood(self.studio, creation, said)
            if meant.wishes:
                pause = job.pause if pause is None else pause
                Pause.at(pause)
                self._accept(id, pause=list(pause), afresh=True, said=said, head=creation.head)
                return id
        return self.submit(lambda new: chat.back(self.studio, creation, meant.base, new), owner)[0]

    def resume(self, id: str, pause: Sequence[str] | None = None) -> None:
        """Go on with one that waits, failed, was cancelled or was left.

        Raises:
            ConflictError: it is being worked on, or ended by itself.
        """
        with self._idle(id) as job:
            if job.state == "finished" and self.studio.open(id).stop_reason is not StopReason.CANCELLED:
                raise ConflictError(f"creation {id} ended by itself: fork it to go on from there")
            pause = job.pause if pause is None else pause
            Pause.at(pause)
            self.studio.reopen(id)
            self._accept(id, pause=list(pause), afresh=False)

    def interrupt(self, id: str) -> None:
        """Let it wait for a person before its next node.

        Raises:
            ConflictError: it is not being worked on.
        """
        job = self.log.job(id)
        if job.state == "waiting":
            return
        if job.state not in ALIVE:
            raise ConflictError(f"creation {id} is {job.state}: only one in work can be interrupted")
        self._interrupted.add(id)

    def cancel(self, id: str) -> None:
        """End it between two denoising steps, with its best picture. One that has ended stays as it is."""
        with self._changed:
            job = self.log.job(id)
            if job.state == "finished" or job.cancelled:
                return
            if job.state in ALIVE:
                self._cancelled.add(id)
                self._tell(id, "cancel")
                if id in self._queue:  # no need to wait for others
                    self._queue.remove(id)
                    self._queue.appendleft(id)
                return
        with self._idle(id):  # it takes a run, if only a short one, to choose the best picture
            self._accept(id, cancelled=True, pause=[], afresh=False)

    @contextmanager
    def _idle(self, id: str) -> Iterator[Job]:
        """Hold a creation that nobody works on."""
        with self._recording:
            job = self.log.job(id)
            if job.state in ALIVE:
                raise ConflictError(f"creation {id} is {job.state}: interrupt it, or wait until it is done or waits")
            yield job

    def _accept(self, id: str, cancelled: bool = False, **asked: object) -> None:
        """Write down that it is to be worked on, wait for the disk, and only then queue it."""
        self.log.append(id, "queued", **asked)
        if cancelled:
            self.log.append(id, "cancel")
        self.catch_up(id)
        self.log.sync(id)
        with self._changed:
            self._interrupted.discard(id)
            (self._cancelled.add if cancelled else self._cancelled.discard)(id)
            (self._queue.appendleft if cancelled else self._queue.append)(id)
            self._beats[id] += 1
            self._changed.notify_all()

    # Looking

    def known(self, id: str, owner: str = ANYONE) -> Job:
        """The job of that exact id.

        Raises:
            UnknownCreationError: there is none, or it is somebody else's.
        """
        with contextlib.suppress(UnknownCreationError):
            self.store.head(id)
            job = self.log.job(id)
            if owner in (ANYONE, job.owner):
                return job
        raise UnknownCreationError(f"no creation {id!r}")  # in both cases the same words, and not where they are kept

    def catch_up(self, id: str) -> None:
        """Bring the log in line with the chain, unless somebody works on it and will do so."""
        with self.log.held(id) as held:
            if held:
                self.log.catch_up(id)

    async def follow(
        self, id: str, after: int = 0, *, wait: bool = True, until: float | None = None
    ) -> AsyncIterator[tuple[int, Line]]:
        """Events with a number beyond `after`, as they come, until nothing more is to come before somebody acts.

        Args:
            id: the creation.
            after: the number of the last event that is known.
            wait: whether to wait for more.
            until: the event loop's time at which waiting ends anyway.
        """
        while True:
            beat = self._beats[id]
            lines = await asyncio.to_thread(self.log.lines, id)
            for number, line in enumerate(lines[after:], after + 1):
                if line:
                    yield number, line
            after = max(after, len(lines))
            over = until is not None and asyncio.get_running_loop().time() >= until
            if not wait or over or self._closing or job_of(lines).state not in ALIVE:
                return
            await self._change(id, beat)

    async def _change(self, id: str, beat: int, seconds: float = 1.0) -> None:
        """Until something is told of a creation; another process may have told it, so not for long."""
        for _ in range(int(seconds / 0.02)):
            if self._beats[id] != beat or self._closing:
                return
            await asyncio.sleep(0.02)
