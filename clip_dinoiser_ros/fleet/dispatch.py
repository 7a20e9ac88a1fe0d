# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Gives units to actors, the largest first, and goes on where an actor or a node dies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import ray
from ray.exceptions import RayError, RayTaskError

from clip_dinoiser_ros.arguments import say
from clip_dinoiser_ros.core.errors import is_full, one_line
from clip_dinoiser_ros.fleet.cluster_arguments import ClusterError

TRIES = 3
_POLL_S = 1.0
_FAILED_STARTS = 3  # in a row, for each actor


class Piece(Protocol):
    """A piece of work."""

    @property
    def size(self) -> int:
        """How much work it is, compared with others."""
        ...

    @property
    def text(self) -> str:
        """Name for the user."""
        ...


Unit = TypeVar('Unit', bound=Piece)


@dataclass(eq=False)
class Task(Generic[Unit]):
    """A unit.

    Attributes:
        unit: What to do.
        tried: The actors that have failed at it.
        last: It found a disk full, and has it for itself when all others are done.
    """

    unit: Unit
    tried: list[Any] = field(default_factory=list)
    last: bool = False


class Dispatcher(Generic[Unit]):
    """A number of actors, and the units that wait for them.

    Args:
        make: Makes an actor. Its `start()` loads the model; `run(unit, digest)` does a unit.
        count: Number of actors.
        run: Returns that digest, of settings and model; given what `start` returns.
        failed: Called with a unit that has failed `TRIES` times, and the reason.
    """

    def __init__(
        self,
        make: Callable[[], Any],
        count: int,
        run: Callable[[dict[str, Any]], str],
        failed: Callable[[Unit, str], None],
    ) -> None:
        self._make, self._count, self._run = make, count, run
        self._failed = failed
        self._digest = ''
        self._waiting: list[Task[Unit]] = []
        self._idle: list[Any] = []
        self._starting: dict[Any, Any] = {}  # actor by the reference of its start
        self._working: dict[Any, tuple[Any, Task[Unit]]] = {}
        self._failed_starts = 0

    def add(self, units: list[Unit]) -> None:
        """Add units; also while `results` is in use."""
        self._put([Task(unit) for unit in units])

    def results(self) -> Iterator[tuple[Unit, Any]]:
        """Yield each unit and its result, in the order in which they end.

        Raises:
            ClusterError: No actor can start.
            ValueError: Whatever `run` and `failed` raise.
        """
        for _ in range(self._count):
            self._start_actor()
        while self._waiting or self._working:
            self._assign()
            references = [*self._working, *self._starting]
            ready, _ = ray.wait(references, num_returns=1, timeout=_POLL_S)
            for reference in ready:
                if reference in self._starting:
                    self._started(reference)
                else:
                    yield from self._ended(reference)

    def _put(self, tasks: list[Task[Unit]]) -> None:
        # of equal ones the newest first: whoever takes results in order waits for it
        self._waiting = sorted([*tasks, *self._waiting], key=_turn)

    def _start_actor(self) -> None:
        actor = self._make()
        self._starting[actor.start.remote()] = actor

    def _started(self, reference: Any) -> None:
        actor = self._starting.pop(reference)
        try:
            digest = self._run(ray.get(reference))
        except RayError as error:
            self._failed_starts += 1
            cause = error.cause if isinstance(error, RayTaskError) else error
            expected = isinstance(cause, ValueError | OSError)  # such as weights that are missing
            never = not self._digest
            if (never and expected) or self._failed_starts > _FAILED_STARTS * self._count:
                raise ClusterError(f'no actor can start: {one_line(cause, 300)}') from error
            say(f'an actor did not start: {one_line(cause, 300)}')
            ray.kill(actor)
            self._start_actor()
            return
        self._failed_starts, self._digest = 0, digest
        self._idle.append(actor)

    def _assign(self) -> None:
        """Give each idle actor the largest unit at which it has not failed."""
        for actor in list(self._idle):
            others = {*self._idle, *(busy for busy, _ in self._working.values())} - {actor}
            task = next(
                (
                    task
                    for task in self._waiting
                    if (actor not in task.tried or others <= {*task.tried})
                    and not (task.last and self._working)
                ),
                None,
            )
            if task is not None:
                self._waiting.remove(task)
                self._idle.remove(actor)
                named = actor.run.options(name=task.unit.text)  # as the dashboard shows it
                self._working[named.remote(task.unit, self._digest)] = actor, task

    def _ended(self, reference: Any) -> Iterator[tuple[Unit, Any]]:
        actor, task = self._working.pop(reference)
        try:
            result = ray.get(reference)
        except RayError as error:
            cause = error.cause if isinstance(error, RayTaskError) else error
            if isinstance(cause, ValueError | OSError):  # the actor is all right
                self._idle.append(actor)
                reason = one_line(cause)
            else:
                ray.kill(actor)  # such as a device that failed; or it is dead
                self._start_actor()
                reason = f'{type(cause).__name__}: {one_line(cause, 300)}'
            task.tried.append(actor)
            if len(task.tried) >= TRIES or (task.last and is_full(cause)):
                self._failed(task.unit, reason)
            else:
                task.last = task.last or is_full(cause)
                when = 'last' if task.last else 'again'
                say(f'{task.unit.text} is tried {when}: {reason}')
                self._put([task])
            return
        self._idle.append(actor)
        yield task.unit, result


def _turn(task: Task[Any]) -> tuple[bool, int]:
    """The largest first; of those that found a disk full, the smallest."""
    return task.last, task.unit.size if task.last else -task.unit.size
