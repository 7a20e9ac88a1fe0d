"""The outputs of one camera."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from vision_msgs.msg import LabelInfo, VisionClass

from clip_dinoiser_ros import images
from clip_dinoiser_ros.core import Segmentation, Vocabulary
from clip_dinoiser_ros.msg import FrameInfo
from clip_dinoiser_ros.msg import Vocabulary as VocabularyMessage
from clip_dinoiser_ros.node.parameters import Settings
from clip_dinoiser_ros.outputs import OUTPUTS, MessageTypes, announcement, frame_images
from clip_dinoiser_ros.overlay import draw_overlay

_TYPES = MessageTypes(LabelInfo, VisionClass, VocabularyMessage)
_CLASSES = {
    'sensor_msgs/msg/Image': Image,
    'clip_dinoiser_ros/msg/FrameInfo': FrameInfo,
    'vision_msgs/msg/LabelInfo': LabelInfo,
    'clip_dinoiser_ros/msg/Vocabulary': VocabularyMessage,
}


@dataclass(frozen=True, eq=False)
class Active:
    """What the next frame is segmented with; replaced as a whole, never changed.

    Attributes:
        settings: The runtime parameters.
        vocabulary: Their prompts, encoded.
        table: (K,) uint8 or uint16, class id of each index of the vocabulary.
        version: Counts the vocabularies of the node, from 1.
    """

    settings: Settings
    vocabulary: Vocabulary
    table: npt.NDArray[np.unsignedinteger]
    version: int


class CameraPublishers:
    """Publishes what one camera shows, under ~/NAME/.

    Args:
        node: The node the publishers belong to.
        camera: Name of the camera.
    """

    def __init__(self, node: LifecycleNode, camera: str) -> None:
        self._node = node
        self._publishers: dict[str, Any] = {}
        try:
            for name in OUTPUTS:
                self._publishers[name] = self._create(f'~/{camera}/{name}', name)
        except BaseException:
            self.destroy()
            raise

    def _create(self, topic: str, output: str) -> Any:
        latched = OUTPUTS[output].latched
        # a profile for each publisher: overrides are written into it
        profile = QoSProfile(
            depth=1,
            reliability=ReliabilityPolicy.RELIABLE,
            durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
        )
        return self._node.create_lifecycle_publisher(
            _CLASSES[OUTPUTS[output].type_name],
            topic,
            profile,
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )

    def destroy(self) -> None:
        """Take the topics away."""
        for publisher in self._publishers.values():
            self._node.destroy_lifecycle_publisher(publisher)

    def announce(self, active: Active) -> None:
        """Say which classes the label images speak of from now on."""
        header = Header(stamp=self._node.get_clock().now().to_msg())
        label_info, message = announcement(
            _TYPES,
            header,
            active.vocabulary,
            active.table,
            active.version,
            active.settings.min_confidence,
        )
        self._publishers['label_info'].publish(label_info)
        self._publishers['vocabulary'].publish(message)

    def publish(
        self, header: Any, image: npt.NDArray[np.uint8], result: Segmentation, active: Active
    ) -> None:
        """Publish labels, confidence and, while someone listens, the overlay of one frame.

        Args:
            header: The header of the camera image, copied as it is.
            image: uint8 (H, W, 3) RGB.
            result: What the segmenter made of it.
            active: What it was segmented with.
        """
        settings = active.settings
        frame = frame_images(
            result, active.table, settings.min_confidence, settings.confidence_encoding
        )
        labels = images.to_message(frame.labels, frame.labels_encoding, header, Image)
        self._publishers['labels'].publish(labels)
        confidence = images.to_message(frame.confidence, frame.confidence_encoding, header, Image)
        self._publishers['confidence'].publish(confidence)
        if self._publishers['overlay'].get_subscription_count() > 0:
            names = active.vocabulary.names
            ids = [int(class_id) for class_id in active.table]
            background = active.vocabulary.background
            overlay = draw_overlay(image, result.labels, names, ids, frame.labelled, background)
            self._publishers['overlay'].publish(images.to_message(overlay, 'rgb8', header, Image))

    def publish_frame_info(self, frame_info: FrameInfo) -> None:
        """Publish how the frame was made."""
        self._publishers['frame_info'].publish(frame_info)
