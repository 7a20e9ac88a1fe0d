# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The thread that does the work of requests, one after the other."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.task import Future

from clip_dinoiser_ros.frames.guard import FinalError

MOST_WAITING = 16  # requests; each may hold an image
POLL_S = 0.02  # while jobs wait for what they need


@dataclass(frozen=True, eq=False)
class Job:
    """Work, its future result, and whether what it needs is there."""

    work: Callable[[], Any]
    future: Future
    is_ready: Callable[[], bool]


class RefusedError(ValueError):
    """A request is not served; says why."""


class Jobs:
    """Does jobs in a thread of its own, in the order in which they came and are ready.

    Args:
        done: Called after each job, in the thread.
        ends: Called with a reason when the device fails for good.
        most_waiting: Further jobs are refused.
    """

    def __init__(
        self,
        done: Callable[[], None],
        ends: Callable[[str], None],
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self._done, self._ends, self._most_waiting = done, ends, most_waiting
        self._waiting: deque[Job] = deque()
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name='services', daemon=True)
        self._thread.start()

    def ask(self, work: Callable[[], Any], is_ready: Callable[[], bool] = lambda: True) -> Future:
        """Return the future result, or error, of a job.

        Args:
            work: Done in the thread.
            is_ready: Called in the thread until it is true; others go first meanwhile.

        Raises:
            RefusedError: Too many jobs wait.
        """
        with self._changed:
            if self._closed:
                raise RefusedError('the node is being deactivated; ask when it is active')
            if len(self._waiting) >= self._most_waiting:
                raise RefusedError(
                    f'{self._most_waiting} requests wait already; ask again when some are answered'
                )
            future = Future()
            self._waiting.append(Job(work, future, is_ready))
            self._changed.notify_all()
        return future

    def is_closed(self) -> bool:
        """Return whether the jobs shall end; asked by long ones."""
        return self._closed

    def close(self, timeout_s: float) -> bool:
        """Refuse the waiting jobs and end the thread; return whether it ended in time."""
        with self._changed:
            self._closed = True
            waiting = list(self._waiting)
            self._waiting.clear()
            self._changed.notify_all()
        for job in waiting:
            job.future.set_exception(
                RefusedError('the node was deactivated before it could answer')
            )
        self._thread.join(timeout_s)
        self._done()
        return not self._thread.is_alive()

    def _next(self) -> Job | None:
        """Wait for a job that is ready; None: closed."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._waiting)
                waiting = list(self._waiting)
            ready = next((job for job in waiting if _is_ready(job)), None)
            with self._changed:
                if self._closed:
                    return None
                if ready is not None:
                    self._waiting.remove(ready)
                    return ready
                self._changed.wait(POLL_S)

    def _run(self) -> None:
        while (job := self._next()) is not None:
            try:
                job.future.set_result(job.work())
            except FinalError as error:
                self._ends(f'the device fails: {error}')
            except Exception as error:  # becomes the answer
                job.future.set_exception(error.with_traceback(None))
            del job  # it holds an image
            self._done()


def _is_ready(job: Job) -> bool:
    try:
        return job.is_ready()
    except Exception:  # its work will tell
        return True
