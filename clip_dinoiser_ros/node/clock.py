# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Tells time that passes from a clock that is set: simulated time pauses, loops and leaps."""

from __future__ import annotations

import time
from collections.abc import Callable

from rclpy.clock import ClockChange, JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.node import Node

# A message of /clock that another overtook is no jump; no simulation takes steps of ten seconds.
BACKWARD = Duration(seconds=-0.1)
FORWARD = Duration(seconds=10.0)


class ClockWatch:
    """Watches the node's clock.

    Args:
        node: Whose clock it is; a jump back is said once in its log.

    Attributes:
        resets: Called after every jump, on the executor's thread; whoever keeps something by stamp
            or age adds what forgets it.
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
        """Return the time by the clock that stamps."""
        return 1e-9 * self._clock.now().nanoseconds

    def elapsed_s(self) -> float:
        """Return seconds that pass: simulated ones where time is simulated, else steady ones."""
        return self.now_s() if self._clock.ros_time_is_active else time.monotonic()

    def values(self) -> dict[str, str]:
        """Return what there is to say of the clock."""
        clock = 'system'
        if self._clock.ros_time_is_active:
            clock = 'simulated' if self.now_s() else 'simulated, nobody publishes /clock'
        return {'clock': clock, 'clock_jumps_back': str(self._jumps_back)}

    def news(self) -> str:
        """Return what happened since the last call, empty where nothing did: each jump once."""
        news, self._news = self._news, ''
        return news

    def _jumped(self, jump: TimeJump) -> None:
        delta_s = 1e-9 * jump.delta.nanoseconds
        if jump.clock_change == ClockChange.ROS_TIME_NO_CHANGE and delta_s < 0.0:
            self._jumps_back += 1
            self._news = f'the clock jumped back by {-delta_s:.1f} s'
            self._node.get_logger().warning(f'{self._news}: what was kept of cameras is forgotten')
        for reset in self.resets:
            reset()
