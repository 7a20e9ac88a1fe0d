# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Publishers of the subscribed topics, and whether their messages can arrive."""

from __future__ import annotations

from collections import defaultdict

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSCompatibility, qos_check_compatible
from rclpy.subscription import Subscription

from clip_dinoiser_ros.node.health import Source

PERIOD_S = 1.0  # between checks; DDS does not report publishers of another type


class Sources:
    """The publishers of the topics of all cameras; those of another type are logged once.

    Args:
        node: The node that subscribes.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._subscriptions: dict[str, list[tuple[str, Subscription]]] = defaultdict(list)
        self._named: set[str] = set()
        # one timer for good, since the node's callback group keeps traces of destroyed ones
        clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(PERIOD_S, self._look, clock=clock)
        self._timer.cancel()

    def add(self, camera: str, parameters: str, subscription: Subscription) -> None:
        """Watch a topic of a camera; the topic of its images first.

        Args:
            camera: Name of the camera.
            parameters: The parameters that set the topic, for the log.
            subscription: The subscription to the topic.
        """
        self._subscriptions[camera].append((parameters, subscription))
        if self._timer.is_canceled():
            self._timer.reset()

    def clear(self) -> None:
        """Stop watching."""
        self._timer.cancel()
        self._subscriptions.clear()
        self._named.clear()

    def of_cameras(self) -> dict[str, list[Source]]:
        """Check the publishers; return the sources of each camera, that of its images first."""
        return {
            camera: [self._of(*watched) for watched in subscriptions]
            for camera, subscriptions in self._subscriptions.items()
        }

    def _look(self) -> None:
        self.of_cameras()

    def _of(self, parameters: str, subscription: Subscription) -> Source:
        topic = subscription.topic_name
        problems = []
        publishers = self._node.get_publishers_info_by_topic(topic)
        kind = subscription.msg_type
        expected = '/'.join([*kind.__module__.split('.')[:2], kind.__name__])
        for publisher in publishers:
            match, reason = qos_check_compatible(publisher.qos_profile, subscription.qos_profile)
            if publisher.topic_type != expected:
                problem = f'{publisher.topic_type} is published on {topic}, not {expected}'
                self._name(f'{problem}; no message will come from it; check {parameters}')
                problems.append(problem)
            elif match == QoSCompatibility.ERROR:
                problems.append(f'QoS of a publisher on {topic} does not match: {reason}')
        return Source(topic, len(publishers), '; '.join(dict.fromkeys(problems)))

    def _name(self, text: str) -> None:
        if text not in self._named:
            self._named.add(text)
            self._node.get_logger().warning(text)
