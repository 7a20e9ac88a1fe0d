# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The methods with which CLIP-DINOiser is compared (paper, section 3.1 and Table 1)."""

from __future__ import annotations

from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor

from clip_dinoiser_ros.core.backbone import Keys
from clip_dinoiser_ros.core.dinoiser import class_scores

Method = Literal['dinoiser', 'maskclip', 'maskclip-keys']
METHODS: tuple[str, ...] = get_args(Method)


def check_method(method: Method) -> Keys | None:
    """Return which keys of the image tower a method reads.

    Raises:
        ValueError: There is no such method.
    """
    if method not in METHODS:
        raise ValueError(f'method is {method!r}; allowed: {", ".join(METHODS)}')
    return 'projected' if method == 'maskclip-keys' else None


def refined_by_keys(
    features: Tensor, keys: Tensor, embeddings: Tensor, denoising: float = 0.0
) -> Tensor:
    """Refine MaskCLIP's predictions by its keys (MaskCLIP, arXiv 2112.01071, section 3.3).

    As in its published code, each channel of the keys is normalised over the patches, and the
    weights are neither cut off nor divided by their sum. So results may exceed 1 or be negative.

    Args:
        features: float32 (B, C, h, w), MaskCLIP's.
        keys: (B, D, h, w), 'projected'.
        embeddings: float32 (K, C), unit rows.
        denoising: Classes that no patch of the image shows with this probability are left out
            (prompt denoising); 0: none.

    Returns:
        float32 (B, K, h, w).
    """
    scores = class_scores(features, embeddings)
    if denoising > 0:
        absent = scores.softmax(dim=1).amax(dim=(2, 3), keepdim=True) < denoising
        scores = scores.masked_fill(absent, -1e4)
    probabilities = scores.softmax(dim=1)
    unit = F.normalize(keys.float().flatten(2), dim=2)  # (B, D, N)
    refined = probabilities.flatten(2) @ (unit.transpose(1, 2) @ unit)  # (B, K, N)
    uncertain = probabilities.amax(dim=1, keepdim=True) < 1.0
    return refined.reshape(probabilities.shape).where(uncertain, probabilities)


def as_distribution(refined: Tensor) -> Tensor:
    """Clip numbers at 0 and scale them to sum to 1, as confidence and smoothing require."""
    refined = refined.clamp(min=0.0)
    return refined / refined.sum(dim=1, keepdim=True).clamp_(min=1e-12)
