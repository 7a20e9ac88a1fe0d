# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Messages of a camera, and what of an output can be compared."""

from __future__ import annotations

import numpy as np
from bags import SECOND, START_NS, image_message, raw
from rosbags.rosbag2 import Reader

from clip_dinoiser_ros.bag.types import typestore

TOPIC = '/camera/image_raw'
_TIMES = ('decode_ms', 'segment_ms', 'publish_ms', 'total_ms')


def frames(picture, count, seed=0, topic=TOPIC, damaged=()):
    """Messages of a camera, with some cut off."""
    made = []
    for i in range(count):
        image = np.ascontiguousarray(np.roll(picture, 11 * i + 5 * seed, axis=1))
        kind, data = image_message(image, START_NS + i * SECOND)
        made.append((topic, START_NS + i * SECOND, (kind, data[:99] if i in damaged else data)))
    return made


def comparable(path):
    """All messages in order, byte for byte, except for the times that FrameInfo tells."""
    messages = []
    for topic, time_ns, data in raw(path):
        if topic.endswith('/frame_info'):
            info = typestore().deserialize_cdr(data, 'clip_dinoiser_ros/msg/FrameInfo')
            data = {k: v for k, v in vars(info).items() if k not in _TIMES}
        messages.append((topic, time_ns, data))
    return messages


def described(path):
    with Reader(path) as reader:
        return [(c.topic, c.msgtype, c.digest, c.msgcount, c.ext) for c in reader.connections]
