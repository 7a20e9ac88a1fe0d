# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A stand-in for the buffer of tf2_ros, which has no wheel.

It has the two methods that the node calls, with the arguments that tf2_ros documents, and knows
what a test tells it.
"""

import numpy as np
from cameras_with_depth import header
from geometry_msgs.msg import Quaternion, TransformStamped, Vector3

from clip_dinoiser_ros.frames.images import stamp_ns


class KnownTransforms:
    """Not tf2_ros.Buffer: knows transforms into `map` for single stamps, as a buffer would."""

    def __init__(self):
        self.known = {}  # (source frame, nanoseconds) -> TransformStamped

    def _of(self, target, source, time):
        return self.known.get((source, time.nanoseconds)) if target == 'map' else None

    def can_transform(self, target_frame, source_frame, time):
        return self._of(target_frame, source_frame, time) is not None

    def lookup_transform(self, target_frame, source_frame, time):
        found = self._of(target_frame, source_frame, time)
        if found is None:
            raise LookupError('Lookup would require extrapolation into the future')
        return found

    def learn(self, source, pose):
        """Know where the camera of a scene is; `source` is a header, or milliseconds of one."""
        source = header(source) if isinstance(source, int) else source
        found = placed(pose)
        found.header.stamp, found.child_frame_id = source.stamp, source.frame_id
        self.known[source.frame_id, stamp_ns(source)] = found


def placed(pose):
    """The transform of a camera with a pose into `map`."""
    found = TransformStamped()
    found.header.frame_id = 'map'
    found.transform.translation = Vector3(x=pose.x, y=pose.y, z=pose.z)
    found.transform.rotation = quaternion(pose.rotation().T)
    return found


def quaternion(matrix):
    """The quaternion of a rotation whose w is not small."""
    w = np.sqrt(1 + np.trace(matrix)) / 2
    x, y, z = ((matrix[i, j] - matrix[j, i]) / (4 * w) for i, j in ((2, 1), (0, 2), (1, 0)))
    return Quaternion(x=x, y=y, z=z, w=w)
