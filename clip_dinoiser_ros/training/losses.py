# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The losses of the two heads (paper, sections 3.4 and 3.5)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clip_dinoiser_ros.core.dinoiser import Heads
from clip_dinoiser_ros.training.teachers import Targets


def losses(heads: Heads, inner: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
    """Return the losses of the heads against their teacher.

    As in the published code, cosines are clamped to at least 0 and used as logits; the paper has
    plain cross-entropy.

    Args:
        heads: The two convolutions.
        inner: float32 (B, D, h, w), input of the heads.
        targets: Targets of the teacher.

    Returns:
        Two scalars: affinity loss (equation 3) and foreground loss (equation 4).
    """
    affinity = heads.affinity(inner).clamp(min=0.0)
    objectness = heads.objectness(inner)[:, None]
    return (
        F.binary_cross_entropy_with_logits(affinity, targets.affinity.float()),
        F.binary_cross_entropy_with_logits(objectness, targets.foreground.float()),
    )


def fresh_heads(width: int, channels: int, seed: int) -> dict[str, Tensor]:
    """Return untrained heads with PyTorch's default initialisation of convolutions.

    Args:
        width: D, channels of the image tower.
        channels: A, output channels of `obj_proj`.
        seed: Seed of the weights; the global generator is not changed.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = nn.ModuleDict(
            {'obj_proj': nn.Conv2d(width, channels, 3), 'bkg_decoder': nn.Conv2d(width, 1, 1)}
        )
    return layers.state_dict()
