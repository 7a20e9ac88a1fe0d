# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""CLIP-DINOiser's two convolutions and the computations on their outputs (ECCV 2024, section 3)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GAMMA = 0.2  # affinities below it are left out of the pooling (paper, section 4.1)
DELTA = 0.99  # patches with a lower probability may become background (paper, section 4.1)
TEMPERATURE = 100.0  # of the class scores, CLIP's own


class Heads(nn.Module):
    """The two light convolutions, which read the inner features of the image tower.

    Args:
        weights: Exactly the tensors `obj_proj.weight` (A, D, 3, 3), `obj_proj.bias` (A,),
            `bkg_decoder.weight` (1, D, 1, 1), `bkg_decoder.bias` (1,).
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        a, d = weights['obj_proj.weight'].shape[:2]
        self.obj_proj = nn.Conv2d(d, a, 3, padding=1, padding_mode='replicate')
        self.bkg_decoder = nn.Conv2d(d, 1, 1)
        self.load_state_dict(dict(weights), strict=True)
        self.eval().requires_grad_(False)

    def affinity(self, inner: Tensor) -> Tensor:
        """Predict which patches belong together (equation 2), before the threshold.

        Args:
            inner: (B, D, h, w).

        Returns:
            float32 (B, N, N), N = h * w: cosines in [-1, 1].
        """
        projected = F.normalize(self.obj_proj(inner).float().flatten(2), dim=1)  # (B, A, N)
        affinity: Tensor = projected.transpose(1, 2) @ projected
        return affinity

    def objectness(self, inner: Tensor) -> Tensor:
        """Predict where objects are (section 3.5): logits, float32 (B, h, w) from (B, D, h, w)."""
        unit = inner / inner.float().norm(dim=1, keepdim=True).to(inner.dtype)
        logits: Tensor = self.bkg_decoder(unit)[:, 0].float()
        return logits


def guided_pooling(features: Tensor, affinity: Tensor, gamma: float | Tensor = GAMMA) -> Tensor:
    """Average the features of patches that belong together (equation 1).

    Args:
        features: float32 (B, C, h, w).
        affinity: float32 (B, N, N), N = h * w; overwritten.
        gamma: Affinities below it count as 0; a number, or a float32 tensor without dimensions.

    Returns:
        float32 (B, C, h, w).
    """
    weights = affinity.masked_fill_(affinity < gamma, 0.0)
    pooled = features.flatten(2) @ weights.transpose(1, 2)  # (B, C, N) x (B, N, N)
    pooled = pooled / (weights.sum(dim=2)[:, None] + 1e-6)
    return pooled.reshape(features.shape)


def class_scores(features: Tensor, embeddings: Tensor) -> Tensor:
    """Compare features with the text embeddings of the classes (section 3.1).

    Args:
        features: float32 (B, C, h, w).
        embeddings: float32 (K, C), unit rows.

    Returns:
        float32 (B, K, h, w): cosines times `TEMPERATURE`.
    """
    b, _, h, w = features.shape
    unit = F.normalize(features.flatten(2), dim=1)  # (B, C, N)
    scores: Tensor = TEMPERATURE * (embeddings @ unit)  # (B, K, N)
    return scores.reshape(b, -1, h, w)


def class_probabilities(features: Tensor, embeddings: Tensor) -> Tensor:
    """Return the softmax of `class_scores`, float32 (B, K, h, w), summing to 1 over the classes."""
    return class_scores(features, embeddings).softmax(dim=1)


def background_patches(probabilities: Tensor, objectness: Tensor, delta: float = DELTA) -> Tensor:
    """Find the patches where CLIP is not certain and the objectness is low (section 3.5).

    Args:
        probabilities: float32 (B, K, h, w).
        objectness: float32 (B, h, w), logits.
        delta: Patches whose greatest probability is at least this are never background.

    Returns:
        bool (B, h, w), true where the patch becomes background.
    """
    uncertain = probabilities.amax(dim=1) < delta
    return uncertain & (torch.sigmoid(objectness) <= 0.5)
