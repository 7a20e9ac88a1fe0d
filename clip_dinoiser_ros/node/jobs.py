# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The thread that does the work of requests, one after the other."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from rclpy.task import Future

from clip_dinoiser_ros.frames.guard import FinalError

MOST_WAITING = 16  # requests; each may hold an image

Job = tuple[Callable[[], Any], Future]


class RefusedError(ValueError):
    """A request is not served; says why."""


class Jobs:
    """Does jobs in a thread of its own, in the order in which they came.

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

    def ask(self, work: Callable[[], Any]) -> Future:
        """Return the future result, or error, of a job.

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
            self._waiting.append((work, future))
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
        for _, future in waiting:
            future.set_exception(RefusedError('the node was deactivated before it could answer'))
        self._thread.join(timeout_s)
        self._done()
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._waiting)
                if self._closed:
                    return
                work, future = self._waiting.popleft()
            try:
                future.set_result(work())
            except FinalError as error:
                self._ends(f'the device fails: {error}')
            except Exception as error:  # becomes the answer
                future.set_exception(error.with_traceback(None))
            del work, future  # they hold an image
            self._done()
