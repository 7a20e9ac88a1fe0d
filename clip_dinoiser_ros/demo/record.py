# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Writes a generated drive as a recording: camera images and the true label of every pixel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from clip_dinoiser_ros.bag.partial import PartialBag
from clip_dinoiser_ros.bag.recording import Message, make_topic
from clip_dinoiser_ros.bag.types import typestore
from clip_dinoiser_ros.frames import images
from clip_dinoiser_ros.world.classes import CLASSES
from clip_dinoiser_ros.world.render import Scene

START_NS = 1_700_000_000 * 10**9  # stamp of the first frame, always the same
FRAME_ID = 'camera_optical_frame'
IMAGE = '/camera/image_raw'
DEPTH = '/camera/depth/image_rect'
CAMERA_INFO = '/camera/camera_info'
TRUTH = '/camera/truth/labels'
TRUTH_INFO = '/camera/truth/label_info'

_TYPES = {
    IMAGE: 'sensor_msgs/msg/Image',
    DEPTH: 'sensor_msgs/msg/Image',
    CAMERA_INFO: 'sensor_msgs/msg/CameraInfo',
    TRUTH: 'sensor_msgs/msg/Image',
    TRUTH_INFO: 'vision_msgs/msg/LabelInfo',
}


def write_drive(path: Path, scenes: Iterable[Scene], force: bool = False) -> int:
    """Write a drive as a bag: image, depth, camera info and true labels of every frame.

    Args:
        path: NAME.mcap, NAME.db3, or a folder.
        scenes: From `scenes.drive`.
        force: Replace what is there.

    Returns:
        The number of frames.

    Raises:
        BagError: `path` exists.
    """
    topics = {
        name: make_topic(name, type_name, latched=name == TRUTH_INFO)
        for name, type_name in _TYPES.items()
    }
    count = 0
    with PartialBag(path, 'mcap', {}, resume=False, force=force) as bag:
        for scene in scenes:
            time_ns = START_NS + round(scene.stamp_s * 1e9)
            for name, message in _messages(scene, time_ns, first=count == 0):
                data = typestore().serialize_cdr(message, _TYPES[name])
                bag.write(Message(topics[name], time_ns, bytes(data)))
            count += 1
        bag.close()
        bag.finish()
    return count


def _messages(scene: Scene, time_ns: int, first: bool) -> Iterator[tuple[str, Any]]:
    """Make the messages of one frame; the first frame has the names of the true labels."""
    types = typestore().types
    seconds, nanoseconds = divmod(time_ns, 10**9)
    stamp = types['builtin_interfaces/msg/Time'](sec=seconds, nanosec=nanoseconds)
    header = types['std_msgs/msg/Header'](stamp=stamp, frame_id=FRAME_ID)
    image_type = types['sensor_msgs/msg/Image']
    if first:
        vision_class = types['vision_msgs/msg/VisionClass']
        yield (
            TRUTH_INFO,
            types['vision_msgs/msg/LabelInfo'](
                header=header,
                class_map=[
                    vision_class(class_id=index, class_name=name)
                    for index, name in enumerate(CLASSES)
                ],
                threshold=0.0,
            ),
        )
    yield CAMERA_INFO, _camera_info(scene, header)
    yield IMAGE, images.to_message(scene.image, 'rgb8', header, image_type)
    yield DEPTH, images.to_message(scene.depth, '32FC1', header, image_type)
    yield TRUTH, images.to_message(scene.labels, 'mono8', header, image_type)


def _camera_info(scene: Scene, header: Any) -> Any:
    types = typestore().types
    matrix = scene.intrinsics.matrix()
    projection = np.hstack([matrix, np.zeros((3, 1))])
    return types['sensor_msgs/msg/CameraInfo'](
        header=header,
        height=scene.intrinsics.height,
        width=scene.intrinsics.width,
        distortion_model='plumb_bob',
        d=np.zeros(5),
        k=matrix.ravel(),
        r=np.eye(3).ravel(),
        p=projection.ravel(),
        binning_x=0,
        binning_y=0,
        roi=types['sensor_msgs/msg/RegionOfInterest'](
            x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
        ),
    )
