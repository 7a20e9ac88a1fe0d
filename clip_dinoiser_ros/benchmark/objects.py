# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Time to find and track the objects of a label image."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from clip_dinoiser_ros.core.objects import find_objects
from clip_dinoiser_ros.core.tracking import Tracking
from clip_dinoiser_ros.frames.boxes import measure_objects
from clip_dinoiser_ros.frames.intrinsics import Intrinsics

SURFACES = 3  # wall, floor and a road: one object each
CLASSES = 10  # classes of the objects on them
ROUNDS = 100


def crowded_labels(size: tuple[int, int], things: int) -> npt.NDArray[np.uint8]:
    """Draw a label image (H, W) with three surfaces and a grid of discs, each with a hole."""
    height, width = size
    labels = np.zeros(size, np.uint8)
    labels[height // 3 :] = 1
    road = np.array([[0, height], [width // 2, height // 3], [width - 1, height]], np.int32)
    cv2.fillConvexPoly(labels, road, 2)
    columns = int(np.ceil(np.sqrt(things * width / height)))
    cell = width // columns
    for index in range(things):
        row, column = divmod(index, columns)
        centre = (cell // 2 + column * cell, cell // 2 + row * cell)
        cv2.circle(labels, centre, cell // 3, SURFACES + index % CLASSES, cv2.FILLED)
        cv2.circle(labels, centre, 3, 0, cv2.FILLED)
    return labels


def time_objects(
    size: tuple[int, int] = (480, 640),
    things: int = 20,
    rounds: int = ROUNDS,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[int, float, float, float]:
    """Measure the time to find, to track and to locate objects.

    Args:
        size: Size (H, W) of the label image.
        things: Number of objects apart from the surfaces.
        rounds: Number of repetitions.
        clock: Clock in seconds.

    Returns:
        The number of objects, and the medians of the times in milliseconds.
    """
    labels = crowded_labels(size, things)
    confidence = np.full(size, 0.5, np.float32)
    classes = range(SURFACES + CLASSES)
    tracking = Tracking()
    camera = Intrinsics.from_fov(size[1], size[0], 64.0)
    depth = np.random.default_rng(0).normal(3.0, 0.02, size).astype(np.float32)
    found_ms, followed_ms, located_ms = [], [], []
    for _ in range(rounds):
        start = clock()
        objects = find_objects(labels, confidence, classes)
        middle = clock()
        tracking.follow('camera', 0, objects, [str(one.label) for one in objects.found])
        found_ms.append(1e3 * (middle - start))
        end = clock()
        followed_ms.append(1e3 * (end - middle))
        measure_objects(objects, depth, camera)
        located_ms.append(1e3 * (clock() - end))
    return (
        len(objects.found),
        statistics.median(found_ms),
        statistics.median(followed_ms),
        statistics.median(located_ms),
    )
