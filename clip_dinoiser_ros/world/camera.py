# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A pinhole camera that looks over flat ground.

World: x forward at yaw 0, y left, z up, metres. Camera: the optical frame of ROS (REP 103): x
right, y down, z forward. The camera does not roll, so all rays of a row have the same height
component.
"""

from dataclasses import dataclass

import numpy as np

from clip_dinoiser_ros.frames.intrinsics import Intrinsics


@dataclass(frozen=True)
class Pose:
    """Position (metres) and direction (radians; positive pitch looks down) of the camera."""

    x: float = 0.0
    y: float = 0.0
    z: float = 1.0
    yaw: float = 0.0
    pitch: float = 0.1

    def rotation(self) -> np.ndarray:
        """Return the 3x3 rotation whose rows are the right, down and forward axes in the world."""
        cos_yaw, sin_yaw = np.cos(self.yaw), np.sin(self.yaw)
        cos_pitch, sin_pitch = np.cos(self.pitch), np.sin(self.pitch)
        return np.array(
            [
                [sin_yaw, -cos_yaw, 0.0],
                [-cos_yaw * sin_pitch, -sin_yaw * sin_pitch, -cos_pitch],
                [cos_yaw * cos_pitch, sin_yaw * cos_pitch, -sin_pitch],
            ]
        )

    def position(self) -> np.ndarray:
        """Return the optical centre in the world, float64 (3,), metres."""
        return np.array([self.x, self.y, self.z])

    def project(self, points: np.ndarray, intrinsics: Intrinsics) -> tuple[np.ndarray, np.ndarray]:
        """Project world points (N, 3) to pixels (N, 2) and depths (N,) along the optical axis."""
        local = (np.asarray(points, float) - self.position()) @ self.rotation().T
        depth = local[:, 2]
        safe = np.where(np.abs(depth) < 1e-6, 1e-6, depth)
        u = local[:, 0] / safe * intrinsics.fx + intrinsics.cx
        v = local[:, 1] / safe * intrinsics.fy + intrinsics.cy
        return np.array([u, v]).T, depth


@dataclass(frozen=True)
class Rays:
    """Ray directions scaled to unit depth: a point on a ray is `origin + depth * (x, y, z)`."""

    origin: np.ndarray  # float64 (3,), metres
    x: np.ndarray  # float32 (H, W)
    y: np.ndarray  # float32 (H, W)
    z: np.ndarray  # float32 (H, 1)

    def window(self, rows: slice, cols: slice) -> 'Rays':
        """Return the rays of a part of the image."""
        return Rays(self.origin, self.x[rows, cols], self.y[rows, cols], self.z[rows])

    def local(self, x: float, y: float, yaw: float) -> 'Rays':
        """Return the same rays in the frame of an object that stands at (x, y), turned by yaw."""
        cos, sin = np.float32(np.cos(yaw)), np.float32(np.sin(yaw))
        dx, dy = self.origin[0] - x, self.origin[1] - y
        origin = np.array([cos * dx + sin * dy, -sin * dx + cos * dy, self.origin[2]])
        return Rays(origin, cos * self.x + sin * self.y, cos * self.y - sin * self.x, self.z)


def cast_rays(intrinsics: Intrinsics, pose: Pose) -> Rays:
    """Return the ray of every pixel, in the world."""
    right, down, forward = pose.rotation().astype(np.float32)
    u = ((np.arange(intrinsics.width) - intrinsics.cx) / intrinsics.fx).astype(np.float32)
    v = ((np.arange(intrinsics.height) - intrinsics.cy) / intrinsics.fy).astype(np.float32)[:, None]
    x = (forward[0] + v * down[0]) + u * right[0]
    y = (forward[1] + v * down[1]) + u * right[1]
    return Rays(pose.position(), x, y, forward[2] + v * down[2])
