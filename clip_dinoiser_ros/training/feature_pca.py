# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Components that shorten the features of a model, learned on images, and what they cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import torch

from clip_dinoiser_ros.core import Segmenter, Vocabulary
from clip_dinoiser_ros.core.dinoiser import DELTA
from clip_dinoiser_ros.core.feature_space import FeatureSpace
from clip_dinoiser_ros.core.pipeline import Pooled, Query
from clip_dinoiser_ros.core.segmentation import Patches, PatchFeatures

Images = Iterable[npt.NDArray[np.uint8]]  # (H, W, 3) RGB each, of any size


def learn_components(
    segmenter: Segmenter, images: Images, gamma: float | None = None
) -> npt.NDArray[np.float32]:
    """Find the directions in which the features of images are longest.

    Args:
        segmenter: The model.
        images: At least one.
        gamma: Threshold of the pooling; None: that of the model.

    Returns:
        float32 (C, C), orthonormal columns, the most important first.
    """
    moments: npt.NDArray[np.float64] | None = None
    for image in images:
        found = segmenter.pooled_features(image, gamma)[0].flatten(1)  # (C, N)
        unit = torch.nn.functional.normalize(found, dim=0).double().cpu().numpy()
        moments = unit @ unit.T + (0.0 if moments is None else moments)
    if moments is None:
        raise ValueError('no images to learn components from')
    _, vectors = np.linalg.eigh(moments)  # ascending
    return np.ascontiguousarray(vectors[:, ::-1], np.float32)


def measure_agreement(
    segmenter: Segmenter,
    images: Images,
    vocabulary: Vocabulary,
    components: npt.NDArray[np.float32],
    dimensions: Sequence[int],
    gamma: float | None = None,
) -> list[float]:
    """Compare labels from shortened features with those of the model.

    Args:
        segmenter: The model.
        images: Not those that the components were learned on.
        vocabulary: Classes to choose from.
        components: From `learn_components`.
        dimensions: Numbers of components to use.
        gamma: As of `learn_components`.

    Returns:
        For each dimension, the share of pixels with the same label.
    """
    same, count = np.zeros(len(dimensions)), 0
    for image in images:
        (patches,) = segmenter.segment_patches([image], vocabulary, gamma, DELTA, True)
        size = image.shape[:2]
        expected = patches.enlarge(size).labels
        count += expected.size
        for number, dimension in enumerate(dimensions):
            space = FeatureSpace('', components[:, :dimension])
            found = _labelled_by(segmenter, patches, space).enlarge(size).labels
            same[number] += (found == expected).sum()
    return (same / max(count, 1)).tolist()


def _labelled_by(segmenter: Segmenter, patches: Patches, space: FeatureSpace) -> Patches:
    """Find the classes again, from features and texts as they are published in a space."""
    features, vocabulary = patches.features, patches.vocabulary
    assert features is not None
    found = PatchFeatures(features.vectors, features.objectness, features.extent, space)
    vectors, objectness = (torch.from_numpy(part).float() for part in found.download())
    texts = torch.from_numpy(space.project(vocabulary.embeddings.float().cpu().numpy()))
    pooled = Pooled(vectors.permute(2, 0, 1)[None], objectness.logit()[None])
    query = Query(texts, vocabulary.background, 0.0, DELTA)
    ((probabilities, confidence),) = segmenter.pipeline.compare(pooled, query).images()
    return Patches(probabilities, confidence, patches.extent, vocabulary)
