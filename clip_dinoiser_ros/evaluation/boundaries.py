# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Quality near edges: the same counts, only of pixels close to an edge of the true labels.

Such a band is called a trimap. Costs in a map change at these edges, but a mean over all pixels
hardly reflects them.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from clip_dinoiser_ros.evaluation.metric import Counts, Labels

WIDTHS = (1, 2, 4, 8, 16)  # pixels


def edge_distance(truth: Labels) -> npt.NDArray[np.float32]:
    """Return the distance of each pixel to the nearest edge, float32 (H, W), in pixels.

    A pixel with a different true label above, below, left or right of it has distance 1. Borders of
    ignored areas are edges too. If there is no edge, all distances are infinite.
    """
    inner = np.ones(truth.shape, np.uint8)
    down, right = truth[1:] != truth[:-1], truth[:, 1:] != truth[:, :-1]
    inner[1:][down] = 0
    inner[:-1][down] = 0
    inner[:, 1:][right] = 0
    inner[:, :-1][right] = 0
    if inner.all():
        return np.full(truth.shape, np.inf, np.float32)
    distance: Any = cv2.distanceTransform(inner, cv2.DIST_L2, 5)
    return distance + np.float32(1)


def count_near_edges(truth: Labels, predicted: Labels, classes: int) -> dict[int, Counts]:
    """Count the pixels within each of `WIDTHS` of an edge; arguments as of `Counts.of`."""
    distance = edge_distance(truth)
    near = distance <= WIDTHS[-1]
    truth, predicted, distance = truth[near], predicted[near], distance[near]
    total, found, reached = Counts.zero(classes), {}, 0
    for width in WIDTHS:
        ring = (distance > reached) & (distance <= width)
        total += Counts.of(truth[ring], predicted[ring], classes)
        found[width], reached = total, width
    return found
