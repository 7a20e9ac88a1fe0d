# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Hyperparameters of the training; the defaults are the paper's (section 4.1)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from clip_dinoiser_ros.training.batches import Sampling


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters of the training.

    Attributes:
        iterations: Number of iterations, one batch each.
        lr_affinity: Learning rate of `obj_proj`.
        lr_foreground: Learning rate of `bkg_decoder`; much larger, since its input has unit norm.
        lr_drop_after: Iteration after which both rates are divided by ten.
        channels: A, output channels of `obj_proj`.
        sampling: Sampling of each iteration.
    """

    iterations: int = 6000
    lr_affinity: float = 5e-5
    lr_foreground: float = 1e-2
    lr_drop_after: int = 5000
    channels: int = 256
    sampling: Sampling = field(default_factory=Sampling)

    def __post_init__(self) -> None:
        for name, least in (('iterations', 1), ('lr_drop_after', 0), ('channels', 1)):
            if getattr(self, name) < least:
                raise ValueError(f'{name} is {getattr(self, name)}; must be at least {least}')
        for name in ('lr_affinity', 'lr_foreground'):
            if not 0.0 < getattr(self, name) < math.inf:
                raise ValueError(f'{name} is {getattr(self, name)}; must be positive')

    def learning_rates(self, iteration: int) -> tuple[float, float]:
        """Return the rates of `obj_proj` and `bkg_decoder` in an iteration, counted from 0."""
        factor = 0.1 if iteration >= self.lr_drop_after else 1.0
        return self.lr_affinity * factor, self.lr_foreground * factor
