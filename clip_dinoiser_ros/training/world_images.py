# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Training images from generated scenes, with the true class of every pixel."""

from __future__ import annotations

from typing import Any

import numpy as np

from clip_dinoiser_ros.training.image_sources import IMAGES, TrainingImage, check_count, decode
from clip_dinoiser_ros.training.image_store import ImageStore, encode

# Different from the seeds of evaluation (below a million) and of the demo model's training.
FIRST_SCENE = 700_000_000


class WorldImages:
    """Scenes of the generated world, rendered on first use and then cached on disk.

    Args:
        count: Number of scenes.
        seed: Seed of the choice of scenes.
        width: Width of the images in pixels.
        height: Height of the images in pixels.
    """

    def __init__(
        self, count: int = IMAGES, seed: int = 0, width: int = 640, height: int = 480
    ) -> None:
        check_count(count)
        first = FIRST_SCENE + seed * 1_000_000
        self._size = (width, height)
        self._seeds = range(first, first + count)
        self._store = ImageStore()
        self._kept: dict[int, tuple[slice, tuple[slice, ...]]] = {}
        self.names = [f'scene {number}' for number in self._seeds]
        self.about: dict[str, Any] = {
            'kind': 'world',
            'first_scene': first,
            'width': width,
            'height': height,
            'used': count,
        }

    def read(self, index: int) -> TrainingImage:
        """Return a scene with the true class and instance of every pixel."""
        kept = self._kept.get(index)
        if kept is None:
            return self._draw(index)
        image, truth = kept
        planes = [decode(self._store.read(where))[..., 0] for where in truth]
        return TrainingImage(decode(self._store.read(image)), np.dstack(planes))

    def _draw(self, index: int) -> TrainingImage:
        from clip_dinoiser_ros.world.scenes import scene

        drawn = scene(self._seeds[index], *self._size)
        planes = (drawn.labels, drawn.instances)
        self._kept[index] = (
            self._store.add(encode(drawn.image)),
            tuple(self._store.add(encode(plane)) for plane in planes),
        )
        return TrainingImage(drawn.image, np.dstack(planes))
