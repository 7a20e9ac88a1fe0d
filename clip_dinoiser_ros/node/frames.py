# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The newest frame of every camera, handed from the callbacks to the worker. No queue."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

NO_LIMITS: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True)
class Frame:
    """One camera message on its way.

    Attributes:
        camera: Name of the camera.
        message: sensor_msgs/Image or CompressedImage as it came.
        arrived_s: When it came, in seconds of the steady clock.
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
    last_s: float = -math.inf  # when max_rate was last made use of
    received: int = 0
    segmented: int = 0
    replaced: int = 0
    rejected: int = 0


class FrameSlots:
    """One slot per camera: a newer frame replaces an older one that nobody took.

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

    def put(self, camera: str, message: Any) -> None:
        """Store the newest message of a camera; cheap enough for any callback."""
        with self._changed:
            slot = self._slots[camera]
            slot.received += 1
            slot.replaced += slot.message is not None
            slot.message, slot.arrived_s = message, self._clock()
            self._changed.notify()

    def take(self, max_rate_hz: Mapping[str, float] = NO_LIMITS) -> list[Frame] | None:
        """Wait for work and take the newest frame of every camera that is due.

        Args:
            max_rate_hz: At most so many frames per second of each camera; 0 or none: no limit.

        Returns:
            The frames; an empty list after `wake`; None once closed.
        """
        period_s = {camera: 1.0 / rate for camera, rate in max_rate_hz.items() if rate}
        with self._changed:
            while True:
                now = self._clock()
                waiting = [(c, slot) for c, slot in self._slots.items() if slot.message is not None]
                next_s = {c: slot.last_s + period_s.get(c, 0.0) for c, slot in waiting}
                due = [(c, slot) for c, slot in waiting if next_s[c] <= now]
                if self._closed or self._woken or due:
                    break
                self._changed.wait(min(next_s.values()) - now if next_s else None)
            if self._closed:
                return None
            self._woken = False
            return [self._take(c, slot, now, period_s.get(c, 0.0)) for c, slot in due]

    def _take(self, camera: str, slot: _Slot, now: float, period_s: float) -> Frame:
        frame = Frame(camera, slot.message, slot.arrived_s, now)
        slot.message = None
        due = slot.last_s + period_s
        slot.last_s = due if now - due < period_s else now  # late once is made up for, not twice
        return frame

    def count(self, camera: str, segmented: int = 0, rejected: int = 0) -> Counts:
        """Count what became of frames that were taken; return the camera's counts."""
        with self._changed:
            slot = self._slots[camera]
            slot.segmented += segmented
            slot.rejected += rejected
            return Counts(slot.received, slot.segmented, slot.replaced, slot.rejected)

    def wake(self) -> None:
        """Let `take` return although no frame came."""
        with self._changed:
            self._woken = True
            self._changed.notify()

    def close(self) -> None:
        """Let `take` return None from now on."""
        with self._changed:
            self._closed = True
            self._changed.notify()
