# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a camera publishes of depth: labelled clouds, located objects, the scaled CameraInfo."""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from sensor_msgs.msg import CameraInfo, PointCloud2, PointField, RegionOfInterest

from clip_dinoiser_ros.frames.cloud_messages import (
    CLOUD_ERRORS,
    CloudError,
    CloudSource,
    CloudTypes,
    DepthUser,
    Measured,
    labelled_cloud,
    labels_camera_info,
    measure,
)
from clip_dinoiser_ros.frames.images import stamp_ns
from clip_dinoiser_ros.frames.intrinsics import CameraInfoError
from clip_dinoiser_ros.frames.located import LocatedObjects, ObjectSource, locate
from clip_dinoiser_ros.frames.settings import Settings
from clip_dinoiser_ros.node.depth import MAX_EXPECTED, DepthRing
from clip_dinoiser_ros.node.log import Throttle
from clip_dinoiser_ros.node.parameters import CameraTopics
from clip_dinoiser_ros.node.transforms import TransformError, Transforms, as_matrix

MAX_WAITING = MAX_EXPECTED - 1  # frames; one more is in work

Source = TypeVar('Source', bound=DepthUser)
Made = TypeVar('Made')

_TYPES = CloudTypes(PointCloud2, PointField, CameraInfo, RegionOfInterest)


class Clouds:
    """Makes the clouds of one camera and locates its objects, each when its depth has arrived.

    Depth often arrives a little after its image, sometimes after the labels are published. A frame
    waits for it until a frame follows that is newer by more than the tolerance. At most
    `MAX_WAITING` frames wait. The labels do not wait. Objects in another frame than the image also
    wait for the transform.

    The subscriptions call `put_info` and `put_depth`, the worker calls everything else.

    Args:
        camera: Its name and topics.
        warn: Called with a text when there is no cloud.

    Attributes:
        transforms: Into the frame of located objects; None: that of the image.
    """

    def __init__(self, camera: CameraTopics, warn: Callable[[str], Any]) -> None:
        self._camera = camera
        self._warn_now = warn
        self._info: CameraInfo | None = None
        self._waiting: deque[CloudSource] = deque()
        self._objects: deque[ObjectSource] = deque()
        self._last: tuple[Any, Measured] | None = None  # of what, and what was read
        self.transforms: Transforms | None = None
        self._throttle = Throttle()
        self._frames_compared = False
        self.depth = DepthRing()

    def put_info(self, info: CameraInfo) -> None:
        """Store the newest CameraInfo."""
        self._info = info

    def put_depth(self, depth: Any) -> bool:
        """Store a depth image; return whether a frame waits for one."""
        self.depth.put(depth)
        return bool(self._waiting or self._objects)

    def clear(self) -> None:
        """Drop all messages and the frames that wait."""
        self._info = self._last = None
        self._waiting.clear()
        self._objects.clear()
        self.depth.clear()

    def drop(self) -> None:
        """Drop the frames whose clouds wait."""
        self._waiting.clear()

    def drop_objects(self) -> None:
        """Drop the frames whose objects wait."""
        self._objects.clear()

    def add(self, source: CloudSource) -> None:
        """Add a frame; `ready` returns its cloud."""
        self._waiting.append(source)

    def add_objects(self, source: ObjectSource) -> None:
        """Add the objects of a frame; `ready_objects` returns where they are."""
        self._objects.append(source)

    def ready(self) -> list[PointCloud2]:
        """Make the clouds whose depth has arrived or is no longer waited for, oldest first."""
        return self._make_ready(self._waiting, self._cloud, 'cloud')

    def ready_objects(self) -> list[LocatedObjects]:
        """Locate objects in the same way."""
        return self._make_ready(self._objects, self._locate, 'detections_3d')

    def _make_ready(
        self, waiting: deque[Source], make: Callable[[Source], Made], what: str
    ) -> list[Made]:
        made = []
        while waiting and self._is_due(waiting):
            source = waiting.popleft()
            try:
                made.append(make(source))
            except Exception as error:  # a depth image must not end the worker
                self._warn(f'no {what}: {_reason(error)}')
        return made

    def _is_due(self, waiting: deque[Source]) -> bool:
        source = waiting[0]
        stamp, newest = stamp_ns(source.header), stamp_ns(waiting[-1].header)
        return (
            len(waiting) > MAX_WAITING
            or abs(newest - stamp) > _tolerance_ns(source.settings)
            or (self.depth.is_settled(stamp) and self._is_placed(source))
        )

    def _is_placed(self, source: DepthUser) -> bool:
        """Return whether what a frame needs of tf2 is known."""
        transforms = self.transforms
        wanted = isinstance(source, ObjectSource) and transforms is not None
        return not wanted or transforms.is_known(source.header)

    def _cloud(self, source: CloudSource) -> PointCloud2:
        return labelled_cloud(source, self._measure(source), _TYPES)

    def _locate(self, source: ObjectSource) -> LocatedObjects:
        if self.transforms is None:
            return locate(source, self._measure(source))
        matrix = as_matrix(self.transforms.lookup(source.header).transform)
        return locate(source, self._measure(source), self.transforms.target, matrix)

    def _measure(self, source: DepthUser) -> Measured:
        """Read depth and camera of a frame; a depth image is decoded once for both outputs."""
        found = self.depth.nearest(stamp_ns(source.header))
        depth = None if found is None else found[0]
        of_what = source.header, depth, self._info
        if self._last is None or any(map(operator.is_not, self._last[0], of_what)):
            measured = measure(source, depth, self._info, self._camera)
            self._compare_frames(source.header.frame_id, depth.header.frame_id)
            self._last = of_what, measured
        return self._last[1]

    def expects_depth(self, source: DepthUser) -> bool:
        """Return whether the depth of a frame may still arrive."""
        return bool(self._camera.depth_topic) and not self.depth.is_settled(stamp_ns(source.header))

    def measure_once(self, source: DepthUser) -> Measured | None:
        """Read depth and camera of a frame, from any thread; None: the camera has no depth.

        Raises:
            CloudError, CameraInfoError, ImageError: As of `cloud_messages.measure`.
        """
        if not self._camera.depth_topic:
            return None
        found = self.depth.nearest(stamp_ns(source.header))
        return measure(source, found and found[0], self._info, self._camera)

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
    return (
        str(error)
        if isinstance(error, (*CLOUD_ERRORS, TransformError))
        else f'{type(error).__name__}: {error}'
    )
