# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The part of an image that is segmented: a rectangle or a polygon."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

EVERYTHING = (0.0, 0.0, 1.0, 1.0)
MAX_CORNERS = 100  # each corner costs one pass over the image


class RegionError(ValueError):
    """A region that cannot be used; says what was given and what is allowed."""


def check_region(region: Sequence[float]) -> None:
    """Check a region.

    Args:
        region: Fractions of width and height: x0, y0, x1, y1 of two corners of a rectangle, the
            upper left one first, or x and y of the corners of a polygon, three or more. Empty:
            everything.

    Raises:
        RegionError: The region cannot be used; says why.
    """
    if not region:
        return
    if len(region) % 2 or not 4 <= len(region) <= 2 * MAX_CORNERS:
        raise RegionError(
            f'a list of {len(region)} numbers; give x0, y0, x1, y1 of a rectangle, or x and y of 3 '
            f'to {MAX_CORNERS} corners'
        )
    given = f'[{", ".join(f"{value:g}" for value in region)}]'
    if not all(0.0 <= value <= 1.0 for value in region):
        raise RegionError(
            f'{given}: every number is a fraction of width or height, must be between 0 and 1'
        )
    if len(region) == 4 and not (region[0] < region[2] and region[1] < region[3]):
        raise RegionError(
            f'{given}: the upper left corner of a rectangle must come first, x0 < x1 and y0 < y1'
        )
    if math.isclose(_area(region), 0.0, abs_tol=1e-9):
        raise RegionError(f'{given} has no area')


@lru_cache(maxsize=32)
def region_mask(region: tuple[float, ...], size: tuple[int, int]) -> npt.NDArray[np.bool_] | None:
    """Return the pixels of an image whose centres lie in a region.

    Args:
        region: Checked by `check_region`. Where a polygon crosses itself, the area that it
            surrounds twice is outside.
        size: (H, W) of the image.

    Returns:
        bool (H, W), read-only; None: all pixels.
    """
    if not region or region == EVERYTHING:
        return None
    height, width = size
    u = (np.arange(width) + 0.5) / width
    v = (np.arange(height)[:, None] + 0.5) / height
    inside = np.zeros(size, np.bool_)
    corners = _corners(region)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y0 == y1:
            continue
        # a ray from the centre to the right crosses an edge for every step into or out of it
        rows = (v > min(y0, y1)) & (v <= max(y0, y1))
        inside ^= rows & (u < x0 + (v - y0) * ((x1 - x0) / (y1 - y0)))
    inside.flags.writeable = False
    return inside


def _corners(region: Sequence[float]) -> npt.NDArray[np.float64]:
    """Return the corners (n, 2), x and y, in their order."""
    if len(region) == 4:
        x0, y0, x1, y1 = region
        region = (x0, y0, x1, y0, x1, y1, x0, y1)
    return np.array(region, np.float64).reshape(-1, 2)


def _area(region: Sequence[float]) -> float:
    """Return the area of a polygon, as a fraction of the image."""
    x, y = _corners(region).T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2
