# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The frames of one camera of a running node, for as long as someone watches."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping, Set
from functools import partial
from typing import Any

from rclpy.expand_topic_name import expand_topic_name
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image
from vision_msgs.msg import Detection2DArray, Detection3DArray

from clip_dinoiser_ros.core.errors import one_line
from clip_dinoiser_ros.frames.image_layout import ImageError
from clip_dinoiser_ros.frames.images import stamp_ns
from clip_dinoiser_ros.msg import FrameInfo, Vocabulary
from clip_dinoiser_ros.web.pairs import Pairs
from clip_dinoiser_ros.web.robot_client import LATCHED, RELIABLE, RobotClient
from clip_dinoiser_ros.web.robot_messages import shown_frame
from clip_dinoiser_ros.web.source import RefusedError, ShownFrame

logger = logging.getLogger(__name__)

# in this order: what the node publishes last completes a frame
OUTPUTS = {
    'labels': Image,
    'confidence': Image,
    'detections': Detection2DArray,
    'detections_3d': Detection3DArray,
    'frame_info': FrameInfo,
}
NEEDED = ('image', *(output for output in OUTPUTS if output != 'detections_3d'))
AGAIN_S = 1.0  # between two attempts to find the node
MOST_VERSIONS = 20

Inputs = tuple[str, bool, bool, QoSProfile]  # image topic, is compressed, has depth, of the images


class CameraWatch:
    """Subscribes to one camera and its outputs, and calls the watchers with whole frames.

    A thread of its own decodes the newest frame; the thread of the client only collects messages.

    Args:
        client: Asks the node.
        camera: Its name.
        subscribed: Returns the image topic that the node says it is subscribed to; empty: unknown.
        on_words: Called when another vocabulary is announced.

    Attributes:
        watchers: Called with each frame, by a key of each.
        vocabulary: The newest of the run of the node; None: none was heard of.
    """

    def __init__(
        self,
        client: RobotClient,
        camera: str,
        subscribed: Callable[[], str],
        on_words: Callable[[], None],
    ) -> None:
        self._client, self.camera = client, camera
        self._home = f'{client.target}/{camera}'
        self._subscribed, self._on_words = subscribed, on_words
        self.watchers: dict[object, Callable[[ShownFrame], None]] = {}
        self.vocabulary: Vocabulary | None = None
        self._versions: dict[int, Vocabulary] = {}
        self._announcement: tuple[str, int] | None = None  # run and version of the last one
        self._publishers: Set[bytes] = frozenset()  # of frames, when it came
        self._pairs = Pairs(NEEDED)
        self._inputs: Inputs | None = None  # of the subscriptions
        self._looked_s = 0.0
        self._ask = True  # whether the node has other inputs, which only a new run has
        self._subscriptions: list[Subscription] = []
        self._newest: Mapping[str, Any] | None = None
        self._news = threading.Condition()
        self._closed = False
        self._latched = self._hear_vocabulary()
        threading.Thread(target=self._work, name=f'watch {camera}', daemon=True).start()

    def close(self) -> None:
        """Unsubscribe from everything."""
        with self._news:
            self._closed = True
            self._news.notify()
            self._client.unsubscribe(self._latched)
            self._drop_subscriptions()

    # in the thread of the client

    def _announced(self, vocabulary: Vocabulary) -> None:
        publishers = self._frame_publishers()
        with self._news:
            before = self._announcement
            self._announcement = vocabulary.run_id, vocabulary.version
            if before is None or before[0] != vocabulary.run_id:
                self._versions.clear()  # they may count from 1 again
                self._ask = True
            self.vocabulary = self._versions[vocabulary.version] = vocabulary
            self._publishers = publishers
            if len(self._versions) > MOST_VERSIONS:
                del self._versions[min(self._versions)]
            self._news.notify()
        if before not in (None, self._announcement):
            self._on_words()

    def _arrived(self, kind: str, message: Any) -> None:
        size = len(message.data) if kind == 'image' else 0
        frame = self._pairs.put(kind, stamp_ns(message.header), message, size)
        if frame is None:
            return
        publishers = self._frame_publishers()
        with self._news:
            if not self._closed and not publishers <= self._publishers:
                # maybe of a new run, whose vocabulary may be later than its first frame
                self.vocabulary = None
                self._versions.clear()
                self._publishers = publishers
                self._client.unsubscribe(self._latched)
                self._latched = self._hear_vocabulary()
            self._newest = frame
            self._news.notify()

    def _frame_publishers(self) -> Set[bytes]:
        return self._client.publishers(f'{self._home}/frame_info')

    def _hear_vocabulary(self) -> Subscription:
        return self._client.subscribe(
            Vocabulary, f'{self._home}/vocabulary', self._announced, LATCHED
        )

    # in the thread of the watch

    def _work(self) -> None:
        with contextlib.suppress(RefusedError):  # the client is closed
            self._watch()

    def _watch(self) -> None:
        while not self._closed:
            if self._ask or self._is_other_publisher():
                self._ask = False
                self._ask |= not self._find_inputs()
            with self._news:
                self._news.wait_for(self._has_work, AGAIN_S)
                frame, vocabulary = self._newest, self._vocabulary_of(self._newest)
                if frame is None or vocabulary is None or self._closed:
                    continue
                self._newest = None
            try:
                shown = shown_frame(self.camera, frame, vocabulary)
            except ImageError as error:  # the node refuses it too
                self._client.node.get_logger().warning(f'{self.camera}: {one_line(error)}')
                continue
            for watcher in [*self.watchers.values()]:
                try:
                    watcher(shown)
                except Exception:  # a page that has just gone must not end those of others
                    logger.exception('a watcher of %s failed', self.camera)

    def _has_work(self) -> bool:
        return self._closed or self._vocabulary_of(self._newest) is not None

    def _vocabulary_of(self, frame: Mapping[str, Any] | None) -> Vocabulary | None:
        return None if frame is None else self._versions.get(frame['frame_info'].vocabulary_version)

    def _find_inputs(self) -> bool:
        """Ask the node for its topics and subscribe; return whether it answered."""
        keys = (f'{self.camera}.{key}' for key in ('image_topic', 'transport', 'depth_topic'))
        try:
            topic, transport, depth_topic = self._client.parameters(*keys)
        except RefusedError:
            return False
        namespace, _, name = self._client.target.rpartition('/')
        topic = expand_topic_name(topic, name, namespace or '/')
        if transport == 'compressed' and not topic.endswith('/compressed'):
            topic += '/compressed'
        topic = self._subscribed() or topic  # remappings of the node are known to it alone
        inputs = topic, transport == 'compressed', bool(depth_topic), self._client.offered(topic)
        with self._news:
            if not self._closed and inputs != self._inputs:
                self._drop_subscriptions()
                self._subscribe_to(*inputs)
                self._inputs = inputs
        return True

    def _is_other_publisher(self) -> bool:
        """Look now and then whether the images come from another topic or with another QoS."""
        now_s = time.monotonic()
        if self._inputs is None or now_s - self._looked_s < AGAIN_S:
            return False
        self._looked_s = now_s
        topic, *_, qos = self._inputs
        return self._subscribed() not in ('', topic) or self._client.offered(topic) != qos

    def _subscribe_to(
        self, topic: str, is_compressed: bool, has_depth: bool, qos: QoSProfile
    ) -> None:
        outputs = [output for output in OUTPUTS if output != 'detections_3d' or has_depth]
        image = topic, CompressedImage if is_compressed else Image, qos
        wanted = {'image': image} | {
            o: (f'{self._home}/{o}', OUTPUTS[o], RELIABLE) for o in outputs
        }
        self._subscriptions = [
            self._client.subscribe(kind, name, partial(self._arrived, output), qos)
            for output, (name, kind, qos) in wanted.items()
        ]

    def _drop_subscriptions(self) -> None:
        for subscription in self._subscriptions:
            self._client.unsubscribe(subscription)
        self._subscriptions = []
