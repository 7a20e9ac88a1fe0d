# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The node's health on /diagnostics."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.timer import Timer

from clip_dinoiser_ros.node.health import Status

MODEL = 'segmentation model'  # not a valid name of a camera, because of the space


class Diagnostics:
    """Publishes statuses, by a timer on the steady clock.

    A timer on simulated time stops with it, but an operator must see that as well.

    Args:
        node: The node.
        statuses: Returns the statuses by name.
    """

    def __init__(self, node: Node, statuses: Callable[[], Mapping[str, Status]]) -> None:
        self._node = node
        self._statuses = statuses
        self._publisher = node.create_publisher(DiagnosticArray, '/diagnostics', 1)
        self._timer: Timer | None = None

    def start(self, period_s: float) -> None:
        """Set the period in seconds; 0: never publish."""
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
            self._timer = None
        if period_s > 0.0:
            clock = Clock(clock_type=ClockType.STEADY_TIME)
            self._timer = self._node.create_timer(period_s, self.publish, clock=clock)

    def publish(self) -> None:
        """Publish once."""
        message = DiagnosticArray()
        message.header.stamp = self._node.get_clock().now().to_msg()
        owner = self._node.get_fully_qualified_name().lstrip('/')
        for name, status in self._statuses().items():
            message.status.append(
                DiagnosticStatus(
                    level=bytes([status.level]),
                    name=f'{owner}: {name}',
                    hardware_id=owner,
                    message=status.message,
                    values=[KeyValue(key=k, value=v) for k, v in status.values.items()],
                )
            )
        self._publisher.publish(message)

    def publish_last(self) -> None:
        """Publish once more and wait until it was delivered, for at most a second."""
        self.publish()
        self._publisher.wait_for_all_acked(Duration(seconds=1))


def gpu_memory(device: torch.device) -> dict[str, str]:
    """Return the GPU memory that torch holds, in MiB; empty for a CPU."""
    if device.type != 'cuda':
        return {}
    total = torch.cuda.get_device_properties(device).total_memory
    figures = {
        'allocated': torch.cuda.memory_allocated(device),
        'allocated_at_most': torch.cuda.max_memory_allocated(device),
        'reserved': torch.cuda.memory_reserved(device),
        'total': total,
    }
    return {f'gpu_memory_{name}_mib': f'{size / 2**20:.0f}' for name, size in figures.items()}
