# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Transforms of tf2 into one frame, where tf2_ros is installed."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import numpy.typing as npt
from geometry_msgs.msg import Transform, TransformStamped
from rclpy.node import Node
from rclpy.time import Time

from clip_dinoiser_ros.node.parameters import ParameterError


class TransformError(ValueError):
    """A transform is not known; says which."""


class Transforms:
    """Transforms into one frame.

    Args:
        target: The frame.
        buffer: A `tf2_ros.Buffer`.
        listener: What fills it, a `tf2_ros.TransformListener`; None: somebody else.
    """

    def __init__(self, target: str, buffer: Any, listener: Any = None) -> None:
        self.target = target
        self._buffer = buffer
        self._listener = listener

    def into(self, target: str) -> Transforms:
        """Return the transforms into another frame, by the same buffer."""
        return Transforms(target, self._buffer)

    def is_known(self, header: Any) -> bool:
        """Return whether the transform from the frame of a header is known at its stamp."""
        return bool(
            self._buffer.can_transform(self.target, header.frame_id, Time.from_msg(header.stamp))
        )

    def lookup(self, header: Any) -> TransformStamped:
        """Return the transform from the frame of a header at its stamp.

        Raises:
            TransformError: It is not known.
        """
        try:
            return self._buffer.lookup_transform(
                self.target, header.frame_id, Time.from_msg(header.stamp)
            )
        except Exception as error:  # the errors of tf2 have no common base but this
            raise TransformError(
                f'no transform from {header.frame_id!r} to target_frame {self.target!r} at the '
                f'stamp of the image: {error}'
            ) from error

    def close(self) -> None:
        """Stop listening."""
        if self._listener is not None:
            self._listener.unregister()


def listen(node: Node, target: str) -> Transforms:
    """Listen to /tf and /tf_static.

    Args:
        node: Subscribes to them.
        target: Frame of the transforms.

    Raises:
        ParameterError: tf2_ros is not installed.
    """
    try:
        tf2_ros = importlib.import_module('tf2_ros')
    except ImportError as error:
        raise ParameterError(
            f'target_frame is {target!r}, which needs tf2_ros, and that cannot be imported '
            f'({error}); install the package tf2_ros_py of your ROS distribution, or leave '
            'target_frame empty: then boxes are in the frame of the image'
        ) from error
    buffer = tf2_ros.Buffer()
    return Transforms(target, buffer, tf2_ros.TransformListener(buffer, node, spin_thread=False))


def as_matrix(transform: Transform) -> npt.NDArray[np.float64]:
    """Return a transform as a matrix, float64 (4, 4)."""
    turn, shift = transform.rotation, transform.translation
    x, y, z, w = np.array([turn.x, turn.y, turn.z, turn.w]) / np.linalg.norm(
        [turn.x, turn.y, turn.z, turn.w]
    )
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w), shift.x],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w), shift.y],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y), shift.z],
            [0.0, 0.0, 0.0, 1.0],
        ]
    )
