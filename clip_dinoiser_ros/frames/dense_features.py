# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The DenseFeatures message of a frame.

A message type here is anything that takes its fields by name: a class of rclpy or a dataclass of
rosbags. So this module imports neither.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from clip_dinoiser_ros.frames.process import FrameOutputs


def dense_features(frame: FrameOutputs, message_type: Callable[..., Any]) -> Any:
    """Make the DenseFeatures of a frame; None if it was segmented without them."""
    found = frame.patches.features
    if found is None:
        return None
    vectors, objectness = found.download()
    (height, width), (rows, columns) = frame.image_size, found.extent
    fields = {
        'header': frame.header,
        'image_height': height,
        'image_width': width,
        'height': vectors.shape[0],
        'width': vectors.shape[1],
        'dimension': vectors.shape[2],
        'cell_height': height / rows,
        'cell_width': width / columns,
        'model_digest': found.space.digest,
    }
    memory = np.ascontiguousarray(vectors, '<f2').reshape(-1).view(np.uint8)
    if is_dataclass(message_type):
        return message_type(**fields, features=memory, objectness=objectness.ravel())
    message = message_type(**fields)
    message.features.frombytes(memory)  # an assignment would copy number by number
    message.objectness.frombytes(objectness.tobytes())
    return message
