# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Two other filters that sharpen labels along edges, for comparison with `core.edges`.

Both work on the same cells. The node does not use them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from clip_dinoiser_ros.core.edges import CELLS
from clip_dinoiser_ros.core.segmentation import Patches
from clip_dinoiser_ros.core.upsample import enlarge_maps

Maps = npt.NDArray[np.float32]
RADIUS = 4  # radius of both windows, in cells
GUIDE_EPSILON = 1e-3  # variance of colours in [0, 1] that counts as an edge
COLOUR_SIGMA = 0.1  # colours in [0, 1]
SPACE_SIGMA = 2.0  # cells


def guided(maps: Maps, image: Maps) -> Maps:
    """Filter by a colour guide (He, Sun and Tang, Guided Image Filtering, ECCV 2010).

    Args:
        maps: float32 (h, w, K).
        image: float32 (h, w, 3), 0 to 1.

    Returns:
        float32 (h, w, K).
    """
    mean, mean_of_maps = _box(image), _box(maps)
    products = _box(image[..., :, None] * image[..., None, :])
    covariance = products - mean[..., :, None] * mean[..., None, :]
    across = _box(image[..., :, None] * maps[..., None, :])
    across -= mean[..., :, None] * mean_of_maps[..., None, :]
    slope = np.linalg.solve(covariance + GUIDE_EPSILON * np.eye(3, dtype=np.float32), across)
    offset = mean_of_maps - np.einsum('hwc,hwck->hwk', mean, slope)
    result: Maps = np.einsum('hwc,hwck->hwk', image, _box(slope)) + _box(offset)
    return result.clip(0.0, None)


def bilateral(maps: Maps, image: Maps) -> Maps:
    """Average neighbours by similarity of colour and by distance; arguments as for `guided`."""
    total = np.zeros_like(maps)
    weights = np.zeros((*maps.shape[:2], 1), np.float32)
    height, width = maps.shape[:2]
    edge = ((RADIUS, RADIUS), (RADIUS, RADIUS), (0, 0))
    wide_maps, wide_image = np.pad(maps, edge, 'edge'), np.pad(image, edge, 'edge')
    for down in range(2 * RADIUS + 1):
        for right in range(2 * RADIUS + 1):
            there = (slice(down, down + height), slice(right, right + width))
            apart = ((wide_image[there] - image) ** 2).sum(axis=2, keepdims=True)
            distance = (down - RADIUS) ** 2 + (right - RADIUS) ** 2
            weight = np.exp(-apart / (2 * COLOUR_SIGMA**2) - distance / (2 * SPACE_SIGMA**2))
            total += weight * wide_maps[there]
            weights += weight
    return total / weights


FILTERS: dict[str, Callable[[Maps, Maps], Maps]] = {
    'guided filter': guided,
    'joint bilateral': bilateral,
}


def refine_by(patches: Patches, image: npt.NDArray[np.uint8], name: str) -> Patches:
    """Sharpen labels with one of `FILTERS`, as `core.edges.refine` does.

    Args:
        patches: From `Segmenter.segment_patches`.
        image: uint8 (H, W, 3) RGB.
        name: Key of `FILTERS`.
    """
    size = (round(CELLS * patches.extent[0]), round(CELLS * patches.extent[1]))
    cells = enlarge_maps(patches.probabilities, size, patches.extent)
    guide = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    maps = np.ascontiguousarray(cells.permute(1, 2, 0).cpu().numpy())
    found = FILTERS[name](maps, guide).transpose(2, 0, 1)
    return replace(
        patches,
        probabilities=torch.from_numpy(np.ascontiguousarray(found)),
        background_confidence=None,
        extent=(float(size[0]), float(size[1])),
    )


def _box(values: Any) -> Any:
    """Average over windows of (2 RADIUS + 1) x (2 RADIUS + 1) cells, any number of channels."""
    flat = values.reshape(*values.shape[:2], -1)
    side = 2 * RADIUS + 1
    means = [
        cv2.blur(flat[..., i : i + 4], (side, side), borderType=cv2.BORDER_REFLECT_101).reshape(
            *flat.shape[:2], -1
        )
        for i in range(0, flat.shape[2], 4)
    ]
    return np.concatenate(means, axis=2).reshape(values.shape)
