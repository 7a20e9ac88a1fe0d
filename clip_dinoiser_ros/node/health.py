# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""State of the cameras and duration of the stages, by given clocks; without ROS."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from clip_dinoiser_ros.node.frames import Counts

STAGES = ('wait', 'decode', 'segment', 'publish', 'total')
RATE_WINDOW_S = 5.0
STAGE_WINDOW = 200  # frames


class Level(IntEnum):
    """As in diagnostic_msgs/DiagnosticStatus."""

    OK = 0
    WARN = 1
    ERROR = 2
    STALE = 3


@dataclass(frozen=True)
class Status:
    """The status of one part of the node; `values` are in the order of display."""

    level: Level
    message: str
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """Where the images of a camera come from, or its depth or CameraInfo.

    Attributes:
        topic: The subscribed topic.
        publishers: Number of publishers of the topic.
        problem: Why messages of some of them cannot arrive; empty: no problem known.
    """

    topic: str
    publishers: int
    problem: str = ''


class Rates:
    """Rates of counters over the last seconds."""

    def __init__(self, now_s: float, counts: Iterable[int]) -> None:
        self._samples = deque([(now_s, tuple(counts))])

    def per_second(self, now_s: float, counts: Iterable[int]) -> list[float]:
        """Add new counts; return their rates per second over the window."""
        self._samples.append((now_s, tuple(counts)))
        while len(self._samples) > 2 and now_s - self._samples[1][0] >= RATE_WINDOW_S:
            self._samples.popleft()
        (first_s, first), (_, newest) = self._samples[0], self._samples[-1]
        elapsed_s = now_s - first_s
        if elapsed_s <= 0.0:
            return [0.0] * len(newest)
        return [(b - a) / elapsed_s for a, b in zip(first, newest, strict=True)]

    def reset(self) -> None:
        """Count from the newest sample on."""
        self._samples = deque([self._samples[-1]])


class CameraHealth:
    """The state of a camera: waiting, active, stale or rejected.

    It depends on the time since a frame arrived, never on its stamp: a recording that is played
    without its clock has old stamps, which is no fault.

    Args:
        elapsed: Seconds of a clock that stops while a simulation is paused.
        steady: Seconds of the steady clock, for the rates.
    """

    def __init__(
        self, elapsed: Callable[[], float], steady: Callable[[], float] = time.monotonic
    ) -> None:
        self._elapsed, self._steady = elapsed, steady
        self._lock = threading.Lock()
        self._arrived_s: float | None = None
        self._unanswered_s: float | None = None  # since when a frame waits for its result
        self._stamp_s = 0.0
        self._rejecting = False
        self._reason = ''
        self._rates = Rates(steady(), (0, 0, 0))

    def arrived(self, stamp_s: float) -> None:
        """Record that a frame with this stamp (seconds) arrived."""
        with self._lock:
            self._arrived_s = self._elapsed()
            self._stamp_s = stamp_s
            if self._unanswered_s is None:
                self._unanswered_s = self._arrived_s

    def segmented(self) -> None:
        """Record that a frame was segmented and published."""
        with self._lock:
            self._unanswered_s, self._rejecting = None, False

    def rejected(self, reason: str) -> None:
        """Record that a frame could not be used."""
        with self._lock:
            self._unanswered_s, self._rejecting, self._reason = None, True, reason

    def reset(self) -> None:
        """Drop all times after the clock was set."""
        with self._lock:
            if self._arrived_s is not None:
                self._arrived_s = self._elapsed()
            self._unanswered_s, self._stamp_s, self._rejecting = None, 0.0, False
            self._rates.reset()

    def status(
        self,
        now_s: float,
        counts: Counts,
        source: Source,
        stale_after_s: float,
        max_rate_hz: float = 0.0,
        others: Sequence[Source] = (),
    ) -> Status:
        """Return the status of the camera.

        Args:
            now_s: Time of the clock that stamps messages, for the age of the newest frame.
            counts: Frames since the node was activated.
            source: Where the frames come from.
            stale_after_s: The camera is stale after so long without a frame or a result.
            max_rate_hz: Limit of the rate, because of which a frame may wait longer; 0: no limit.
            others: Where depth and CameraInfo come from.
        """
        with self._lock:
            rate_in, rate_out, rate_rejected = self._rates.per_second(
                self._steady(), (counts.received, counts.segmented, counts.rejected)
            )
            patience_s = stale_after_s + (1.0 / max_rate_hz if max_rate_hz else 0.0)
            state, level, reason = self._state(source, stale_after_s, patience_s)
            if state == 'active' and rate_rejected:
                level, reason = Level.WARN, f'some frames are rejected: {self._reason}'
            problems = [other.problem for other in others if other.problem]
            if problems:
                level = max(level, Level.WARN)
                reason = '; '.join(filter(None, [reason, *problems]))
            age = f'{max(0.0, now_s - self._stamp_s):.3f}' if self._stamp_s else 'unknown'
            values = {
                'state': state,
                'reason': reason,
                'topic': source.topic,
                'publishers': str(source.publishers),
                'age_of_newest_frame_s': age,
                'rate_in_hz': f'{rate_in:.2f}',
                'rate_out_hz': f'{rate_out:.2f}',
                'frames_received': str(counts.received),
                'frames_segmented': str(counts.segmented),
                'frames_replaced': str(counts.replaced),
                'frames_rejected': str(counts.rejected),
                'last_reject_reason': self._reason,
            }
        return Status(level, f'{state}: {reason}' if reason else state, values)

    def _state(
        self, source: Source, stale_after_s: float, patience_s: float
    ) -> tuple[str, Level, str]:
        """Return state, level and reason."""
        where = f'no publisher on {source.topic}'
        if self._arrived_s is None:
            if source.problem:
                return 'waiting', Level.ERROR, source.problem
            if source.publishers:
                where = f'{source.topic} has {source.publishers} publisher(s), but no frame came'
            return 'waiting', Level.WARN, where
        now_s = self._elapsed()
        silent_s = now_s - self._arrived_s
        if silent_s > stale_after_s:
            why = '' if source.publishers else f', {where}'
            return 'stale', Level.STALE, f'no frame for {silent_s:.1f} s{why}'
        if self._rejecting:
            return 'rejected', Level.ERROR, self._reason
        if self._unanswered_s is not None and now_s - self._unanswered_s > patience_s:
            held_s = now_s - self._unanswered_s
            return 'stale', Level.STALE, f'frames come, but none was segmented for {held_s:.1f} s'
        return 'active', Level.OK, ''


class StageTimes:
    """Durations of the stages for the last frames of all cameras."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._times_ms: deque[tuple[float, ...]] = deque(maxlen=STAGE_WINDOW)

    def add(self, times_ms: tuple[float, ...]) -> None:
        """Add a frame: milliseconds in the order of `STAGES`."""
        with self._lock:
            self._times_ms.append(times_ms)

    def values(self) -> dict[str, str]:
        """Return median and 95th percentile of every stage; empty before the first frame."""
        with self._lock:
            times_ms = np.array(self._times_ms)
        if not len(times_ms):
            return {}
        median, late = np.percentile(times_ms, [50, 95], axis=0)
        return {
            f'{stage}_ms_{name}': f'{value:.1f}'
            for stage, of_stage in zip(STAGES, zip(median, late, strict=True), strict=True)
            for name, value in zip(('median', 'p95'), of_stage, strict=True)
        }


class Health:
    """Health of the cameras and stages of an active node."""

    def __init__(self, cameras: Iterable[str], elapsed: Callable[[], float]) -> None:
        self.cameras = {camera: CameraHealth(elapsed) for camera in cameras}
        self.stages = StageTimes()

    def reset(self) -> None:
        """Drop all times after the clock was set."""
        for camera in self.cameras.values():
            camera.reset()
