# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Where objects are and how large: boxes of what their pixels show, from a depth image."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from clip_dinoiser_ros.core.objects import Objects
from clip_dinoiser_ros.frames.cloud import sample_nearest
from clip_dinoiser_ros.frames.intrinsics import Intrinsics

Transform = npt.NDArray[np.float64]

EDGE = 3  # pixels at the edge of a mask whose depth is not used
MIN_POINTS = 10  # fewer tell nothing
MAX_POINTS = 1024  # of an object; evenly taken from all, which tell no more
GAP = 0.03  # in depth, as a fraction of it: what lies behind such a gap is another thing
MIN_GAP_M = 0.1  # the noise of near depth
TRIM = 0.02  # of the points, at each end of each axis


@dataclass(frozen=True)
class Box:
    """A box along the axes of a frame, around the visible side of an object.

    Attributes:
        centre: x, y, z, in metres.
        size: Along x, y, z, in metres.
        points: Pixels with depth that it was made from.
    """

    centre: tuple[float, float, float]
    size: tuple[float, float, float]
    points: int

    def as_deep_as_wide(self) -> Box:
        """Return the box of an object that goes on behind what is seen until it is as deep as wide.

        A camera sees the front of a thing only. Round and square things are about as deep as wide,
        so this is nearer to their centre. The box has to be in the optical frame.
        """
        x, y, z = self.centre
        width, height, depth = self.size
        whole = max(width, depth)
        return replace(self, centre=(x, y, z + (whole - depth) / 2), size=(width, height, whole))


def measure_objects(
    objects: Objects,
    depth: npt.NDArray[np.float32],
    camera: Intrinsics,
    transform: Transform | None = None,
) -> tuple[Box | None, ...]:
    """Measure where objects are and how large their visible side is.

    The points of an object are its pixels with depth. Depth at the edge of a mask often belongs to
    something else, so pixels at most `EDGE` from another object or from none are left out, unless
    nothing else is left. Of the remaining points those count whose depth is connected with the
    median without a gap. The box reaches along each axis from the share `TRIM` of the points to
    1 - `TRIM`.

    Args:
        objects: Of an image of H x W.
        depth: float32 (h, w), metres along the optical axis, NaN or infinite where there is none,
            aligned to the image. If its size differs, each pixel takes the nearest depth.
        camera: Of a rectified image of H x W.
        transform: float64 (4, 4), from the optical frame (x right, y down, z forward) into the
            frame of the boxes; None: the optical frame.

    Returns:
        The box of each object; None: too little of it has depth.
    """
    z = sample_nearest(depth, (camera.height, camera.width))
    known = np.where(np.isfinite(z), objects.instances, np.uint16(0))
    inner = known * _inside(objects.instances)
    boxes: list[Box | None] = []
    for index, found in enumerate(objects.found):
        left, top, width, height = found.box
        window = slice(top, top + height), slice(left, left + width)
        for pixels in (inner, known):
            chosen = np.flatnonzero(pixels[window] == index + 1)
            if len(chosen) >= MIN_POINTS:
                break
        else:
            boxes.append(None)
            continue
        rows, columns = np.divmod(chosen[:: -(-len(chosen) // MAX_POINTS)], width)
        points = _points(z, rows + top, columns + left, camera)
        boxes.append(_box(_connected(points), len(chosen), transform))
    return tuple(boxes)


def complete(box: Box, seen: tuple[int, int, int, int], camera: Intrinsics) -> Box:
    """Return the box of the whole thing, of which a camera sees only the visible side.

    Things are taken to be as deep as wide, as with `Box.as_deep_as_wide`, but more exactly: the
    width comes from the mask, whose edge is left out of `box`, and the thing goes on behind its
    visible side along the ray of the camera, not along the optical axis. Of a thing that the left
    or right border of the image cuts, the visible end is known, and the width is taken to be twice
    the depth of the visible side, as it is for round things.

    Args:
        box: From `measure_objects`, in the optical frame.
        seen: First column and row, width and height of the mask, in pixels.
        camera: Of the image of the mask.
    """
    _, y, z = box.centre
    _, height, depth = box.size
    left, right = float(seen[0]), float(seen[0] + seen[2])
    front = z - depth / 2
    width = (right - left) * front / camera.fx
    if (left > 0) != (right < camera.width):  # cut at one side
        width = max(width, 2 * depth)
        pixels = width * camera.fx / front
        left, right = (left, left + pixels) if left > 0 else (right - pixels, right)
    whole = max(width, depth)
    middle = front + whole / 2
    x = ((left + right - 1) / 2 - camera.cx) * middle / camera.fx
    return replace(box, centre=(x, y * middle / z, middle), size=(width, height, whole))


def _inside(instances: npt.NDArray[np.uint16]) -> npt.NDArray[np.bool_]:
    """Return the pixels that have their own object in all pixels at most `EDGE` away."""
    around = np.ones((2 * EDGE + 1, 2 * EDGE + 1), np.uint8)
    same: npt.NDArray[np.bool_] = cv2.erode(instances, around) == cv2.dilate(instances, around)
    return same


def _points(
    z: npt.NDArray[np.float32],
    rows: npt.NDArray[np.intp],
    columns: npt.NDArray[np.intp],
    camera: Intrinsics,
) -> npt.NDArray[np.float64]:
    """Return the points of pixels, float64 (3, N), metres in the optical frame."""
    depth = z[rows, columns].astype(np.float64)
    x = (columns - camera.cx) * (depth / camera.fx)
    y = (rows - camera.cy) * (depth / camera.fy)
    return np.stack([x, y, depth])


def _connected(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the points (3, N) whose depth is connected with the median by no gap."""
    points = points[:, np.argsort(points[2])]
    z = points[2]
    gaps = np.flatnonzero(np.diff(z) > np.maximum(MIN_GAP_M, GAP * z[:-1]))
    middle = len(z) // 2
    after = int(np.searchsorted(gaps, middle))
    start = int(gaps[after - 1]) + 1 if after else 0
    end = int(gaps[after]) + 1 if after < len(gaps) else len(z)
    return points[:, start:end]


def _box(points: npt.NDArray[np.float64], count: int, transform: Transform | None) -> Box:
    if transform is not None:
        points = transform[:3, :3] @ points + transform[:3, 3:]
    low, high = _ends(points)
    x, y, z = ((low + high) / 2).tolist()
    width, height, deep = (high - low).tolist()
    return Box((x, y, z), (width, height, deep), count)


def _ends(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the quantiles `TRIM` and 1 - `TRIM` of points (3, N): float64 (2, 3).

    `np.quantile` takes five times as long for so few.
    """
    ordered = np.sort(points, axis=1)
    last = ordered.shape[1] - 1
    place = np.array([TRIM, 1 - TRIM]) * last
    below = place.astype(np.intp)
    low, high = ordered[:, below], ordered[:, np.minimum(below + 1, last)]
    ends: npt.NDArray[np.float64] = (low + (place - below) * (high - low)).T
    return ends
