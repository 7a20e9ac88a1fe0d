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
from rclpy.qos import QoSCompatibility, qos_check_compatible
from rclpy.subscription import Subscription
from rclpy.timer import Timer

from clip_dinoiser_ros.node.health import Source, Status

MODEL = 'segmentation model'  # no camera can have this name: it has a space


class Diagnostics:
    """Publishes statuses by a timer on the steady clock.

    Simulated time may stand, and a timer on it with it; an operator wants to hear of that too.

    Args:
        node: Whose health it is.
        statuses: Returns them by name.
    """

    def __init__(self, node: Node, statuses: Callable[[], Mapping[str, Status]]) -> None:
        self._node = node
        self._statuses = statuses
        self._publisher = node.create_publisher(DiagnosticArray, '/diagnostics', 1)
        self._timer: Timer | None = None

    def start(self, period_s: float) -> None:
        """Publish every so many seconds from now on; 0: not at all."""
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
        """Publish once more and wait until it has arrived, for a second at most."""
        self.publish()
        self._publisher.wait_for_all_acked(Duration(seconds=1))


def source_of(node: Node, subscription: Subscription) -> Source:
    """Look at who publishes what a camera subscribes to, and whether it can arrive."""
    topic = subscription.topic_name
    problems = []
    publishers = node.get_publishers_info_by_topic(topic)
    kind = subscription.msg_type
    expected = '/'.join([*kind.__module__.split('.')[:2], kind.__name__])
    for publisher in publishers:
        match, reason = qos_check_compatible(publisher.qos_profile, subscription.qos_profile)
        if publisher.topic_type != expected:
            problems.append(f'{publisher.topic_type} is published on {topic}, not {expected}')
        elif match == QoSCompatibility.ERROR:
            problems.append(f'QoS of a publisher on {topic} does not match: {reason}')
    return Source(topic, len(publishers), '; '.join(dict.fromkeys(problems)))


def gpu_memory(device: torch.device) -> dict[str, str]:
    """Return what torch holds of a GPU's memory, in MiB; nothing for a CPU."""
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
