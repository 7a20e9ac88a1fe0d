# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The newest depth images of one camera, and the nearest one of each frame."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import Any

from clip_dinoiser_ros.frames.images import stamp_ns

RING_LENGTH = 16  # half a second at 30 Hz: longer than a frame waits for the worker
MAX_EXPECTED = 5  # frames whose nearest depth is kept
JUMP_NS = 10**9  # back: the clock was set, or a bag started again


@dataclass(eq=False)
class _ExpectedFrame:
    """A frame in the model, and the depth image that is nearest to it so far."""

    stamp_ns: int
    nearest: Any = None

    def offer(self, depth: Any) -> None:
        if self.nearest is None or self.gap(depth) < self.gap(self.nearest):
            self.nearest = depth

    def gap(self, depth: Any) -> int:
        return abs(stamp_ns(depth.header) - self.stamp_ns)


class DepthRing:
    """Pairs frames with depth images by stamp, in any order of arrival, in bounded memory.

    It keeps the newest few depth images, and the nearest one of each frame in the model. So the
    partner of a frame stays, however many depth images arrive meanwhile. Methods may be called
    from any thread.

    Args:
        length: Number of depth images kept.
    """

    def __init__(self, length: int = RING_LENGTH) -> None:
        self._newest: deque[Any] = deque(maxlen=length)
        self._frames: deque[_ExpectedFrame] = deque(maxlen=MAX_EXPECTED)
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return the number of depth images kept."""
        with self._lock:
            held = [*self._newest, *(f.nearest for f in self._frames if f.nearest is not None)]
            return len({id(depth) for depth in held})

    def put(self, depth: Any) -> None:
        """Store a depth image; if it is a second or more older, drop all others."""
        with self._lock:
            if self._newest and stamp_ns(depth.header) < self._newest_ns() - JUMP_NS:
                self._clear()
            self._newest.append(depth)
            for frame in self._frames:
                frame.offer(depth)

    def expect(self, stamp: int) -> None:
        """Keep the depth image nearest to this stamp (ns), for the newest `MAX_EXPECTED` stamps."""
        with self._lock:
            self._frames.append(self._frame(stamp))

    def nearest(self, stamp: int) -> tuple[Any, int] | None:
        """Return the depth image nearest to a stamp (ns) and the gap (ns); None: there is none."""
        with self._lock:
            frame = self._frame(stamp)
            return None if frame.nearest is None else (frame.nearest, frame.gap(frame.nearest))

    def is_settled(self, stamp: int) -> bool:
        """Return whether depth as new as the stamp (ns) has arrived: no later one is nearer."""
        with self._lock:
            return bool(self._newest) and self._newest_ns() >= stamp

    def clear(self) -> None:
        """Drop everything."""
        with self._lock:
            self._clear()

    def _newest_ns(self) -> int:
        return max(stamp_ns(depth.header) for depth in self._newest)

    def _frame(self, stamp: int) -> _ExpectedFrame:
        """Collect the depth images around a stamp."""
        frame = _ExpectedFrame(stamp)
        for depth in [*self._newest, *(f.nearest for f in self._frames if f.nearest is not None)]:
            frame.offer(depth)
        return frame

    def _clear(self) -> None:
        self._newest.clear()
        self._frames.clear()
