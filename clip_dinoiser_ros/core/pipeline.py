# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""From pixels to class probabilities of every patch: the stages of one batch, on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clip_dinoiser_ros.core import dinoiser
from clip_dinoiser_ros.core.backbone import Backbone, DenseFeatures
from clip_dinoiser_ros.core.preprocess import Preprocess


@dataclass(frozen=True, eq=False)
class Query:
    """The input of the pipeline, apart from the pixels.

    Attributes:
        embeddings: float32 (K, C), unit rows, on the device.
        background: Index of the class that receives the background filter; None: no filter.
        gamma: Affinities below it do not take part in the pooling.
        delta: Probability below which the background filter may apply.
    """

    embeddings: Tensor
    background: int | None
    gamma: float
    delta: float


@dataclass(frozen=True, eq=False)
class Answer:
    """The output of the pipeline for a batch, float32, on the device.

    Attributes:
        probabilities: (B, K, h, w); 1.0 for the background class where its filter applies.
        background_confidence: (B, h, w), the confidence where the background class wins: where the
            filter applies, 1 - objectness. None without the filter.
    """

    probabilities: Tensor
    background_confidence: Tensor | None

    def images(self) -> list[tuple[Tensor, Tensor | None]]:
        """Return probabilities (K, h, w) and background confidence (h, w) of every image."""
        if self.background_confidence is None:
            return [(own, None) for own in self.probabilities]
        return list(zip(self.probabilities, self.background_confidence, strict=True))


class Pipeline:
    """The stages in order; none of them waits for the device.

    Args:
        preprocess: Pixels -> batch.
        backbone: Batch -> dense features.
        heads: The two convolutions, in the dtype of the backbone.
    """

    def __init__(self, preprocess: Preprocess, backbone: Backbone, heads: dinoiser.Heads) -> None:
        self.preprocess = preprocess
        self.backbone = backbone
        self.heads = heads

    def parts(self, pixels: Tensor) -> Sequence[Tensor]:
        """Split (B, H, W, 3) into parts that are computed at once.

        A GPU computes the whole batch. A CPU computes one image at a time, so that the activations
        stay in its caches.
        """
        return pixels.split(1) if pixels.device.type == 'cpu' else (pixels,)

    def __call__(self, pixels: Tensor, query: Query) -> Answer:
        """Segment uint8 pixels (B, H, W, 3) at patch resolution."""
        return self.classify(self.backbone(self.preprocess(pixels)), query)

    def classify(self, features: DenseFeatures, query: Query) -> Answer:
        """Pool the features, compare them with the classes, filter the background."""
        affinity = self.heads.affinity(features.inner)
        pooled = dinoiser.guided_pooling(features.maskclip.float(), affinity, query.gamma)
        probabilities = dinoiser.class_probabilities(pooled, query.embeddings)
        if query.background is None:
            return Answer(probabilities, None)
        objectness = self.heads.objectness(features.inner)
        struck = dinoiser.background_patches(probabilities, objectness, query.delta)
        own = probabilities[:, query.background]
        confidence = torch.where(struck, 1.0 - torch.sigmoid(objectness), own)
        own.masked_fill_(struck, 1.0)  # a view: changes the probabilities
        return Answer(probabilities, confidence)
