# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The labelled cloud and the scaled CameraInfo of one camera."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from sensor_msgs.msg import CameraInfo, PointCloud2, PointField, RegionOfInterest

from clip_dinoiser_ros.frames.cloud_messages import (
    CLOUD_ERRORS,
    CloudError,
    CloudSource,
    CloudTypes,
    labels_camera_info,
    paired_cloud,
)
from clip_dinoiser_ros.frames.intrinsics import CameraInfoError
from clip_dinoiser_ros.frames.settings import Settings
from clip_dinoiser_ros.frames.stamps import stamp_ns
from clip_dinoiser_ros.node.depth import MAX_EXPECTED, DepthRing
from clip_dinoiser_ros.node.log import Throttle
from clip_dinoiser_ros.node.parameters import CameraTopics

MAX_WAITING = MAX_EXPECTED - 1  # frames; one more is in work


_TYPES = CloudTypes(PointCloud2, PointField, CameraInfo, RegionOfInterest)


class Clouds:
    """Makes the clouds of one camera, each when its nearest depth image has arrived.

    Depth often arrives a little after its image, sometimes after the labels are published. A frame
    waits for it until a frame follows that is newer by more than the tolerance. At most
    `MAX_WAITING` frames wait. The labels do not wait.

    The subscriptions call `put_info` and `put_depth`, the worker calls everything else.

    Args:
        camera: Its name and topics.
        warn: Called with a text when there is no cloud.
    """

    def __init__(self, camera: CameraTopics, warn: Callable[[str], Any]) -> None:
        self._camera = camera
        self._warn_now = warn
        self._info: CameraInfo | None = None
        self._waiting: deque[CloudSource] = deque()
        self._throttle = Throttle()
        self._frames_compared = False
        self.depth = DepthRing()

    def put_info(self, info: CameraInfo) -> None:
        """Store the newest CameraInfo."""
        self._info = info

    def put_depth(self, depth: Any) -> bool:
        """Store a depth image; return whether a frame waits for one."""
        self.depth.put(depth)
        return bool(self._waiting)

    def clear(self) -> None:
        """Drop all messages and the frames that wait."""
        self._info = None
        self._waiting.clear()
        self.depth.clear()

    def drop(self) -> None:
        """Drop the frames that wait."""
        self._waiting.clear()

    def add(self, source: CloudSource) -> None:
        """Add a frame; `ready` returns its cloud."""
        self._waiting.append(source)

    def ready(self) -> list[PointCloud2]:
        """Make the clouds whose depth has arrived or is no longer waited for, oldest first."""
        clouds = []
        while self._waiting and self._is_due(self._waiting[0]):
            source = self._waiting.popleft()
            try:
                clouds.append(self._make(source))
            except Exception as error:  # a depth image must not end the worker
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
        found = self.depth.nearest(stamp_ns(source.header))
        depth = None if found is None else found[0]
        cloud = paired_cloud(source, depth, self._info, self._camera, _TYPES)
        self._compare_frames(source.header.frame_id, depth.header.frame_id)
        return cloud

    def _compare_frames(self, own: str, other: str) -> None:
        """Warn once if depth has another frame id than the image."""
        if own != other and not self._frames_compared:
            self._warn_now(
                f'{self._camera.name}: depth comes in the frame {other!r}, the image in {own!r}; '
                'clouds are right only where the depth image is aligned to the image'
            )
        self._frames_compared = True

    def _known_info(self) -> CameraInfo:
        if self._info is None:
            raise CloudError(f'no camera_info received on {self._camera.camera_info_topic}')
        return self._info

    def camera_info(
        self, header: Any, size: tuple[int, int], image_size: tuple[int, int] | None = None
    ) -> CameraInfo | None:
        """Return the CameraInfo of the label image of a frame; None: not known.

        Args:
            header: Of the frame.
            size: (H, W) of the label image.
            image_size: (H, W) of the camera image; None: that of the label image.
        """
        try:
            return labels_camera_info(self._known_info(), header, size, _TYPES, image_size)
        except (CloudError, CameraInfoError) as error:
            self._warn(f'no camera_info: {error}')
            return None

    def _warn(self, text: str) -> None:
        """Warn at most once a second."""
        if self._throttle.allows():
            self._warn_now(f'{self._camera.name}: {text}')


def _tolerance_ns(settings: Settings) -> float:
    return settings.sync_tolerance_ms * 1e6


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, CLOUD_ERRORS) else f'{type(error).__name__}: {error}'
