# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The watchdog for a model that hangs, and the end of a process whose device fails.

The process ends with exit code 1, and the launch file starts it again.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any


class Watchdog:
    """Detects a call of the model that does not return: use `with watchdog:` around the call.

    Args:
        timeout_s: Limit of a call in seconds of the steady clock; 0: no limit.
        hangs: Called once, in the thread of the watchdog, with a description.
        clock: Steady clock in seconds.
    """

    def __init__(
        self,
        timeout_s: float,
        hangs: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._timeout_s, self._hangs, self._clock = timeout_s, hangs, clock
        self._since_s: float | None = None
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._watch, name='watchdog', daemon=True)
        if timeout_s > 0:
            self._thread.start()

    def __enter__(self) -> Watchdog:
        self._set(self._clock())
        return self

    def __exit__(self, *_: object) -> None:
        self._set(None)

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    def _set(self, since_s: float | None) -> None:
        with self._changed:
            self._since_s = since_s
            self._changed.notify()

    def _watch(self) -> None:
        with self._changed:
            while not self._closed:
                if self._since_s is None:
                    self._changed.wait()
                    continue
                left_s = self._since_s + self._timeout_s - self._clock()
                if left_s <= 0:
                    break
                self._changed.wait(left_s)
            if self._closed:
                return
        self._hangs(f'the model did not return within {self._timeout_s:g} s (inference_timeout_s)')


def watched(
    turn: Callable[[], AbstractContextManager[object]], watchdog: Watchdog
) -> Callable[[], AbstractContextManager[object]]:
    """Let a watchdog watch what is done in each turn, but not the wait for it."""

    @contextmanager
    def watched_turn() -> Iterator[None]:
        with turn(), watchdog:
            yield

    return watched_turn


def end_within(time_s: float) -> None:
    """End the process with exit code 1 after a time, even if everything hangs.

    The timer runs in C and needs neither the lock of Python nor that of an allocator. It writes
    the stacks of all threads to stderr.
    """
    faulthandler.dump_traceback_later(time_s, file=2, exit=True)


def end_process(logger: Any, reason: str) -> None:
    """Write the reason and end the process with exit code 1 at once.

    An exception or sys.exit would wait for what hangs, and free memory by calls of the broken
    device.
    """
    logger.fatal(f'{reason}; this process exits with code 1, to be restarted')
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
