# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""From camera messages to label messages as in the node, with or without ROS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from clip_dinoiser_ros.core import Segmentation
from clip_dinoiser_ros.frames import images
from clip_dinoiser_ros.frames.class_ids import ClassIds
from clip_dinoiser_ros.frames.outputs import frame_images

TOPICS = ('labels', 'confidence')


@dataclass
class PlainImage:
    """The fields of `sensor_msgs/msg/Image`, for machines without it."""

    height: int
    width: int
    encoding: str
    step: int
    data: Any
    is_bigendian: int = 0
    header: Any = field(default=None)


def camera_message(height: int, width: int, seed: int) -> PlainImage:
    """Return a bgr8 message with noise over a gradient, like one of a camera driver."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    gradient = 200.0 * (x[..., None] / width * rng.random(3) + y[..., None] / height) / 2
    pixels = (gradient + rng.integers(0, 55, (height, width, 3))).astype(np.uint8)
    return PlainImage(height, width, 'bgr8', 3 * width, pixels.tobytes())


class LabelPublisher:
    """Publishes labels and confidence over DDS; without ROS it only makes the messages.

    A subscription in this process receives them, so that they are really sent.
    """

    def __init__(self) -> None:
        self._publishers: dict[str, Any] = {}
        self._context: Any = None
        self._node: Any = None
        self._image_type: Callable[..., Any] = PlainImage
        self._header: Any = None
        try:
            self._open()
        except ImportError:
            return

    @property
    def ros(self) -> bool:
        """Whether messages go over DDS."""
        return self._node is not None

    def _open(self) -> None:
        import rclpy
        from sensor_msgs.msg import Image
        from std_msgs.msg import Header

        self._image_type, self._header = Image, Header(frame_id='camera')
        self._context = rclpy.Context()
        rclpy.init(args=[], context=self._context)
        self._node = rclpy.create_node('clip_dinoiser_benchmark', context=self._context)
        for name in TOPICS:
            self._publishers[name] = self._node.create_publisher(Image, f'~/{name}', 1)
            self._node.create_subscription(Image, f'~/{name}', lambda _: None, 1)

    def publish(self, result: Segmentation) -> None:
        """Publish labels and confidence of one frame."""
        names = result.vocabulary.names
        frame = frame_images(result, ClassIds().with_names(names).table(names))
        arrays: dict[str, tuple[npt.NDArray[Any], str]] = {
            'labels': (frame.labels, frame.labels_encoding),
            'confidence': (frame.confidence, frame.confidence_encoding),
        }
        for name, (array, encoding) in arrays.items():
            message = images.to_message(array, encoding, self._header, self._image_type)
            if self.ros:
                self._publishers[name].publish(message)

    def __enter__(self) -> LabelPublisher:
        return self

    def __exit__(self, *_: object) -> None:
        if self._node is not None:
            self._node.destroy_node()
            self._context.try_shutdown()
