# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The outputs of single classes of one camera."""

from __future__ import annotations

from collections.abc import Sequence

from rclpy.event_handler import PublisherEventCallbacks
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from clip_dinoiser_ros.core.errors import one_line
from clip_dinoiser_ros.frames import images
from clip_dinoiser_ros.frames.class_slugs import class_slug
from clip_dinoiser_ros.frames.outputs import CLASS_OUTPUTS
from clip_dinoiser_ros.frames.process import FrameOutputs


class ClassPublishers:
    """Mask and confidence of every class, under ~/CAMERA/classes/SLUG/, for subscribers.

    The worker thread creates and destroys these publishers between two frames, while the executor
    waits in its own thread. That is safe because nothing of them is in what the executor waits for
    (no event callbacks), nor among the parameters (no QoS overrides, whose declaration would call
    the node's parameter callbacks from here).

    Args:
        node: The node the publishers belong to.
        camera: Name of the camera.
    """

    def __init__(self, node: Node, camera: str) -> None:
        self._node = node
        self._camera = camera
        self._publishers: dict[str, dict[str, Publisher]] = {}  # by class name and output

    def use(self, names: Sequence[str]) -> None:
        """Create and destroy topics so that exactly these classes have them."""
        for name in self._publishers.keys() - set(names):
            self._destroy(self._publishers.pop(name))
        failed = {}
        for name in names:
            if name not in self._publishers:
                try:
                    self._publishers[name] = self._create(name)
                except Exception as error:  # a topic too long, no memory: other outputs continue
                    failed[name] = error
        if failed:
            name, error = next(iter(failed.items()))
            self._node.get_logger().error(
                f'{self._camera}: no topics for {len(failed)} classes, the first is {name!r}: '
                f'{one_line(error)}'
            )

    def _create(self, name: str) -> dict[str, Publisher]:
        created: dict[str, Publisher] = {}
        try:
            for output in CLASS_OUTPUTS:
                created[output] = self._node.create_publisher(
                    Image,
                    f'~/{self._camera}/classes/{class_slug(name)}/{output}',
                    QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE),
                    event_callbacks=PublisherEventCallbacks(use_default_callbacks=False),
                )
        except BaseException:
            self._destroy(created)
            raise
        return created

    def _destroy(self, publishers: dict[str, Publisher]) -> None:
        for publisher in publishers.values():
            self._node.destroy_publisher(publisher)

    def destroy(self) -> None:
        """Destroy the topics."""
        self.use([])

    def publish(self, frame: FrameOutputs) -> None:
        """Publish the outputs of single classes that have subscribers."""
        for index, name in enumerate(frame.active.vocabulary.names):
            publishers = self._publishers.get(name, {})
            if _is_heard(publishers, 'mask'):
                mask = images.to_message(*frame.class_mask(index), frame.header, Image)
                publishers['mask'].publish(mask)
            if _is_heard(publishers, 'confidence'):
                pixels = frame.class_confidence(index)
                publishers['confidence'].publish(images.to_message(*pixels, frame.header, Image))


def _is_heard(publishers: dict[str, Publisher], output: str) -> bool:
    return output in publishers and publishers[output].get_subscription_count() > 0
