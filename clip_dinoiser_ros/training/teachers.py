# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Teachers of the two heads: which patches belong together, and where objects are.

`dino` (dino.py) works on any image; `world`, here, uses the true labels of generated scenes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from clip_dinoiser_ros.training.batches import Batch


class TeacherError(ValueError):
    """A teacher is not available, or cannot teach from these images."""


@dataclass(frozen=True, eq=False)
class Targets:
    """Targets of the heads.

    Attributes:
        affinity: bool or float (B, N, N), N = h * w: 1 if two patches belong together.
        foreground: bool or float (B, 1, h, w): 1 if a patch shows an object.
    """

    affinity: Tensor
    foreground: Tensor


class Teacher(Protocol):
    """Makes the targets of the two heads. Frozen: equal batches give equal targets."""

    about: dict[str, Any]  # for the record; a resumed training must have the same teacher

    def __call__(self, batch: Batch, grid: tuple[int, int]) -> Targets:
        """Return the targets.

        Args:
            batch: RGB in [0, 1], not normalised, on the device of the training.
            grid: (h, w), the patches of CLIP.
        """
        ...


class WorldTeacher:
    """Makes the targets from the true labels of generated scenes.

    The class of a patch is that of most of its pixels. Patches of ground, wall or sky belong
    together if they have the same class.

    Args:
        together: Whether two objects of the same class belong together, or only patches of the
            same object.
    """

    def __init__(self, together: Literal['class', 'instance'] = 'class') -> None:
        self._together = together
        self.about: dict[str, Any] = {'kind': 'world', 'together': together}

    def __call__(self, batch: Batch, grid: tuple[int, int]) -> Targets:
        """Return the targets; raises TeacherError for images without true labels."""
        if batch.truth is None:
            raise TeacherError(
                'the world teacher needs the true labels of generated scenes, which these images '
                'do not have; use the dino teacher'
            )
        truth = batch.truth.long()
        classes, instances = truth[..., 0], truth[..., 1]
        key = classes if self._together == 'class' else classes * 256 + instances
        patches = _patches(key, grid).mode(dim=-1).values.flatten(1)  # (B, N)
        things = (_patches(instances, grid) > 0).float().mean(dim=-1)  # (B, h, w)
        return Targets(
            affinity=patches[:, :, None] == patches[:, None, :],
            foreground=things[:, None] > 0.5,
        )


def _patches(values: Tensor, grid: tuple[int, int]) -> Tensor:
    """Divide (B, H, W) into patches: (B, h, w, pixels)."""
    b, height, width = values.shape
    h, w = grid
    blocks = values.reshape(b, h, height // h, w, width // w)
    return torch.movedim(blocks, 3, 2).flatten(3)
