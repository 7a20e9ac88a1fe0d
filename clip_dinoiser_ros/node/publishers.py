"""The outputs of one camera."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import Image
from vision_msgs.msg import LabelInfo, VisionClass

from clip_dinoiser_ros import images
from clip_dinoiser_ros.class_ids import to_class_ids, unlabelled_id
from clip_dinoiser_ros.core import Segmentation, Vocabulary
from clip_dinoiser_ros.msg import FrameInfo
from clip_dinoiser_ros.msg import Vocabulary as VocabularyMessage
from clip_dinoiser_ros.node.parameters import Settings
from clip_dinoiser_ros.overlay import draw_overlay

VOLATILE = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
LATCHED = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)


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
        self._labels = self._create(Image, f'~/{camera}/labels', VOLATILE)
        self._confidence = self._create(Image, f'~/{camera}/confidence', VOLATILE)
        self._overlay = self._create(Image, f'~/{camera}/overlay', VOLATILE)
        self._frame_info = self._create(FrameInfo, f'~/{camera}/frame_info', VOLATILE)
        self._label_info = self._create(LabelInfo, f'~/{camera}/label_info', LATCHED)
        self._vocabulary = self._create(VocabularyMessage, f'~/{camera}/vocabulary', LATCHED)

    def _create(self, message_type: type, topic: str, qos: QoSProfile) -> Any:
        return self._node.create_lifecycle_publisher(
            message_type,
            topic,
            qos,
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )

    def destroy(self) -> None:
        """Take the topics away."""
        for publisher in (
            self._labels,
            self._confidence,
            self._overlay,
            self._frame_info,
            self._label_info,
            self._vocabulary,
        ):
            self._node.destroy_lifecycle_publisher(publisher)

    def announce(self, active: Active) -> None:
        """Say which classes the label images speak of from now on."""
        vocabulary, settings = active.vocabulary, active.settings
        label_info = LabelInfo(threshold=float(settings.min_confidence))
        label_info.header.stamp = self._node.get_clock().now().to_msg()
        label_info.class_map = [
            VisionClass(class_id=int(class_id), class_name=name)
            for class_id, name in zip(active.table, vocabulary.names, strict=True)
        ]
        background = vocabulary.background
        message = VocabularyMessage(
            header=label_info.header,
            version=active.version,
            names=list(vocabulary.names),
            ids=[int(class_id) for class_id in active.table],
            prompts=[prompt.text for prompt in vocabulary.prompts],
            background='' if background is None else vocabulary.names[background],
            templates=vocabulary.templates,
            unlabelled_id=unlabelled_id(active.table),
        )
        self._label_info.publish(label_info)
        self._vocabulary.publish(message)

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
        least = active.settings.min_confidence
        labelled = result.confidence >= least if least > 0 else None
        labels = to_class_ids(result.labels, active.table, labelled)
        encoding = 'mono8' if labels.dtype == np.uint8 else 'mono16'
        self._labels.publish(images.to_message(labels, encoding, header, Image))
        confidence, encoding = result.confidence, active.settings.confidence_encoding
        if encoding == 'mono8':
            confidence = cv2.convertScaleAbs(confidence, alpha=255.0)  # rounds
        self._confidence.publish(images.to_message(confidence, encoding, header, Image))
        if self._overlay.get_subscription_count() > 0:
            names = active.vocabulary.names
            ids = [int(class_id) for class_id in active.table]
            overlay = draw_overlay(image, result.labels, names, ids, labelled)
            self._overlay.publish(images.to_message(overlay, 'rgb8', header, Image))

    def publish_frame_info(self, frame_info: FrameInfo) -> None:
        """Publish how the frame was made."""
        self._frame_info.publish(frame_info)
