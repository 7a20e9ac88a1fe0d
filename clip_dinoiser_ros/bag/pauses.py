# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Pauses that are no pauses: the clock of the recorder was set, by NTP or by a simulation.

Times of a computer without a battery begin in 1970. The first messages of a recorder that waits
for /clock are of time 0.
"""

from __future__ import annotations

LONGEST_PAUSE_NS = 3600 * 10**9


class WithoutPauses:
    """The time since the start of a recording, without pauses longer than `LONGEST_PAUSE_NS`.

    Args:
        start_ns: Where the time begins.

    Attributes:
        passed_over_ns: The length of all such pauses so far.
    """

    def __init__(self, start_ns: int) -> None:
        self.passed_over_ns = 0
        self._start_ns = self._last_ns = start_ns

    def since_start_ns(self, time_ns: int) -> int:
        """Return how long after the start a message comes; call it in the order of their times."""
        pause = time_ns - self._last_ns
        if pause > LONGEST_PAUSE_NS:
            self.passed_over_ns += pause
        self._last_ns = max(self._last_ns, time_ns)
        return time_ns - self._start_ns - self.passed_over_ns
