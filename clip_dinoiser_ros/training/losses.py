# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the heads are trained for (paper, sections 3.4 and 3.5)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clip_dinoiser_ros.core.dinoiser import Heads
from clip_dinoiser_ros.training.teachers import Targets


def losses(heads: Heads, inner: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
    """Compare the heads with their teacher.

    The published code reads the cosines as logits, below 0 as 0; the paper prints plain
    cross-entropy.

    Args:
        heads: The two convolutions.
        inner: float32 (B, D, h, w), what they read.
        targets: From the teacher.

    Returns:
        Two scalars: of the affinity (equation 3) and of the foreground (equation 4).
    """
    affinity = heads.affinity(inner).clamp(min=0.0)
    objectness = heads.objectness(inner)[:, None]
    return (
        F.binary_cross_entropy_with_logits(affinity, targets.affinity.float()),
        F.binary_cross_entropy_with_logits(objectness, targets.foreground.float()),
    )


def fresh_heads(width: int, channels: int, seed: int) -> dict[str, Tensor]:
    """Return untrained heads, as PyTorch fills convolutions, drawn by a seed.

    Args:
        width: D, channels of the image tower.
        channels: A, that `obj_proj` maps to.
        seed: Decides the numbers; the global generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = nn.ModuleDict(
            {'obj_proj': nn.Conv2d(width, channels, 3), 'bkg_decoder': nn.Conv2d(width, 1, 1)}
        )
    return layers.state_dict()
