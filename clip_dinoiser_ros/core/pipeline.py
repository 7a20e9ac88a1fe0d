# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The stages of one batch on the device: from pixels to class probabilities of every patch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from clip_dinoiser_ros.core import dinoiser, methods
from clip_dinoiser_ros.core.backbone import Backbone, DenseFeatures
from clip_dinoiser_ros.core.preprocess import Preprocess


@dataclass(frozen=True, eq=False)
class Query:
    """The input of the pipeline, apart from the pixels.

    Attributes:
        embeddings: float32 (K, C), unit rows, on the device.
        background: Index of the class that receives the background filter; None: no filter.
        gamma: Affinities below it are left out of the pooling.
        delta: Probability below which the background filter may apply.
        with_features: Also return what the classes are found from.
    """

    embeddings: Tensor
    background: int | None
    gamma: float
    delta: float
    with_features: bool = False


class Pooled(NamedTuple):
    """The features of a batch before they are compared with classes; float32, on the device.

    Attributes:
        features: (B, C, h, w), averaged over patches that belong together.
        objectness: (B, h, w), logits; None: not requested.
        keys: (B, D, h, w); None for methods that do not read them.
    """

    features: Tensor
    objectness: Tensor | None
    keys: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Answer:
    """The output of the pipeline for a batch, float32, on the device.

    Attributes:
        probabilities: (B, K, h, w); 1.0 for the background class where its filter applies.
        background_confidence: (B, h, w), the confidence where the background class wins: where the
            filter applies, 1 - objectness. None without the filter.
        features: float16 (B, C, h, w), pooled, of unit length; None: not requested.
        objectness: (B, h, w) in [0, 1]; None: not requested.
    """

    probabilities: Tensor
    background_confidence: Tensor | None
    features: Tensor | None = None
    objectness: Tensor | None = None

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
        method: 'dinoiser'. For comparison: 'maskclip' does not pool; 'maskclip-keys' refines by
            keys, which the backbone must return.
    """

    def __init__(
        self,
        preprocess: Preprocess,
        backbone: Backbone,
        heads: dinoiser.Heads,
        method: methods.Method = 'dinoiser',
    ) -> None:
        self.preprocess = preprocess
        self.backbone = backbone
        self.heads = heads
        self.method = method

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
        with_objectness = query.background is not None or query.with_features
        return self.compare(self.pool(features, query.gamma, with_objectness), query)

    def pool(
        self, features: DenseFeatures, gamma: float | Tensor, with_objectness: bool = True
    ) -> Pooled:
        """Average features over patches that belong together, and find where objects are."""
        dense = features.maskclip.float()
        if self.method == 'dinoiser':
            dense = dinoiser.guided_pooling(dense, self.heads.affinity(features.inner), gamma)
        objectness = self.heads.objectness(features.inner) if with_objectness else None
        return Pooled(dense, objectness, features.keys)

    def compare(self, pooled: Pooled, query: Query) -> Answer:
        """Compare pooled features with the classes, and filter the background if one is named."""
        answer = self._compare(pooled, query)
        if not query.with_features or pooled.objectness is None:
            return answer
        unit = F.normalize(pooled.features, dim=1).half()  # a copy: a graph reuses its output
        return replace(answer, features=unit, objectness=torch.sigmoid(pooled.objectness))

    def _compare(self, pooled: Pooled, query: Query) -> Answer:
        probabilities = self._probabilities(pooled, query.embeddings)
        objectness = pooled.objectness
        if query.background is None or objectness is None:
            return Answer(probabilities, None)
        is_background = dinoiser.background_patches(probabilities, objectness, query.delta)
        own = probabilities[:, query.background]
        confidence = torch.where(is_background, 1.0 - torch.sigmoid(objectness), own)
        own.masked_fill_(is_background, 1.0)  # a view, so this changes the probabilities
        return Answer(probabilities, confidence)

    def _probabilities(self, pooled: Pooled, embeddings: Tensor) -> Tensor:
        if pooled.keys is None:
            return dinoiser.class_probabilities(pooled.features, embeddings)
        refined = methods.refined_by_keys(pooled.features, pooled.keys, embeddings)
        return methods.as_distribution(refined)
