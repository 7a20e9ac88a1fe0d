# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the page shows, made of the messages of a node."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from clip_dinoiser_ros.frames import compressed, images
from clip_dinoiser_ros.frames.images import stamp_ns
from clip_dinoiser_ros.web.source import (
    ClassProbability,
    ShownClass,
    ShownFrame,
    ShownObject,
    class_name,
    likeliest,
    pixel_at,
)

STAGES = ('wait', 'decode', 'segment', 'publish', 'total')


def shown_frame(camera: str, messages: Mapping[str, Any], vocabulary: Any) -> ShownFrame:
    """Make a frame of the messages of one stamp, by output, and the vocabulary of its labels.

    Raises:
        ImageError: An image cannot be decoded.
    """
    image, info = messages['image'], messages['frame_info']
    return ShownFrame(
        camera=camera,
        stamp_ns=stamp_ns(image.header),
        image=to_rgb(image),
        labels=to_labels(messages['labels']),
        confidence=to_confidence(messages['confidence']),
        unlabelled_id=vocabulary.unlabelled_id,
        classes=classes_of(vocabulary),
        objects=shown_objects(messages['detections'], messages.get('detections_3d')),
        times_ms={stage: float(getattr(info, f'{stage}_ms')) for stage in STAGES},
    )


def classes_of(vocabulary: Any) -> tuple[ShownClass, ...]:
    """Return the classes of a Vocabulary."""
    described = zip(vocabulary.ids, vocabulary.names, vocabulary.prompts, strict=True)
    return tuple(
        ShownClass(int(class_id), name, prompt, name == vocabulary.background)
        for class_id, name, prompt in described
    )


def to_rgb(message: Any) -> npt.NDArray[np.uint8]:
    """Decode an Image or CompressedImage."""
    decode: Any = images.to_rgb if hasattr(message, 'encoding') else compressed.to_rgb
    return np.asarray(decode(message), np.uint8)


def to_labels(message: Any) -> npt.NDArray[np.unsignedinteger[Any]]:
    """Decode a label image of the node: class ids (H, W), uint8 or uint16."""
    labels: Any = images.to_ids(message)
    return np.asarray(labels)


def to_confidence(message: Any) -> npt.NDArray[np.float32]:
    """Decode a confidence map of the node: float32 (H, W), 0 to 1."""
    if message.encoding == 'mono8':
        return images.to_ids(message).astype(np.float32) / 255
    return np.nan_to_num(images.to_depth(message))  # the same floats, but for NaN instead of 0


def shown_objects(detections: Any, located: Any = None) -> tuple[ShownObject, ...]:
    """Return the objects of a Detection2DArray, with distances from a Detection3DArray.

    A pixel covers its whole square: the box of the columns 2 to 5 is from 2 to 6.
    """
    distances = {}
    if located is not None and located.header.frame_id == detections.header.frame_id:
        for one in located.detections:
            centre = one.bbox.center.position
            distances[one.id] = math.hypot(centre.x, centre.y, centre.z)
    return tuple(_object(one, distances.get(one.id)) for one in detections.detections)


def _object(detection: Any, distance: float | None) -> ShownObject:
    hypothesis, box = detection.results[0].hypothesis, detection.bbox
    left = box.center.position.x - (box.size_x - 1) / 2
    top = box.center.position.y - (box.size_y - 1) / 2
    return ShownObject(
        name=hypothesis.class_id,
        confidence=hypothesis.score,
        box=(left, top, left + box.size_x, top + box.size_y),
        distance=distance,
    )


def likeliest_at(
    confidences: Any, names: Sequence[str], x: float, y: float
) -> tuple[ClassProbability, ...]:
    """Return the likeliest classes in a pixel of an image 32FCk, likeliest first.

    Args:
        confidences: The probabilities of all classes, as `~/NAME/class_confidences`.
        names: Of the k classes.
        x: Of the pixel, as a fraction of the width.
        y: Of the pixel, as a fraction of the height.
    """
    row, column = pixel_at((confidences.height, confidences.width), x, y)
    dtype = '>f4' if confidences.is_bigendian else '<f4'
    start = row * confidences.step + column * 4 * len(names)
    return likeliest(np.frombuffer(confidences.data, dtype, len(names), start), names)


def segmented_frame(
    image: npt.NDArray[np.uint8], prompts: Sequence[str], background: str, answer: Any
) -> ShownFrame:
    """Make a frame of the answer of `~/segment` to an image and prompts."""
    given = {class_name(prompt): prompt for prompt in prompts}
    classes = zip(answer.ids, answer.names, strict=True)
    return ShownFrame(
        camera='',
        stamp_ns=0,
        image=image,
        labels=to_labels(answer.labels),
        confidence=to_confidence(answer.confidence),
        unlabelled_id=answer.unlabelled_id,
        classes=tuple(
            ShownClass(int(class_id), name, given.get(name, name), name == background)
            for class_id, name in classes
        ),
        objects=shown_objects(answer.detections),
    )
