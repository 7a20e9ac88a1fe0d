# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The labelled cloud and the scaled CameraInfo of one camera."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sensor_msgs.msg import CameraInfo, PointCloud2, PointField

from clip_dinoiser_ros.frames import images
from clip_dinoiser_ros.frames.cloud import make_cloud
from clip_dinoiser_ros.frames.intrinsics import (
    CameraInfoError,
    Matrices,
    matrices,
    same_proportions,
)
from clip_dinoiser_ros.frames.stamps import stamp_ns
from clip_dinoiser_ros.node.depth import MAX_EXPECTED, DepthRing
from clip_dinoiser_ros.node.parameters import Camera, Settings
from clip_dinoiser_ros.node.throttle import Throttle

MAX_WAITING = MAX_EXPECTED - 1  # frames; one more is in work


class CloudError(ValueError):
    """No cloud can be made of a frame; says what is missing."""


@dataclass(frozen=True, eq=False)
class CloudSource:
    """What a cloud is made of, apart from the depth.

    Attributes:
        header: Of the camera image.
        image: uint8 (H, W, 3) RGB.
        labels: uint8 or uint16 (H, W), class ids.
        confidence: float32 (H, W) in [0, 1].
        settings: That the frame was segmented with.
    """

    header: Any
    image: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.unsignedinteger]
    confidence: npt.NDArray[np.float32]
    settings: Settings


class Clouds:
    """Makes the clouds of one camera, each as soon as no depth nearer to its frame can come.

    Depth often arrives a little after its image, sometimes after the labels are out. A frame
    waits for it as long as no frame follows that is newer by more than the tolerance, and never
    are more than `MAX_WAITING` kept. The labels do not wait.

    The callbacks of the subscriptions call `put_info` and `put_depth`, the worker all else.

    Args:
        camera: Its name and topics.
        warn: Called with a text when there is no cloud.
    """

    def __init__(self, camera: Camera, warn: Callable[[str], Any]) -> None:
        self._camera = camera
        self._warn_now = warn
        self._info: CameraInfo | None = None
        self._waiting: deque[CloudSource] = deque()
        self._throttle = Throttle()
        self._frames_compared = False
        self.depth = DepthRing()

    def put_info(self, info: CameraInfo) -> None:
        """Use a CameraInfo from now on."""
        self._info = info

    def put_depth(self, depth: Any) -> bool:
        """Take a depth image in; return whether a frame waits for one."""
        self.depth.put(depth)
        return bool(self._waiting)

    def clear(self) -> None:
        """Forget what came, and the frames that wait."""
        self._info = None
        self._waiting.clear()
        self.depth.clear()

    def drop(self) -> None:
        """Forget the frames that wait."""
        self._waiting.clear()

    def add(self, source: CloudSource) -> None:
        """Have a cloud made of a frame; `ready` gives it."""
        self._waiting.append(source)

    def ready(self) -> list[PointCloud2]:
        """Make the clouds whose depth is there or is not waited for any longer, oldest first."""
        clouds = []
        while self._waiting and self._is_due(self._waiting[0]):
            source = self._waiting.popleft()
            try:
                clouds.append(self._make(source))
            except Exception as error:  # the worker must not die of a depth image
                self._warn(f'no cloud: {_reason(error)}')
        return clouds

    def _is_due(self, source: CloudSource) -> bool:
        stamp, newest = stamp_ns(source.header), stamp_ns(self._waiting[-1].header)
        return (
            len(self._waiting) > MAX_WAITING
            or abs(newest - stamp) > _tolerance_ns(source.settings)
            or self.depth.is_settled(stamp)
        )

    def _make(self, source: CloudSource) -> PointCloud2:
        scaled = self._matrices(source.labels.shape[:2])
        depth = images.to_depth(self._nearest(source))
        if not same_proportions(depth.shape, source.labels.shape[:2]):
            raise CloudError(
                f'the depth image has {depth.shape[1]}x{depth.shape[0]}, which are not the '
                f'proportions of the image: it has to be aligned to it'
            )
        points = make_cloud(
            source.image,
            source.labels,
            source.confidence,
            depth,
            scaled.rectified(),
            compact=source.settings.cloud == 'compact',
        )
        return cloud_message(points, source.header)

    def _nearest(self, source: CloudSource) -> Any:
        """Return the depth message that belongs to a frame."""
        found = self.depth.nearest(stamp_ns(source.header))
        if found is None:
            raise CloudError(f'no depth has come on {self._camera.depth_topic}')
        depth, gap_ns = found
        if gap_ns > _tolerance_ns(source.settings):
            raise CloudError(
                f'the nearest depth on {self._camera.depth_topic} is {gap_ns / 1e6:.0f} ms from '
                f'the image; sync_tolerance_ms is {source.settings.sync_tolerance_ms:g}'
            )
        own, other = source.header.frame_id, depth.header.frame_id
        if own != other and not self._frames_compared:
            self._warn_now(
                f'{self._camera.name}: depth comes in the frame {other!r}, the image in {own!r}; '
                'clouds are right only where the depth image is aligned to the image'
            )
        self._frames_compared = True
        return depth

    def _matrices(self, size: tuple[int, int]) -> Matrices:
        if self._info is None:
            raise CloudError(f'no camera_info has come on {self._camera.camera_info_topic}')
        return matrices(self._info, size)

    def camera_info(self, header: Any, size: tuple[int, int]) -> CameraInfo | None:
        """Return the CameraInfo of the label image, (H, W), of a frame; None: it is not known."""
        try:
            scaled = self._matrices(size)
        except (CloudError, CameraInfoError) as error:
            self._warn(f'no camera_info: {error}')
            return None
        assert self._info is not None
        return CameraInfo(
            header=header,
            height=size[0],
            width=size[1],
            distortion_model=self._info.distortion_model,
            d=self._info.d,
            k=scaled.k.ravel(),
            r=self._info.r,
            p=scaled.p.ravel(),
        )

    def _warn(self, text: str) -> None:
        """Say something at most once a second."""
        if self._throttle.allows():
            self._warn_now(f'{self._camera.name}: {text}')


def cloud_message(points: npt.NDArray[np.void], header: Any) -> PointCloud2:
    """Make a message of points from `make_cloud`: organised (H, W), or compact (N,)."""
    height, width = points.shape if points.ndim == 2 else (1, len(points))
    fields = points.dtype.fields
    assert fields is not None
    message = PointCloud2(
        header=header,
        height=height,
        width=width,
        fields=[
            PointField(name=name, offset=offset, datatype=_datatype(name, kind), count=1)
            for name, (kind, offset, *_) in fields.items()
        ],
        is_bigendian=False,
        point_step=points.itemsize,
        row_step=points.itemsize * width,
        is_dense=not np.isnan(points['z']).any(),
    )
    message.data.frombytes(points.reshape(-1).view(np.uint8))  # assigning walks it byte by byte
    return message


def _datatype(name: str, kind: np.dtype[Any]) -> int:
    if name != 'label':
        return PointField.FLOAT32
    return PointField.UINT8 if kind.itemsize == 1 else PointField.UINT16


def _tolerance_ns(settings: Settings) -> float:
    return settings.sync_tolerance_ms * 1e6


def _reason(error: Exception) -> str:
    known = isinstance(error, (CloudError, CameraInfoError, images.ImageError))
    return str(error) if known else f'{type(error).__name__}: {error}'
