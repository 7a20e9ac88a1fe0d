# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Detection3DArray and MarkerArray of the objects in a frame, from a depth image.

A message type here is anything that takes its fields by name: a class of rclpy or a dataclass of
rosbags. So this module imports neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from clip_dinoiser_ros.core.objects import Objects
from clip_dinoiser_ros.frames.boxes import Box, Transform, measure_objects
from clip_dinoiser_ros.frames.detections import Types, hypothesis
from clip_dinoiser_ros.frames.overlay import colour
from clip_dinoiser_ros.frames.settings import Settings

if TYPE_CHECKING:
    from clip_dinoiser_ros.frames.cloud_messages import Measured

DETECTIONS_3D = 'vision_msgs/msg/Detection3DArray'
MARKERS = 'visualization_msgs/msg/MarkerArray'
_CUBE, _TEXT = 1, 9  # visualization_msgs/Marker.type
_ADD, _DELETE_ALL = 0, 3  # visualization_msgs/Marker.action
_BOX_ALPHA = 0.35
_TEXT_M = 0.15  # height of a capital letter
_THIN_M = 0.01  # RViz refuses boxes without thickness


@dataclass(frozen=True, eq=False)
class ObjectSource:
    """The objects of a frame, apart from the depth that locates them.

    Attributes:
        header: Of the camera image.
        objects: In the label image (H, W).
        names: The class of each object.
        ids: The id of each object.
        settings: The settings that the frame was segmented with.
        image_size: (H, W) of the image as the camera sent it.
    """

    header: Any
    objects: Objects
    names: tuple[str, ...]
    ids: tuple[str, ...]
    settings: Settings
    image_size: tuple[int, int] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Size (H, W) of the label image."""
        height, width = self.objects.instances.shape
        return height, width


@dataclass(frozen=True)
class LocatedObject:
    """One object and where it is; `label` is its class id, `score` and `box` are as found."""

    name: str
    id: str
    label: int
    score: float
    box: Box


@dataclass(frozen=True, eq=False)
class LocatedObjects:
    """The objects of a frame that have depth, in the order of the detections.

    Attributes:
        header: With the frame of the boxes and the stamp of the image.
        found: The objects.
    """

    header: Any
    found: tuple[LocatedObject, ...]


def locate(
    source: ObjectSource,
    measured: Measured,
    target_frame: str = '',
    transform: Transform | None = None,
) -> LocatedObjects:
    """Locate the objects of a frame.

    Args:
        source: The objects.
        measured: Depth and camera of the frame.
        target_frame: The frame of the boxes; empty: that of the image.
        transform: float64 (4, 4), from the frame of the image into `target_frame`.
    """
    boxes = measure_objects(source.objects, measured.metres, measured.camera, transform)
    header = source.header
    if target_frame:
        header = type(header)(stamp=header.stamp, frame_id=target_frame)
    described = zip(source.objects.found, source.names, source.ids, boxes, strict=True)
    found = tuple(
        LocatedObject(name, text, one.label, one.score, box)
        for one, name, text, box in described
        if box is not None
    )
    return LocatedObjects(header, found)


def detection_3d_array(located: LocatedObjects, types: Types) -> Any:
    """Make the Detection3DArray of a frame; the pose of a hypothesis is the centre of its box."""
    return types[DETECTIONS_3D](
        header=located.header,
        detections=[
            types['vision_msgs/msg/Detection3D'](
                header=located.header,
                results=[hypothesis(one.name, one.score, types, one.box.centre)],
                bbox=types['vision_msgs/msg/BoundingBox3D'](
                    center=_pose(one.box.centre, types), size=_vector(one.box.size, types)
                ),
                id=one.id,
            )
            for one in located.found
        ],
    )


def marker_array(located: LocatedObjects, types: Types) -> Any:
    """Make the MarkerArray of a frame: the markers of earlier frames go, then boxes and texts."""
    markers = [_marker(located.header, types, action=_DELETE_ALL)]
    for number, one in enumerate(located.found, start=1):
        pose = _pose(one.box.centre, types)
        red, green, blue = (value / 255 for value in colour(one.label))
        width, height, depth = (max(length, _THIN_M) for length in one.box.size)
        markers += [
            _marker(
                located.header,
                types,
                ns='boxes',
                id=number,
                type=_CUBE,
                pose=pose,
                scale=_vector((width, height, depth), types),
                color=types['std_msgs/msg/ColorRGBA'](r=red, g=green, b=blue, a=_BOX_ALPHA),
            ),
            _marker(
                located.header,
                types,
                ns='texts',
                id=number,
                type=_TEXT,
                pose=pose,
                scale=_vector((0.0, 0.0, _TEXT_M), types),
                color=types['std_msgs/msg/ColorRGBA'](r=1.0, g=1.0, b=1.0, a=1.0),
                text=f'{one.name} {one.score:.2f}',
            ),
        ]
    return types[MARKERS](markers=markers)


# by output
LOCATED_OUTPUTS = {'detections_3d': detection_3d_array, 'markers': marker_array}


def _marker(header: Any, types: Types, **fields: Any) -> Any:
    """Make a marker; rosbags' dataclasses have no defaults."""
    kind: Any = types['visualization_msgs/msg/Marker']
    known = {
        'header': header,
        'ns': '',
        'id': 0,
        'type': 0,
        'action': _ADD,
        'pose': _pose((0.0, 0.0, 0.0), types),
        'scale': _vector((0.0, 0.0, 0.0), types),
        'color': types['std_msgs/msg/ColorRGBA'](r=0.0, g=0.0, b=0.0, a=0.0),
        'lifetime': types['builtin_interfaces/msg/Duration'](sec=0, nanosec=0),
        'frame_locked': False,
        'points': [],
        'colors': [],
        'texture_resource': '',
        'texture': types['sensor_msgs/msg/CompressedImage'](
            header=header, format='', data=np.zeros(0, np.uint8)
        ),
        'uv_coordinates': [],
        'text': '',
        'mesh_resource': '',
        'mesh_file': types['visualization_msgs/msg/MeshFile'](
            filename='', data=np.zeros(0, np.uint8)
        ),
        'mesh_use_embedded_materials': False,
    }
    return kind(**{**known, **fields})


def _pose(centre: tuple[float, float, float], types: Types) -> Any:
    x, y, z = centre
    return types['geometry_msgs/msg/Pose'](
        position=types['geometry_msgs/msg/Point'](x=x, y=y, z=z),
        orientation=types['geometry_msgs/msg/Quaternion'](x=0.0, y=0.0, z=0.0, w=1.0),
    )


def _vector(lengths: tuple[float, float, float], types: Types) -> Any:
    x, y, z = lengths
    return types['geometry_msgs/msg/Vector3'](x=x, y=y, z=z)
