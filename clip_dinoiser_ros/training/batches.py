# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Batches of each iteration: images and augmentation, both determined by the seed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from clip_dinoiser_ros.training.augment import Augmentation, augment
from clip_dinoiser_ros.training.image_sources import ImageSource


@dataclass(frozen=True)
class Sampling:
    """Sampling of an iteration.

    Attributes:
        batch: Images per iteration.
        crop: Side of each in pixels.
        seed: Seed of everything random.
        augmentation: Strength of the augmentation.
    """

    batch: int = 16
    crop: int = 448
    seed: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        for name, least in (('batch', 1), ('crop', 1), ('seed', 0)):
            if getattr(self, name) < least:
                raise ValueError(f'{name} is {getattr(self, name)}; must be at least {least}')


@dataclass(frozen=True, eq=False)
class Batch:
    """The input of one iteration.

    Attributes:
        images: float32 (B, 3, H, W), RGB in [0, 1].
        truth: uint8 (B, H, W, 2), true class and instance (0: none) of each pixel, or None.
    """

    images: Tensor
    truth: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        truth = None if self.truth is None else self.truth.to(device)
        return replace(self, images=self.images.to(device), truth=truth)


def draw(count: int, sampling: Sampling, iteration: int) -> list[int]:
    """Return the indices of the images of one iteration; each image occurs once per epoch.

    Args:
        count: Number of images.
        sampling: Batch and seed.
        iteration: From 0.
    """
    first = iteration * sampling.batch
    orders: dict[int, np.ndarray] = {}
    indices = []
    for position in range(first, first + sampling.batch):
        turn, place = divmod(position, count)
        if turn not in orders:
            orders[turn] = np.random.default_rng([sampling.seed, 0, turn]).permutation(count)
        indices.append(int(orders[turn][place]))
    return indices


def make_batch(source: ImageSource, sampling: Sampling, iteration: int) -> Batch:
    """Return the batch of an iteration; deterministic."""
    images, truths = [], []
    for place, index in enumerate(draw(len(source.names), sampling, iteration)):
        rng = np.random.default_rng([sampling.seed, 1, iteration, place])
        drawn = source.read(index)
        image, truth = augment(drawn, sampling.crop, sampling.augmentation, rng)
        images.append(np.ascontiguousarray(image.transpose(2, 0, 1)))
        if truth is not None:
            truths.append(np.ascontiguousarray(truth))
    known = torch.from_numpy(np.stack(truths)) if len(truths) == len(images) else None
    return Batch(torch.from_numpy(np.stack(images)), known)


def batches(
    source: ImageSource, sampling: Sampling, first: int, stop: int, workers: int = 2
) -> Iterator[Batch]:
    """Yield the batches of iterations `first` to `stop`, prepared ahead by threads."""
    ahead: deque[Future[Batch]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for iteration in range(first, stop + workers):
            if iteration < stop:
                ahead.append(pool.submit(make_batch, source, sampling, iteration))
            if iteration >= first + workers:
                yield ahead.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
