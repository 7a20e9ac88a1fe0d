# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The newest frame of every camera, passed from the callbacks to the worker, without a queue."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

NO_LIMITS: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True)
class ReceivedFrame:
    """One camera message on its way to the worker.

    Attributes:
        camera: Name of the camera.
        message: sensor_msgs/Image or CompressedImage as received.
        arrived_s: When it arrived, in seconds of the steady clock.
        taken_s: When the worker took it.
    """

    camera: str
    message: Any
    arrived_s: float
    taken_s: float


@dataclass(frozen=True)
class Counts:
    """Frames of one camera since the node was activated."""

    received: int = 0
    segmented: int = 0
    replaced: int = 0
    rejected: int = 0


@dataclass(eq=False)
class _Slot:
    message: Any = None
    arrived_s: float = 0.0
    last_s: float = -math.inf  # last time a frame was taken under max_rate
    received: int = 0
    segmented: int = 0
    replaced: int = 0
    rejected: int = 0


class FrameSlots:
    """One slot per camera: a newer frame replaces an older one that was not taken.

    Args:
        cameras: Names.
        clock: Steady clock in seconds.
    """

    def __init__(self, cameras: Sequence[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._slots = {camera: _Slot() for camera in cameras}
        self._clock = clock
        self._changed = threading.Condition()
        self._woken = False
        self._closed = False
        # see `between_frames`
        self._max_rate_hz = NO_LIMITS  # frames of the last `take`
        self._frames_out = False  # true from a `take` that returned frames to the next
        self._others_wait: deque[object] = deque()  # one for each thread, in order
        self._others_work = False
        self._frames_first = True

    def put(self, camera: str, message: Any) -> None:
        """Store the newest message of a camera; cheap enough for any callback."""
        with self._changed:
            slot = self._slots[camera]
            slot.received += 1
            slot.replaced += slot.message is not None
            slot.message, slot.arrived_s = message, self._clock()
            self._changed.notify_all()

    def take(self, max_rate_hz: Mapping[str, float] = NO_LIMITS) -> list[ReceivedFrame] | None:
        """Wait for work and take the newest frame of every camera that is due.

        Args:
            max_rate_hz: Maximum frames per second of each camera; 0 or missing: no limit.

        Returns:
            The frames; an empty list after `wake`; None once closed.
        """
        with self._changed:
            self._max_rate_hz = max_rate_hz
            self._frames_out = False
            self._changed.notify_all()
            while True:
                now = self._clock()
                next_s = self._next_s()
                due = [camera for camera, due_s in next_s.items() if due_s <= now]
                if self._others_work or (self._others_wait and not self._frames_first):
                    due, next_s = [], {}  # until they are segmented
                if self._closed or self._woken or due:
                    break
                self._changed.wait(min(next_s.values()) - now if next_s else None)
            if self._closed:
                return None
            self._woken = False
            self._frames_out = bool(due)
            return [self._take(camera, now) for camera in due]

    @contextmanager
    def between_frames(self) -> Iterator[None]:
        """Return a context in which `take` returns no frames; one thread at a time enters it.

        This context and waiting frames take turns, so that frames never wait for more than one turn
        of others, and the first of the others waits for no more than one turn of the frames.
        Several threads enter in the order in which they came.
        """
        own = object()
        with self._changed:
            self._others_wait.append(own)
            self._changed.wait_for(lambda: self._others_wait[0] is own and self._others_may_work())
            self._others_wait.popleft()
            self._others_work = True
        try:
            yield
        finally:
            with self._changed:
                self._others_work, self._frames_first = False, True
                self._changed.notify_all()

    def _others_may_work(self) -> bool:
        if self._others_work:
            return False
        now = self._clock()
        due = self._frames_first and any(due_s <= now for due_s in self._next_s().values())
        return self._closed or not (self._frames_out or due)

    def _period_s(self, camera: str) -> float:
        rate = self._max_rate_hz.get(camera, 0.0)
        return 1.0 / rate if rate else 0.0

    def _next_s(self) -> dict[str, float]:
        """Return when the waiting frames may be taken."""
        return {
            camera: slot.last_s + self._period_s(camera)
            for camera, slot in self._slots.items()
            if slot.message is not None
        }

    def _take(self, camera: str, now: float) -> ReceivedFrame:
        slot, period_s = self._slots[camera], self._period_s(camera)
        self._frames_first = False
        frame = ReceivedFrame(camera, slot.message, slot.arrived_s, now)
        slot.message = None
        due = slot.last_s + period_s
        slot.last_s = due if now - due < period_s else now  # a delay is made up for once only
        return frame

    def count(self, camera: str, segmented: int = 0, rejected: int = 0) -> Counts:
        """Count the results of frames that were taken; return the counts of the camera."""
        with self._changed:
            slot = self._slots[camera]
            slot.segmented += segmented
            slot.rejected += rejected
            return Counts(slot.received, slot.segmented, slot.replaced, slot.rejected)

    def wake(self) -> None:
        """Let `take` return without a frame."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def close(self) -> None:
        """Let `take` return None from now on."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
