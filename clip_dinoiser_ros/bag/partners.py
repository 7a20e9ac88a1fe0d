# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The depth image and the CameraInfo of each frame of a recording, by stamp."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from clip_dinoiser_ros.bag.cameras import Camera
from clip_dinoiser_ros.bag.recording import Message
from clip_dinoiser_ros.bag.types import typestore
from clip_dinoiser_ros.frames.images import stamp_ns

KEPT = 16  # newest messages of a topic that later frames may need
MAX_AHEAD_NS = 10**9  # of recording time by which depth may be later than its image
MAX_AHEAD_BYTES = 256 * 2**20


@dataclass(eq=False)
class Partners:
    """The messages with the stamps nearest to that of a frame, so far.

    Attributes:
        stamp_ns: Stamp of the frame.
        depth: sensor_msgs/Image; None: there is none.
        info: sensor_msgs/CameraInfo; None: there is none.
    """

    stamp_ns: int
    depth: Any = None
    info: Any = None

    def offer(self, role: str, message: Any) -> None:
        """Store a message as `depth` or `info` if its stamp is nearer."""
        held = getattr(self, role)
        if held is None or self._gap_ns(message) < self._gap_ns(held):
            setattr(self, role, message)

    def _gap_ns(self, message: Any) -> int:
        return abs(stamp_ns(message.header) - self.stamp_ns)


class PartnerFinder:
    """Finds the partners of frames while a recording is read from front to back.

    Args:
        cameras: The segmented cameras.

    Attributes:
        topics: Topics of depth images and CameraInfos.
    """

    def __init__(self, cameras: Iterable[Camera]) -> None:
        self._roles: dict[str, list[tuple[Camera, str]]] = defaultdict(list)
        for camera in cameras:
            for topic, role in ((camera.depth_topic, 'depth'), (camera.camera_info_topic, 'info')):
                if topic:
                    self._roles[topic].append((camera, role))
        self._kept: dict[str, deque[Any]] = {topic: deque(maxlen=KEPT) for topic in self._roles}
        self._frames: list[tuple[Camera, Partners]] = []

    @property
    def topics(self) -> frozenset[str]:
        """Topics of depth images and CameraInfos."""
        return frozenset(self._roles)

    def put(self, message: Message) -> None:
        """Add a message of one of the topics; unreadable messages are ignored."""
        decoded = _decode(message)
        if decoded is not None:
            self._kept[message.topic.name].append(decoded)
            self._offer(message.topic.name, decoded)

    def expect(self, camera: Camera, stamp: int) -> Partners:
        """Return the partners of a frame; messages until `settle` complete them.

        Args:
            camera: Of the frame.
            stamp: Of the frame, in nanoseconds.
        """
        partners = Partners(stamp)
        for topic, role in ((camera.depth_topic, 'depth'), (camera.camera_info_topic, 'info')):
            for message in self._kept.get(topic, ()):
                partners.offer(role, message)
        self._frames.append((camera, partners))
        return partners

    def settle(self, ahead: Iterator[Message], end_ns: int) -> None:
        """Complete the partners of the frames so far with later messages.

        Args:
            ahead: The messages that follow.
            end_ns: Recording time of the last message before them.
        """
        due: dict[str, int] = defaultdict(int)  # topic -> stamp after which nothing can be nearer
        for camera, partners in self._frames:
            for topic in filter(None, (camera.depth_topic, camera.camera_info_topic)):
                due[topic] = max(due[topic], partners.stamp_ns)
        for topic, kept in self._kept.items():
            if kept and stamp_ns(kept[-1].header) >= due.get(topic, 0):
                due.pop(topic, None)
        size = 0
        while due:
            message = next(ahead, None)
            if message is None or message.time_ns > end_ns + MAX_AHEAD_NS or size > MAX_AHEAD_BYTES:
                break
            topic = message.topic.name
            if topic in due and (decoded := _decode(message)) is not None:
                size += len(message.data)
                self._offer(topic, decoded)
                if stamp_ns(decoded.header) >= due[topic]:
                    del due[topic]
        self._frames.clear()

    def _offer(self, topic: str, decoded: Any) -> None:
        for camera, role in self._roles[topic]:
            for other, partners in self._frames:
                if other is camera:
                    partners.offer(role, decoded)


def _decode(message: Message) -> Any:
    try:
        return typestore().deserialize_cdr(message.data, message.topic.type_name)
    except Exception:  # rosbags raises several types for damaged bytes
        return None
