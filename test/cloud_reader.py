# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A plain reader of PointCloud2 messages, written from their definition."""

import numpy as np

# sensor_msgs/msg/PointField
_TYPES = {1: 'i1', 2: 'u1', 3: 'i2', 4: 'u2', 5: 'i4', 6: 'u4', 7: 'f4', 8: 'f8'}


def read_cloud(message):
    """The points as a structured array (height, width) with the message's fields."""
    order = '>' if message.is_bigendian else '<'
    kind = np.dtype(
        {
            'names': [field.name for field in message.fields],
            'formats': [order + _TYPES[field.datatype] for field in message.fields],
            'offsets': [field.offset for field in message.fields],
            'itemsize': message.point_step,
        }
    )
    assert message.row_step == message.width * message.point_step
    assert len(message.data) == message.height * message.row_step
    return np.frombuffer(message.data, kind).reshape(message.height, message.width)
