# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Detection2DArray of the objects in a frame.

A message type here is anything that takes its fields by name: a class of rclpy or a dataclass of
rosbags. So this module imports neither.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from clip_dinoiser_ros.core.objects import FoundObject
    from clip_dinoiser_ros.frames.process import FrameOutputs

DETECTIONS = 'vision_msgs/msg/Detection2DArray'
Types = Mapping[str, Callable[..., Any]]  # message types by name, such as DETECTIONS


def detection_array(frame: FrameOutputs, types: Types) -> Any:
    """Make the Detection2DArray of a frame, in the order of its objects."""
    described = zip(frame.objects.found, frame.object_names, frame.object_ids, strict=True)
    return types[DETECTIONS](
        header=frame.header,
        detections=[
            types['vision_msgs/msg/Detection2D'](
                header=frame.header,
                results=[hypothesis(name, found.score, types)],
                bbox=bounding_box(found, types),
                id=text,
            )
            for found, name, text in described
        ],
    )


def hypothesis(
    name: str, score: float, types: Types, position: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> Any:
    """Return an ObjectHypothesisWithPose; without a position the pose is not known."""
    x, y, z = position
    pose = types['geometry_msgs/msg/Pose'](
        position=types['geometry_msgs/msg/Point'](x=x, y=y, z=z),
        orientation=types['geometry_msgs/msg/Quaternion'](x=0.0, y=0.0, z=0.0, w=1.0),
    )
    return types['vision_msgs/msg/ObjectHypothesisWithPose'](
        hypothesis=types['vision_msgs/msg/ObjectHypothesis'](class_id=name, score=score),
        pose=types['geometry_msgs/msg/PoseWithCovariance'](pose=pose, covariance=np.zeros(36)),
    )


def bounding_box(found: FoundObject, types: Types) -> Any:
    """Return the BoundingBox2D of an object, in pixels of the label image.

    The centre of the first pixel is at 0, as for CameraInfo: a box of the columns 2 to 5 has its
    centre at 3.5 and the width 4.
    """
    left, top, width, height = found.box
    position = types['vision_msgs/msg/Point2D'](x=left + (width - 1) / 2, y=top + (height - 1) / 2)
    return types['vision_msgs/msg/BoundingBox2D'](
        center=types['vision_msgs/msg/Pose2D'](position=position, theta=0.0),
        size_x=float(width),
        size_y=float(height),
    )
