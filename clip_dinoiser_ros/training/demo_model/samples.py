# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Training samples: images with the share of each class in each patch."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.context import SpawnProcess
from queue import Empty
from typing import TypeVar

import cv2
import numpy as np

from clip_dinoiser_ros.world.classes import CLASSES, SEEN_CLASSES
from clip_dinoiser_ros.world.scenes import HFOV_DEG, glimpse, scene

PATCH = 16
_SEEN_INDEX = {name: SEEN_CLASSES.index(name) for name in SEEN_CLASSES}
_Drawn = TypeVar('_Drawn')


@dataclass(frozen=True)
class View:
    """A way of looking at the world; both sides are whole numbers of patches."""

    width: int
    height: int
    hfov_deg: float


# Inference is at short side 448. A quarter of those patches is enough to learn most of it: once the
# whole view at half the scale, once a part of it at full scale; then the whole at full scale.
WIDE = View(304, 224, HFOV_DEG)
NEAR = View(304, 224, 36.0)
FULL = View(592, 448, HFOV_DEG)


@dataclass(frozen=True)
class Sample:
    """One image with its targets."""

    image: np.ndarray  # uint8 RGB (H, W, 3)
    classes: np.ndarray  # int64 (n,): index into SEEN_CLASSES
    shares: np.ndarray  # float32 (n, H / 16, W / 16): part of the patch the class covers


def draw_image(seed: int, view: View) -> tuple[np.ndarray, np.ndarray]:
    """Draw one image without held-out pairs; now and then it is a little soft.

    Returns:
        uint8 RGB (H, W, 3), and uint8 (H, W): index into CLASSES.
    """
    rng = np.random.default_rng([seed, 3])
    if view.hfov_deg == HFOV_DEG and rng.random() < 0.3:
        drawn = glimpse(seed, view.width, view.height, held_out=False)
    else:
        drawn = scene(seed, view.width, view.height, view.hfov_deg, held_out=False)
    image = drawn.image
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (3, 3), float(rng.uniform(0.4, 0.8)))
    return image, drawn.labels


def make_sample(seed: int, view: View) -> Sample:
    """Draw one image and the share of each class in each of its patches."""
    image, labels = draw_image(seed, view)
    present = np.unique(labels)
    rows, cols = view.height // PATCH, view.width // PATCH
    shares = np.stack(
        [(labels == label).reshape(rows, PATCH, cols, PATCH).mean(axis=(1, 3)) for label in present]
    )
    classes = np.array([_SEEN_INDEX[CLASSES[label]] for label in present])
    return Sample(image, classes, shares.astype(np.float32))


def _produce(
    make: Callable[[int, View], _Drawn],
    plan: Sequence[tuple[int, View]],
    queue: multiprocessing.Queue,
) -> None:
    cv2.setNumThreads(1)
    for seed, view in plan:
        queue.put(make(seed, view))


def _take(queue: multiprocessing.Queue, producer: SpawnProcess) -> _Drawn:
    while True:
        alive = producer.is_alive()  # asked first: what it put before it ended is still read
        try:
            return queue.get(timeout=1.0)
        except Empty:
            if not alive:
                message = f'the process that draws images ended with code {producer.exitcode}'
                raise RuntimeError(message) from None


def stream(
    plan: Sequence[tuple[int, View]],
    make: Callable[[int, View], _Drawn] = make_sample,
    ahead: int = 256,
) -> Iterator[_Drawn]:
    """Yield what a plan makes in its order, drawn in a side process up to `ahead` of use.

    Args:
        plan: Seed and view of each image.
        make: A function of a module, of seed and view.
        ahead: How many may wait.

    Raises:
        RuntimeError: The side process ended before all was drawn.
    """
    if len(plan) < 64:  # not worth a process
        yield from (make(seed, view) for seed, view in plan)
        return
    context = multiprocessing.get_context('spawn')
    queue = context.Queue(ahead)
    producer = context.Process(target=_produce, args=(make, plan, queue), daemon=True)
    producer.start()
    try:
        for _ in plan:
            yield _take(queue, producer)
    finally:
        producer.terminate()
        producer.join()
