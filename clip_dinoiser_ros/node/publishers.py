# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The outputs of one camera."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_msgs.msg import Header
from vision_msgs.msg import LabelInfo, VisionClass

from clip_dinoiser_ros.core import Vocabulary
from clip_dinoiser_ros.core.segmentation import Patches, Segmentation
from clip_dinoiser_ros.frames import compressed, images
from clip_dinoiser_ros.frames.class_ids import published_classes
from clip_dinoiser_ros.frames.outputs import (
    LIVE_OUTPUTS,
    MAX_CLASS_CONFIDENCES_BYTES,
    OUTPUTS,
    FrameImages,
    MessageTypes,
    Output,
    announcement,
    frame_images,
    shrink,
    within,
)
from clip_dinoiser_ros.frames.overlay import draw_overlay
from clip_dinoiser_ros.frames.region import region_mask
from clip_dinoiser_ros.frames.stamps import stamp_ns
from clip_dinoiser_ros.msg import FrameInfo
from clip_dinoiser_ros.msg import Vocabulary as VocabularyMessage
from clip_dinoiser_ros.node.class_publishers import ClassPublishers
from clip_dinoiser_ros.node.clouds import Clouds, CloudSource
from clip_dinoiser_ros.node.parameters import Camera, Settings

_TYPES = MessageTypes(LabelInfo, VisionClass, VocabularyMessage)
_CLASSES = {
    'sensor_msgs/msg/Image': Image,
    'sensor_msgs/msg/CompressedImage': CompressedImage,
    'clip_dinoiser_ros/msg/FrameInfo': FrameInfo,
    'sensor_msgs/msg/PointCloud2': PointCloud2,
    'sensor_msgs/msg/CameraInfo': CameraInfo,
    'vision_msgs/msg/LabelInfo': LabelInfo,
    'clip_dinoiser_ros/msg/Vocabulary': VocabularyMessage,
}


@dataclass(frozen=True, eq=False)
class Active:
    """What the next frame is segmented with; replaced as a whole, never changed.

    Attributes:
        settings: The runtime parameters.
        vocabulary: Their prompts, encoded.
        table: (K,) uint8 or uint16, what each class is published as; see `ClassIds.table`.
        version: Counts the vocabularies of the node, from 1.
        run_id: Tells this run of the node from all others.
    """

    settings: Settings
    vocabulary: Vocabulary
    table: npt.NDArray[np.unsignedinteger]
    version: int
    run_id: str


@dataclass(frozen=True, eq=False)
class Segmented:
    """One frame and what the segmenter made of it.

    Attributes:
        header: Of the camera image, copied as it is.
        image: uint8 (H, W, 3) RGB.
        patches: What it shows, at patch resolution.
        result: The same in every pixel, of the image or of a smaller one (`output_scale`).
        active: What it was segmented with.
    """

    header: Any
    image: npt.NDArray[np.uint8]
    patches: Patches
    result: Segmentation
    active: Active

    @cached_property
    def small_image(self) -> npt.NDArray[np.uint8]:
        """The image in the size of the result, (H, W, 3); computed once."""
        height, width = self.result.labels.shape
        return shrink(self.image, (height, width))


class CameraPublishers:
    """Publishes what one camera shows, under ~/NAME/.

    Args:
        node: The node the publishers belong to.
        camera: Its name and topics.

    Attributes:
        clouds: Takes the camera's depth images and CameraInfo.
    """

    def __init__(self, node: LifecycleNode, camera: Camera) -> None:
        self._node = node
        self._camera = camera.name
        self.clouds = Clouds(camera, lambda text: node.get_logger().warning(text))
        self._publishers: dict[str, Any] = {}
        self._classes = ClassPublishers(node, camera.name)
        # made only while someone subscribes; None: not this time
        self._lazy: dict[str, Callable[[Segmented, FrameImages], Any]] = {
            'class_confidences': self._class_confidences,
            'points': self._add_to_clouds,
            'camera_info': self._camera_info,
        }
        self._refused = 0  # images of class confidences that would have been too large
        try:
            for name, output in {**OUTPUTS, **LIVE_OUTPUTS}.items():
                if not output.needs or getattr(camera, output.needs):
                    self._publishers[name] = self._create(f'~/{camera.name}/{name}', output)
        except BaseException:
            self.destroy()
            raise

    def _create(self, topic: str, output: Output) -> Any:
        # a profile for each publisher: overrides are written into it
        profile = QoSProfile(
            depth=1,
            reliability=ReliabilityPolicy.RELIABLE,
            durability=DurabilityPolicy.TRANSIENT_LOCAL
            if output.latched
            else DurabilityPolicy.VOLATILE,
        )
        return self._node.create_lifecycle_publisher(
            _CLASSES[output.type_name],
            topic,
            profile,
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )

    def destroy(self) -> None:
        """Take the topics away."""
        self._classes.destroy()
        for publisher in self._publishers.values():
            self._node.destroy_lifecycle_publisher(publisher)

    def announce(self, active: Active) -> None:
        """Say which classes the label images speak of from now on; each has its topics by then."""
        self._classes.use(active.vocabulary.names[: published_classes(active.table)])
        header = Header(stamp=self._node.get_clock().now().to_msg())
        label_info, message = announcement(
            _TYPES,
            header,
            active.vocabulary,
            active.table,
            active.version,
            active.settings.min_confidence,
            active.run_id,
        )
        self._publishers['label_info'].publish(label_info)
        self._publishers['vocabulary'].publish(message)

    def publish(self, frame: Segmented) -> None:
        """Publish labels and confidence of one frame, and what else someone listens to."""
        settings, active = frame.active.settings, frame.active
        shown = frame_images(
            frame.result,
            active.table,
            settings.min_confidence,
            settings.confidence_encoding,
            region_mask(settings.camera(self._camera).region, _size(frame)),
        )
        labels = images.to_message(shown.labels, shown.labels_encoding, frame.header, Image)
        self._publishers['labels'].publish(labels)
        confidence = images.to_message(
            shown.confidence, shown.confidence_encoding, frame.header, Image
        )
        self._publishers['confidence'].publish(confidence)
        self._publish_overlay(frame, shown)
        for name, make in self._lazy.items():
            if self._is_heard(name):
                message = make(frame, shown)
                if message is not None:
                    self._publishers[name].publish(message)
        self._classes.publish(frame.header, shown, active.table, frame.patches)
        self.publish_clouds()

    def _is_heard(self, name: str) -> bool:
        publisher = self._publishers.get(name)
        return publisher is not None and publisher.get_subscription_count() > 0

    def expect(self, header: Any) -> None:
        """Keep the depth image that belongs to a frame that is about to be segmented."""
        self.clouds.depth.expect(stamp_ns(header))

    def publish_clouds(self) -> None:
        """Publish the clouds whose depth has come since their labels were published."""
        if not self._is_heard('points'):
            self.clouds.drop()
        for cloud in self.clouds.ready():
            self._publishers['points'].publish(cloud)

    def _add_to_clouds(self, frame: Segmented, shown: FrameImages) -> None:
        self.clouds.add(
            CloudSource(
                header=frame.header,
                image=frame.small_image,
                labels=shown.labels,
                confidence=shown.certainty,
                settings=frame.active.settings,
            )
        )

    def _camera_info(self, frame: Segmented, shown: FrameImages) -> CameraInfo | None:
        return self.clouds.camera_info(frame.header, _size(frame))

    def _publish_overlay(self, frame: Segmented, shown: FrameImages) -> None:
        """Draw the overlay, once, for those who want it raw and those who want it compressed."""
        raw, small = self._is_heard('overlay'), self._is_heard('overlay/compressed')
        if not raw and not small:
            return
        vocabulary = frame.active.vocabulary
        ids = [int(class_id) for class_id in frame.active.table]
        overlay = draw_overlay(
            frame.small_image,
            frame.result.labels,
            vocabulary.names,
            ids,
            shown.labelled,
            vocabulary.background,
            frame.result.confidence,
        )
        if raw:
            message = images.to_message(overlay, 'rgb8', frame.header, Image)
            self._publishers['overlay'].publish(message)
        if small:
            jpeg = CompressedImage(header=frame.header, format=compressed.JPEG_FORMAT)
            jpeg.data.frombytes(compressed.encode_jpeg(overlay))
            self._publishers['overlay/compressed'].publish(jpeg)

    def _class_confidences(self, frame: Segmented, shown: FrameImages) -> Image | None:
        (height, width), count = _size(frame), published_classes(frame.active.table)
        size = 4 * height * width * count
        if size > MAX_CLASS_CONFIDENCES_BYTES:
            self._refused += 1
            self._node.get_logger().error(
                f'{self._camera}: class_confidences not published ({self._refused} so far): '
                f'{count} classes of {width}x{height} pixels are {size / 2**20:.0f} MiB, allowed '
                f'are {MAX_CLASS_CONFIDENCES_BYTES // 2**20}; take fewer prompts or smaller images',
                throttle_duration_sec=1.0,
            )
            return None
        maps = frame.patches.class_confidences((height, width), range(count))
        maps = np.moveaxis(within(maps, shown.inside), 0, -1)
        return images.to_message(maps, f'32FC{count}', frame.header, Image)

    def publish_frame_info(self, frame_info: FrameInfo) -> None:
        """Publish how the frame was made."""
        self._publishers['frame_info'].publish(frame_info)


def _size(frame: Segmented) -> tuple[int, int]:
    """Return the size (H, W) in which everything of a frame is published."""
    height, width = frame.result.labels.shape
    return height, width
