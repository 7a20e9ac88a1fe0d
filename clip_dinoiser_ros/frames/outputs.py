# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The outputs of a frame and of the classes, described once for node and recordings.

A message type here is anything that takes its fields by name: a class of rclpy or a dataclass of
rosbags. So this module imports neither.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, is_dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from clip_dinoiser_ros.frames.class_ids import published_classes, to_class_ids, unlabelled_id

if TYPE_CHECKING:
    from clip_dinoiser_ros.core import Segmentation, Vocabulary

Number = TypeVar('Number', np.uint8, np.float32)

NODE = 'clip_dinoiser'
CONFIDENCE_ENCODINGS = ('mono8', '32FC1')
MAX_CLASS_CONFIDENCES_BYTES = 256 * 2**20  # of the image; its copies take five times that


@dataclass(frozen=True)
class Output:
    """One topic of a camera.

    Attributes:
        type_name: Of its messages.
        latched: Reliable and transient local; the others are reliable and volatile.
        needs: Parameter of the camera that this topic depends on.
    """

    type_name: str
    latched: bool = False
    needs: str = ''


# by the last part of the topic
OUTPUTS = {
    'labels': Output('sensor_msgs/msg/Image'),
    'confidence': Output('sensor_msgs/msg/Image'),
    'overlay': Output('sensor_msgs/msg/Image'),
    'frame_info': Output('clip_dinoiser_ros/msg/FrameInfo'),
    'label_info': Output('vision_msgs/msg/LabelInfo', latched=True),
    'vocabulary': Output('clip_dinoiser_ros/msg/Vocabulary', latched=True),
}

# made only on demand: by the node for subscribers, by `clip-dinoiser bag` for its options
LIVE_OUTPUTS = {
    'overlay/compressed': Output('sensor_msgs/msg/CompressedImage'),
    'class_confidences': Output('sensor_msgs/msg/Image'),
    'detections': Output('vision_msgs/msg/Detection2DArray'),
    'instances': Output('sensor_msgs/msg/Image'),
    'features': Output('clip_dinoiser_ros/msg/DenseFeatures'),
    'points': Output('sensor_msgs/msg/PointCloud2', needs='depth_topic'),
    'detections_3d': Output('vision_msgs/msg/Detection3DArray', needs='depth_topic'),
    'markers': Output('visualization_msgs/msg/MarkerArray', needs='depth_topic'),
    'camera_info': Output('sensor_msgs/msg/CameraInfo', needs='camera_info_topic'),
}

# the same of every class, under classes/SLUG/; see `class_slug`
CLASS_OUTPUTS = {
    'mask': Output('sensor_msgs/msg/Image'),
    'confidence': Output('sensor_msgs/msg/Image'),
}


@dataclass(frozen=True)
class MessageTypes:
    """The message types that announce classes; each takes its fields by name."""

    label_info: Callable[..., Any]
    vision_class: Callable[..., Any]
    vocabulary: Callable[..., Any]


@dataclass(frozen=True, eq=False)
class FrameImages:
    """What is published of one frame, as pixels.

    Attributes:
        labels: (H, W) class ids; uint8 for mono8, uint16 for mono16.
        labels_encoding: mono8 or mono16.
        confidence: (H, W); uint8 for mono8 (255 is certain), float32 for 32FC1 (1.0 is certain).
        confidence_encoding: mono8 or 32FC1.
        labelled: bool (H, W), false where the pixel is unlabelled; None: all are labelled.
        result: The segmentation.
        inside: bool (H, W), false outside of the region; None: all are inside.
    """

    labels: npt.NDArray[np.unsignedinteger]
    labels_encoding: str
    confidence: npt.NDArray[np.uint8] | npt.NDArray[np.float32]
    confidence_encoding: str
    labelled: npt.NDArray[np.bool_] | None
    result: Segmentation
    inside: npt.NDArray[np.bool_] | None

    @cached_property
    def certainty(self) -> npt.NDArray[np.float32]:
        """The confidence before it was encoded: float32 (H, W) in [0, 1]."""
        return within(self.result.confidence, self.inside)


def scaled_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Return the size (H, W) of an image at a scale of at most 1, in whole pixels."""
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def shrink(image: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Shrink an image (H, W, 3) to a size (H, W) by area averaging."""
    if image.shape[:2] == size:
        return image
    small: npt.NDArray[np.uint8] = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
    return small


def frame_images(
    result: Segmentation,
    table: npt.NDArray[np.unsignedinteger],
    min_confidence: float = 0.0,
    confidence_encoding: str = 'mono8',
    inside: npt.NDArray[np.bool_] | None = None,
) -> FrameImages:
    """Make the published images of a segmentation.

    Args:
        result: Of one frame.
        table: (K,) uint8 or uint16, what each class is published as; see `ClassIds.table`.
        min_confidence: Pixels whose class is less probable are unlabelled. Pixels of the background
            class stay: their confidence is not the probability of a class.
        confidence_encoding: mono8 or 32FC1.
        inside: bool (H, W); other pixels are unlabelled, with the confidence 0. None: all are.
    """
    labelled = None
    if min_confidence > 0:
        labelled = result.confidence >= min_confidence
        if result.vocabulary.background is not None:
            labelled |= result.labels == result.vocabulary.background
    if inside is not None:
        labelled = inside if labelled is None else labelled & inside
    labels = to_class_ids(result.labels, table, labelled)
    if published_classes(table) < len(table):
        labelled = labels != unlabelled_id(table)
    return FrameImages(
        labels=labels,
        labels_encoding='mono8' if labels.dtype == np.uint8 else 'mono16',
        confidence=_confidence(result, confidence_encoding, inside),
        confidence_encoding=confidence_encoding,
        labelled=labelled,
        result=result,
        inside=inside,
    )


def leaves_as_mono8(device: str, encoding: str, min_confidence: float) -> bool:
    """Return whether the device (cpu, cuda) rounds confidence, because nothing needs floats.

    On a CPU nothing has to be copied, and OpenCV scales and rounds in one pass.
    """
    return device != 'cpu' and encoding == 'mono8' and min_confidence == 0.0


def _confidence(
    result: Segmentation, encoding: str, inside: npt.NDArray[np.bool_] | None
) -> npt.NDArray[np.uint8] | npt.NDArray[np.float32]:
    """Return the published confidence (H, W)."""
    if encoding == 'mono8' and result.mono8 is not None:
        return within(result.mono8, inside)
    return encode_confidence(within(result.confidence, inside), encoding)


def within(maps: npt.NDArray[Number], inside: npt.NDArray[np.bool_] | None) -> npt.NDArray[Number]:
    """Return maps (..., H, W) with 0 outside of the region."""
    return maps if inside is None else maps * inside


def encode_confidence(
    confidence: npt.NDArray[np.float32], encoding: str
) -> npt.NDArray[np.uint8] | npt.NDArray[np.float32]:
    """Encode a map (H, W) in [0, 1] as mono8 (255 is 1.0) or 32FC1."""
    if encoding == '32FC1':
        return confidence
    encoded: npt.NDArray[np.uint8] = cv2.convertScaleAbs(confidence, alpha=255.0)  # rounds
    return encoded


def class_mask(labels: npt.NDArray[np.unsignedinteger], class_id: int) -> npt.NDArray[np.uint8]:
    """Return 255 where published labels (H, W) show a class, else 0: uint8 (H, W)."""
    mask: npt.NDArray[np.uint8] = cv2.inRange(labels, class_id, class_id)
    return mask


def announcement(
    types: MessageTypes,
    header: Any,
    vocabulary: Vocabulary,
    table: npt.NDArray[np.unsignedinteger],
    version: int,
    min_confidence: float,
    run_id: str = '',
) -> tuple[Any, Any]:
    """Make the LabelInfo and the Vocabulary message that explain label images.

    Args:
        types: Of the messages.
        header: Its stamp says since when; its frame id is empty.
        vocabulary: The classes.
        table: (K,) uint8 or uint16, what each class is published as; see `ClassIds.table`.
        version: Of the vocabulary, from 1.
        min_confidence: Pixels below it are unlabelled.
        run_id: Of the node; empty if no node made the labels.
    """
    count = published_classes(table)
    ids: Any = [int(class_id) for class_id in table[:count]]
    names = list(vocabulary.names[:count])
    label_info = types.label_info(
        header=header,
        class_map=[
            types.vision_class(class_id=class_id, class_name=name)
            for class_id, name in zip(ids, names, strict=True)
        ],
        threshold=float(min_confidence),
    )
    background = vocabulary.background
    message = types.vocabulary(
        header=header,
        version=version,
        names=names,
        ids=np.array(ids, np.uint16) if is_dataclass(types.vocabulary) else ids,
        prompts=[prompt.text for prompt in vocabulary.prompts[:count]],
        background='' if background is None or background >= count else names[background],
        templates=vocabulary.templates,
        unlabelled_id=unlabelled_id(table),
        run_id=run_id,
    )
    return label_info, message
