# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A teacher that needs no weights, and images to learn from it; also run by a side process."""

import sys
import time
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from clip_dinoiser_ros.training.teachers import Targets


class ColourTeacher:
    """Patches of the same colour belong together; what is red is an object.

    Args:
        block_after: After so many batches it writes a file and waits for ever.
        ready: That file.
    """

    def __init__(self, block_after=None, ready=None):
        self.about = {'kind': 'colour'}
        self._left, self._ready = block_after, ready

    def __call__(self, batch, grid):
        if self._left == 0:
            Path(self._ready).touch()
            time.sleep(600)
        self._left = None if self._left is None else self._left - 1
        mean = F.adaptive_avg_pool2d(batch.images, grid)
        red = (mean[:, :1] > mean[:, 2:]).flatten(2)
        return Targets(red.transpose(1, 2) == red, red.unflatten(2, grid))


def write_images(folder, count=6, size=64):
    """Write images, each half red and half blue."""
    folder.mkdir(parents=True)
    for index in range(count):
        rng = np.random.default_rng(index)
        image = rng.integers(0, 60, (size, size + 16, 3), dtype=np.uint8)
        edge = int(rng.integers(size // 3, size))
        image[:, :edge, index % 2 * 2] += 180
        image[:, edge:, 2 - index % 2 * 2] += 180
        cv2.imwrite(str(folder / f'{index}.png'), image)
    return folder


def train_and_block(clip_files, images, out, iterations, every, block_after, ready):
    """Train as the test does, until the teacher blocks."""
    from clip_dinoiser_ros.core.weights import load_clip
    from clip_dinoiser_ros.training import Running, train
    from clip_dinoiser_ros.training.image_sources import FolderImages

    torch.set_num_threads(1)
    clip, _ = load_clip(*clip_files)
    teacher = ColourTeacher(int(block_after), ready)
    running = Running(device='cpu', checkpoint_every=int(every))
    train(clip, FolderImages(images), teacher, out, small_recipe(int(iterations)), running)


def small_recipe(iterations=10, **changes):
    from clip_dinoiser_ros.training import Recipe
    from clip_dinoiser_ros.training.batches import Sampling

    sampling = Sampling(batch=2, crop=48, seed=3)
    rates = {'lr_affinity': 1e-3, 'lr_foreground': 0.05, 'lr_drop_after': 8, 'channels': 16}
    return Recipe(iterations=iterations, sampling=sampling, **{**rates, **changes})


if __name__ == '__main__':
    train_and_block(sys.argv[1:3], *sys.argv[3:])
