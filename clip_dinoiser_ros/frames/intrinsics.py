# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The pinhole camera of an image, from a CameraInfo, scaled to a size.

Pixel centres are at whole numbers, as in ROS and OpenCV: the left edge of an image is at -0.5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


class CameraInfoError(ValueError):
    """A CameraInfo that does not fit the image; says what was given and what is expected."""


@dataclass(frozen=True)
class Intrinsics:
    """Pinhole intrinsics in pixels; pixel centres are at whole numbers."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float

    @classmethod
    def from_fov(cls, width: int, height: int, hfov_deg: float) -> Intrinsics:
        """Return a camera with square pixels and the given horizontal field of view."""
        f = width / 2 / np.tan(np.radians(hfov_deg) / 2)
        return cls(width, height, float(f), float(f), (width - 1) / 2, (height - 1) / 2)

    def matrix(self) -> npt.NDArray[np.float64]:
        """Return the 3x3 camera matrix, float64, as `sensor_msgs/CameraInfo.k` holds it."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]])


@dataclass(frozen=True, eq=False)
class Matrices:
    """The matrices of a CameraInfo for an image of a given size.

    Attributes:
        k: float64 (3, 3), of the unrectified image.
        p: float64 (3, 4), of the rectified image.
        size: (H, W) of the image, in pixels.
    """

    k: npt.NDArray[np.float64]
    p: npt.NDArray[np.float64]
    size: tuple[int, int]

    def rectified(self) -> Intrinsics:
        """Return the pinhole camera of the rectified image."""
        height, width = self.size
        fx, fy, cx, cy = (float(self.p[i]) for i in ((0, 0), (1, 1), (0, 2), (1, 2)))
        return Intrinsics(width, height, fx, fy, cx, cy)


def matrices(
    info: Any, size: tuple[int, int], image_size: tuple[int, int] | None = None
) -> Matrices:
    """Scale K and P of a CameraInfo to the same image at another size.

    `roi` and `binning` are taken into account. The scaling keeps the corners
    of the image, which lie half a pixel outside of its outermost centres: f' = s f and
    c' = s (c + 0.5) - 0.5. (The resize node of image_proc leaves the half pixels out.)

    One of K and P suffices: they are the same for an undistorted image.

    Args:
        info: Anything with the fields of `sensor_msgs/msg/CameraInfo`.
        size: (H, W) of the image, in pixels.
        image_size: (H, W) as the camera sends it, for a CameraInfo without width and height (0);
            None: as `size`.

    Raises:
        CameraInfoError: It is not calibrated, or has other proportions than the image.
    """
    k = np.array(info.k, np.float64).reshape(3, 3)
    p = np.array(info.p, np.float64).reshape(3, 4)
    if not _has_focal_lengths(k):
        if not _has_focal_lengths(p):
            raise CameraInfoError(
                f'the camera is not calibrated: camera_info has focal lengths {k[0, 0]:g} and '
                f'{k[1, 1]:g} in k, {p[0, 0]:g} and {p[1, 1]:g} in p; one pair must be above 0'
            )
        k = p[:, :3]
    elif not _has_focal_lengths(p):  # from a driver that does not rectify
        p = np.hstack([k, np.zeros((3, 1))])
    roi = info.roi
    sent_height, sent_width = image_size or size
    full_height = sent_height * max(1, info.binning_y)
    full_width = sent_width * max(1, info.binning_x)
    height = _pixels_read(roi.height or info.height or full_height, info.binning_y)
    width = _pixels_read(roi.width or info.width or full_width, info.binning_x)
    if not same_proportions((height, width), size):
        raise CameraInfoError(
            f'camera_info is for {width}x{height}, but the image is {size[1]}x{size[0]}; they must '
            'have the same aspect ratio'
        )
    scale_y, scale_x = size[0] / height, size[1] / width
    moved = np.array(
        [
            [scale_x, 0.0, scale_x * (0.5 - roi.x_offset) - 0.5],
            [0.0, scale_y, scale_y * (0.5 - roi.y_offset) - 0.5],
            [0.0, 0.0, 1.0],
        ]
    )
    return Matrices(moved @ k, moved @ p, size)


def same_proportions(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Return whether two sizes (H, W) have the same proportions, up to rounding to a pixel."""
    crossed = abs(one[0] * other[1] - one[1] * other[0])
    return min(*one, *other) > 0 and crossed <= max(sum(one), sum(other))


def _has_focal_lengths(matrix: npt.NDArray[np.float64]) -> bool:
    return bool(np.isfinite(matrix).all()) and matrix[0, 0] > 0 and matrix[1, 1] > 0


def _pixels_read(length: int, binning: int) -> int:
    """Return the pixels of the sensor along a side; a binning of 0 means none."""
    binning = max(1, binning)
    return length // binning * binning
