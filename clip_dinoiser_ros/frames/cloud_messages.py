# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""PointCloud2 and CameraInfo of a frame, from its labels, a depth image and a CameraInfo.

A message type here is anything that takes its fields by name: a class of rclpy's, or a dataclass of
rosbags'. So this module imports neither.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, is_dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from clip_dinoiser_ros.frames import images
from clip_dinoiser_ros.frames.cloud import make_cloud
from clip_dinoiser_ros.frames.depth_images import to_depth
from clip_dinoiser_ros.frames.images import stamp_ns
from clip_dinoiser_ros.frames.intrinsics import (
    CameraInfoError,
    Intrinsics,
    matrices,
    same_proportions,
)
from clip_dinoiser_ros.frames.settings import Settings

_UINT8, _UINT16, _FLOAT32 = 2, 4, 7  # sensor_msgs/PointField


class CloudError(ValueError):
    """No cloud can be made of a frame; says what is missing."""


CLOUD_ERRORS = (CloudError, CameraInfoError, images.ImageError)  # whose text needs no type name


@dataclass(frozen=True)
class CloudTypes:
    """The message types of a cloud; each takes its fields by name."""

    point_cloud: Callable[..., Any]
    point_field: Callable[..., Any]
    camera_info: Callable[..., Any]
    region_of_interest: Callable[..., Any]


class CloudTopics(Protocol):
    """A camera of the node or of a recording."""

    @property
    def depth_topic(self) -> str:
        """Topic of its depth images."""

    @property
    def camera_info_topic(self) -> str:
        """Topic of its CameraInfo."""


@dataclass(frozen=True, eq=False)
class CloudSource:
    """What a cloud is made from, apart from the depth.

    Attributes:
        header: Of the camera image.
        image: uint8 (H, W, 3) RGB.
        labels: uint8 or uint16 (H, W), class ids.
        confidence: float32 (H, W) in [0, 1].
        settings: The settings that the frame was segmented with.
        image_size: (H, W) of the image as the camera sent it; None: that of `image`.
    """

    header: Any
    image: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.unsignedinteger]
    confidence: npt.NDArray[np.float32]
    settings: Settings
    image_size: tuple[int, int] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Size (H, W) of the label image."""
        height, width = self.labels.shape
        return height, width


class DepthUser(Protocol):
    """A frame whose outputs need depth; see `CloudSource`."""

    @property
    def header(self) -> Any:
        """Of the camera image."""

    @property
    def size(self) -> tuple[int, int]:
        """Size (H, W) of the label image."""

    @property
    def settings(self) -> Settings:
        """The settings that the frame was segmented with."""

    @property
    def image_size(self) -> tuple[int, int] | None:
        """Size (H, W) of the image as the camera sent it; None: `size`."""


@dataclass(frozen=True, eq=False)
class Measured:
    """Depth of a frame, and the camera of its label image.

    Attributes:
        metres: float32 (h, w), NaN where there is none, in the proportions of the label image.
        camera: Of the rectified label image.
    """

    metres: npt.NDArray[np.float32]
    camera: Intrinsics


def labelled_cloud(source: CloudSource, measured: Measured, types: CloudTypes) -> Any:
    """Make the labelled cloud of a frame.

    Args:
        source: The frame.
        measured: Its depth and camera, see `measure`.
        types: The message types to use.
    """
    points = make_cloud(
        source.image,
        source.labels,
        source.confidence,
        measured.metres,
        measured.camera,
        compact=source.settings.cloud == 'compact',
    )
    return _cloud_message(points, source.header, types)


def measure(source: DepthUser, depth: Any, info: Any, topics: CloudTopics) -> Measured:
    """Read depth and camera of a frame from the messages with the nearest stamps.

    Args:
        source: The frame.
        depth: As for `depth_images.to_depth`, aligned to the image; None: not received.
        info: sensor_msgs/CameraInfo of the image; None: not received.
        topics: Named in errors.

    Raises:
        CloudError: One of the two is missing, depth is more than `sync_tolerance_ms` away, or there
            are no stamps; the depth image has other proportions than the image.
        CameraInfoError: The CameraInfo does not fit.
        ImageError: The depth image cannot be read.
    """
    if info is None:
        raise CloudError(f'no camera_info received on {topics.camera_info_topic}')
    if depth is None:
        raise CloudError(f'no depth image received on {topics.depth_topic}')
    if stamp_ns(source.header) == stamp_ns(depth.header) == 0:
        raise CloudError(
            f'the image and the depth on {topics.depth_topic} have a stamp of zero, so they cannot '
            'be matched; their driver must set the stamps'
        )
    gap_ms = abs(stamp_ns(depth.header) - stamp_ns(source.header)) / 1e6
    if gap_ms > source.settings.sync_tolerance_ms:
        raise CloudError(
            f'the nearest depth image on {topics.depth_topic} is {gap_ms:.0f} ms from the image; '
            f'sync_tolerance_ms is {source.settings.sync_tolerance_ms:g}'
        )
    scaled = matrices(info, source.size, source.image_size)
    metres = to_depth(depth)
    if not same_proportions(metres.shape, source.size):
        raise CloudError(
            f'the depth image is {metres.shape[1]}x{metres.shape[0]}, which is not the aspect '
            f'ratio of the image; it must be aligned to the image'
        )
    return Measured(metres, scaled.rectified())


def labels_camera_info(
    info: Any,
    header: Any,
    size: tuple[int, int],
    types: CloudTypes,
    image_size: tuple[int, int] | None = None,
) -> Any:
    """Return the CameraInfo of a label image.

    Args:
        info: sensor_msgs/CameraInfo of the camera image.
        header: Of the label image.
        size: (H, W) of the label image, in pixels.
        types: The message types to use.
        image_size: (H, W) of the camera image; None: that of the label image.

    Raises:
        CameraInfoError: The CameraInfo does not fit.
    """
    scaled = matrices(info, size, image_size)
    return types.camera_info(
        header=header,
        height=size[0],
        width=size[1],
        distortion_model=info.distortion_model,
        d=info.d,
        k=scaled.k.ravel(),
        r=info.r,
        p=scaled.p.ravel(),
        binning_x=0,
        binning_y=0,
        roi=types.region_of_interest(x_offset=0, y_offset=0, height=0, width=0, do_rectify=False),
    )


def _cloud_message(points: npt.NDArray[np.void], header: Any, types: CloudTypes) -> Any:
    """Make a message of points from `make_cloud`: organised (H, W), or compact (N,)."""
    height, width = points.shape if points.ndim == 2 else (1, len(points))
    described = points.dtype.fields
    assert described is not None
    data = points.reshape(-1).view(np.uint8)
    fields = {
        'header': header,
        'height': height,
        'width': width,
        'fields': [
            types.point_field(name=name, offset=offset, datatype=_datatype(name, kind), count=1)
            for name, (kind, offset, *_) in described.items()
        ],
        'is_bigendian': False,
        'point_step': points.itemsize,
        'row_step': points.itemsize * width,
        'is_dense': not np.isnan(points['z']).any(),
    }
    make: Any = types.point_cloud
    if is_dataclass(make):
        return make(**fields, data=data)
    message = make(**fields)
    message.data.frombytes(data)  # an assignment would copy it byte by byte
    return message


def _datatype(name: str, kind: np.dtype[Any]) -> int:
    if name != 'label':
        return _FLOAT32
    return _UINT8 if kind.itemsize == 1 else _UINT16
