# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Detects jumps of the clock: simulated time pauses, loops and jumps."""

from __future__ import annotations

import time
from collections.abc import Callable

from rclpy.clock import ClockChange, JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.node import Node

# Messages of /clock out of order are no jump; no simulation takes steps of ten seconds.
BACKWARD = Duration(seconds=-0.1)
FORWARD = Duration(seconds=10.0)


class ClockWatch:
    """Watches the clock of the node.

    Args:
        node: Its clock is watched; each jump back is logged once.

    Attributes:
        resets: Functions called after every jump, on the thread of the executor, to drop what is
            kept by stamp or age.
    """

    def __init__(self, node: Node) -> None:
        self.resets: list[Callable[[], None]] = []
        self._node = node
        self._clock = node.get_clock()
        self._jumps_back = 0
        self._news = ''
        threshold = JumpThreshold(min_forward=FORWARD, min_backward=BACKWARD, on_clock_change=True)
        self._handle = self._clock.create_jump_callback(threshold, post_callback=self._jumped)

    def now_s(self) -> float:
        """Return the time of the clock that stamps messages."""
        return 1e-9 * self._clock.now().nanoseconds

    def elapsed_s(self) -> float:
        """Return elapsed seconds: simulated if time is simulated, else of the steady clock."""
        return self.now_s() if self._clock.ros_time_is_active else time.monotonic()

    def values(self) -> dict[str, str]:
        """Return the status of the clock."""
        clock = 'system'
        if self._clock.ros_time_is_active:
            clock = 'simulated' if self.now_s() else 'simulated, nobody publishes /clock'
        return {'clock': clock, 'clock_jumps_back': str(self._jumps_back)}

    def news(self) -> str:
        """Return the jump since the last call as a text; empty if there was none."""
        news, self._news = self._news, ''
        return news

    def _jumped(self, jump: TimeJump) -> None:
        delta_s = 1e-9 * jump.delta.nanoseconds
        if jump.clock_change == ClockChange.ROS_TIME_NO_CHANGE and delta_s < 0.0:
            self._jumps_back += 1
            self._news = f'the clock jumped back by {-delta_s:.1f} s'
            self._node.get_logger().warning(f'{self._news}: the history of all cameras is reset')
        for reset in self.resets:
            reset()
