"""The lines of a batch on a Ray cluster: a crew of replicas, each with a painter of its own, wherever there is room.

Ray places replicas, moves lines and results, and notices what dies. What is left to do here: a line whose replica died
goes to another one, and a new replica takes the place of the dead. Doing a line twice does no harm, since its steps
have the same hashes; the store that all nodes share (object storage, or a folder that all of them mount) keeps what a
dead replica has made, and the next one goes on from there.
"""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from brushloop.agent.studio import Studio
from brushloop.errors import BackendError, BrushloopError, InputError
from brushloop.scale.batch import Item, Result, Work, failed, make

DEATHS = 3
"""A line that as many replicas died with is given up: it may be what kills them."""

CARRIED = ("BRUSHLOOP_CHECKPOINTS", "BRUSHLOOP_REVIEW")
"""What of this process's environment the replicas get. Keys and passwords of clouds are each node's own affair."""


@dataclass(frozen=True)
class Room:
    """What a replica takes of its node, and how many lines it works on at once."""

    gpus: float = 0.0
    """A fraction lets several share one: painters of one GPU, or a painter beside a vision-language server."""
    cpus: float = 1.0
    at_once: int = 1
    """More than one lets it paint one line while another is planned and judged."""
    replicas: int = 0
    """0: as many as the cluster has room for."""


class Replica:
    """A studio in a process of its own, somewhere on the cluster."""

    def __init__(self, makers: Callable[[], Studio], environment: Mapping[str, str]) -> None:
        os.environ.update(environment)
        self._makers = makers

    def load(self) -> None:
        """Load the models. Apart from the constructor, so that what is wrong with them is told as it is."""
        self.studio = self._makers()
        _ = self.studio.painter, self.studio.vlm

    def make(self, item: Item) -> Result:
        """See `brushloop.scale.batch.make`."""
        return make(self.studio, item)


@dataclass
class Crew:
    """The replicas, and which line each of them works on."""

    room: Room
    start: Callable[[], Any]
    """Starts a replica and returns its handle."""
    loading: dict[Any, Any] = field(default_factory=dict)
    ready: list[Any] = field(default_factory=list)
    at_work: dict[Any, tuple[Any, Item]] = field(default_factory=dict)
    deaths: Counter[str] = field(default_factory=Counter)

    def grow(self) -> None:
        """Ask for one more replica; it is there once a node has room for it."""
        replica = self.start()
        self.loading[replica.load.remote()] = replica

    def idle(self, item: Item) -> Any:
        """A replica that can take this line: the one with the fewest; None if all are busy.

        A line that a replica died with works alone from then on: if it is what kills them, no other line pays for it.
        """
        lines: dict[int, list[str]] = {id(replica): [] for replica in self.ready}
        for replica, other in self.at_work.values():
            lines.setdefault(id(replica), []).append(other.id)

        def free(replica: Any) -> bool:
            there = lines[id(replica)]
            alone = any(self.deaths[name] for name in [item.id, *there])
            return len(there) < (1 if alone else self.room.at_once)

        return min(filter(free, self.ready), key=lambda replica: len(lines[id(replica)]), default=None)

    def lose(self, replica: Any) -> None:
        """Let a dead replica go, and ask for another; once for each, though each of its lines tells of it."""
        if replica in self.ready:
            self.ready.remove(replica)
            self.grow()


def on_ray(makers: Callable[[], Studio], room: Room, address: str | None = None) -> Work:
    """Work on a Ray cluster: the one at `address`, else that of `RAY_ADDRESS`, else one started on this machine.

    Args:
        makers: makes a studio on whatever node; its home must be the same place for all of them.
        room: what a replica takes.
        address: as for `ray.init`.

    Raises:
        BackendError: Ray is not installed, or there is no such cluster.
        InputError: no node of it has room for a replica.
    """
    ray = connect(address)
    replicas = room.replicas or _fitting(ray.cluster_resources(), room)

    def work(left: Iterator[Item]) -> Generator[Result]:
        environment = {name: os.environ[name] for name in CARRIED if name in os.environ}
        options = {"num_cpus": room.cpus, "num_gpus": room.gpus, "max_concurrency": room.at_once, "max_restarts": 0}
        kind = ray.remote(**options, scheduling_strategy="SPREAD")(Replica)
        crew = Crew(room, lambda: kind.remote(makers, environment))
        for _ in range(replicas):
            crew.grow()
        try:
            yield from _led(ray, crew, left)
        finally:
            for replica in [*crew.ready, *crew.loading.values()]:
                ray.kill(replica)

    return work


def _led(ray: Any, crew: Crew, left: Iterator[Item]) -> Iterator[Result]:
    again: list[Item] = []
    item = next(left, None)
    while item is not None or crew.at_work:
        while item is not None and (replica := crew.idle(item)) is not None:
            crew.at_work[replica.make.remote(item)] = replica, item
            item = again.pop() if again else next(left, None)
        done, _ = ray.wait([*crew.at_work, *crew.loading], num_returns=1)
        for told in done:
            if told in crew.loading:
                _join(ray, crew, told)
                continue
            replica, made = crew.at_work.pop(told)
            try:
                yield ray.get(told)
            except ray.exceptions.RayTaskError as error:
                yield failed(made, "unexpected", str(error.cause))
            except ray.exceptions.RayError as error:  # the replica, or its node, died
                crew.lose(replica)
                crew.deaths[made.id] += 1
                if crew.deaths[made.id] >= DEATHS:
                    message = f"{DEATHS} replicas died while they worked on it ({type(error).__name__})"
                    yield failed(made, "died", message)
                else:
                    again.append(made)
        if item is None:
            item = again.pop() if again else next(left, None)


def _join(ray: Any, crew: Crew, told: Any) -> None:
    replica = crew.loading.pop(told)
    try:
        ray.get(told)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, BrushloopError):
            raise error.cause from None
        raise BackendError(f"a replica cannot be made: {type(error.cause).__name__}: {error.cause}") from error
    except ray.exceptions.RayError:  # it died, or its node: another one
        crew.grow()
    else:
        crew.ready.append(replica)


def connect(address: str | None = None) -> Any:
    """The module `ray`, connected.

    Raises:
        BackendError: it is not installed, or there is no such cluster.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise BackendError(f"Ray is not installed ({error}): pip install 'brushloop[ray]'") from error
    try:
        if not ray.is_initialized():
            _knock(address or os.environ.get("RAY_ADDRESS", ""))
            ray.init(address=address, configure_logging=False, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        said = " ".join(str(error).split())[:200]
        raise BackendError(
            f"no Ray cluster at {address or os.environ.get('RAY_ADDRESS', 'this machine')}: {said}"
        ) from error
    return ray


def _knock(address: str) -> None:
    """Raise `OSError` if nothing listens at a `host:port`; Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def _fitting(resources: Mapping[str, float], room: Room) -> int:
    """How many replicas a cluster with these resources has room for.

    Raises:
        InputError: none.
    """
    by = {"GPU": room.gpus, "CPU": room.cpus}
    fitting = min((int(resources.get(kind, 0.0) / share + 1e-6) for kind, share in by.items() if share > 0), default=1)
    if fitting < 1:
        has = ", ".join(f"{resources.get(kind, 0.0):g} {kind}" for kind in by)
        raise InputError(
            f"the cluster has {has}, and a replica would take {room.gpus:g} GPU and {room.cpus:g} CPU: "
            "ask for less with --gpus and --cpus"
        )
    return fitting
