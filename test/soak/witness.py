# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a consumer may rely on, checked against everything that comes back from the node."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable

MAX_WAITING = 500  # frames that are not judged yet


class Witness:
    """Takes note of announcements and frames; says what of them should not be.

    Announcements and frames are on different topics, whose order a reader does not see: a frame may
    come before its announcement, so it is judged when both are there, or at the end.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._announced: dict[tuple[str, int], set[int]] = {}  # ids by camera and version
        self._newest_ns: dict[str, int] = {}  # stamp by camera, of its newest announcement
        self._used: dict[str, int] = {}  # version by camera, of its newest frame
        self._waiting: dict[tuple[str, int], dict[str, object]] = {}  # by camera and stamp
        self._faults: list[str] = []
        self.segmented: Counter[str] = Counter()  # frames by camera
        self.checked = 0  # label images whose every value was looked up

    def announce(self, camera: str, version: int, ids: Iterable[int], stamp_ns: int = 0) -> None:
        """Take note of a vocabulary with its stamp; `ids`: all that a label image may hold."""
        with self._lock:
            self._newest_ns[camera] = max(stamp_ns, self._newest_ns.get(camera, 0))
            known = self._announced.setdefault((camera, version), set(ids))
            if known != set(ids):
                self._faults.append(f'{camera}: version {version} stands for two vocabularies')

    def newest_ns(self, camera: str) -> int:
        """Return the stamp of the newest announcement; 0: none yet."""
        with self._lock:
            return self._newest_ns.get(camera, 0)

    def info(self, camera: str, stamp_ns: int, version: int) -> None:
        """Take note of a FrameInfo."""
        with self._lock:
            self.segmented[camera] += 1
            used = self._used.get(camera, 0)
            if version < used:
                self._faults.append(f'{camera}: version {version} was used after {used}')
            self._used[camera] = version
            self._note(camera, stamp_ns, 'version', version)

    def labels(self, camera: str, stamp_ns: int, values: Iterable[int]) -> None:
        """Take note of the values in a label image."""
        with self._lock:
            self._note(camera, stamp_ns, 'values', set(values))

    def _note(self, camera: str, stamp_ns: int, key: str, value: object) -> None:
        self._waiting.setdefault((camera, stamp_ns), {})[key] = value
        if len(self._waiting) > MAX_WAITING:
            self._judge(keep=MAX_WAITING // 2)

    def faults(self) -> list[str]:
        """Judge what has come, all of it by now; return what should not be."""
        with self._lock:
            self._judge(keep=0)
            return list(dict.fromkeys(self._faults))

    def _judge(self, keep: int) -> None:
        """Judge the frames that have waited longest, but for so many."""
        for camera, stamp_ns in list(self._waiting)[: len(self._waiting) - keep]:
            seen = self._waiting.pop((camera, stamp_ns))
            version, values = seen.get('version'), seen.get('values', set())
            if version is None:
                continue
            allowed = self._announced.get((camera, version))
            if allowed is None:
                self._faults.append(f'{camera}: version {version} was used and never announced')
            elif not values <= allowed:
                self._faults.append(
                    f'{camera}: ids {sorted(values - allowed)} are not of version {version}'
                )
            self.checked += 'values' in seen
