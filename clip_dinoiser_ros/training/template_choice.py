# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Choose templates for each class by low entropy on images without labels.

After FLOSS (arXiv 2504.10487): each template gives a classifier, and a class keeps the templates
whose classifiers have the lowest entropy on pixels of that class. FLOSS then fuses the predictions
of one classifier per class. Here the embedding of a class is the mean over its own templates, so
there is a single classifier and no extra time per frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clip_dinoiser_ros.core import Segmenter
from clip_dinoiser_ros.core.dinoiser import class_probabilities
from clip_dinoiser_ros.core.vocabulary import parse_prompts

KEPT = 4  # templates of a class, as in FLOSS
LEAST_SHARE = 0.5  # smallest share of the patches that the median template finds


@dataclass(frozen=True, eq=False)
class Entropies:
    """Statistics of each template for each class, float64 (M, K).

    Attributes:
        patches: Number of patches with the class.
        total: Sum of the entropies of their probabilities, in nats.
    """

    patches: npt.NDArray[np.float64]
    total: npt.NDArray[np.float64]

    @property
    def mean(self) -> npt.NDArray[np.float64]:
        """Mean entropy; infinite if a template does not find the class."""
        there = self.patches > 0
        return np.divide(self.total, self.patches, out=np.full(there.shape, np.inf), where=there)

    def choose(self, kept: int = KEPT) -> list[list[int]]:
        """Choose templates for each class, lowest entropy first.

        A template may find only a few patches of a class and be certain of these. So it must find
        at least `LEAST_SHARE` of the patches that the median template finds.

        Returns:
            Indices of templates for each class; empty if most templates do not find the class.
        """
        chosen: list[list[int]] = []
        for patches, mean in zip(self.patches.T, self.mean.T, strict=True):
            enough = (patches > 0) & (patches >= LEAST_SHARE * np.median(patches))
            order = np.argsort(np.where(enough, mean, np.inf), kind='stable')[:kept]
            found = np.median(patches) > 0
            chosen.append([int(index) for index in order if enough[index]] if found else [])
        return chosen


@torch.inference_mode()
def measure_entropies(
    segmenter: Segmenter,
    images: Iterable[npt.NDArray[np.uint8]],
    prompts: Sequence[str],
    templates: Sequence[str],
    gamma: float | None = None,
) -> Entropies:
    """Segment images with the classifier of each template and collect statistics.

    Args:
        segmenter: The model.
        images: uint8 (H, W, 3) RGB each, of any size.
        prompts: K classes, as for `Segmenter.encode`.
        templates: M texts in which '{}' stands for the prompt.
        gamma: Threshold of the pooling; None: that of the model.

    Raises:
        PromptError: A prompt is invalid.
    """
    embeddings = segmenter.encode_each(prompts, templates).to(segmenter.device)
    shape = len(templates), len(parse_prompts(prompts))
    patches, total = np.zeros(shape), np.zeros(shape)
    for image in images:
        features = segmenter.pooled_features(image, gamma)
        for number, of_template in enumerate(embeddings):
            found, entropy = _classify(features, of_template)
            patches[number] += np.bincount(found, minlength=shape[1])
            total[number] += np.bincount(found, entropy, minlength=shape[1])
    return Entropies(patches, total)


def _classify(
    features: Tensor, embeddings: Tensor
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return the class of every patch, and the entropy of its probabilities."""
    probabilities = class_probabilities(features, embeddings)[0].flatten(1)  # (K, N)
    entropy = torch.special.entr(probabilities).sum(dim=0)
    return probabilities.argmax(dim=0).cpu().numpy(), entropy.double().cpu().numpy()


def as_templates(
    prompts: Sequence[str], templates: Sequence[str], chosen: Sequence[Sequence[int]]
) -> dict[str, list[str]]:
    """Return the templates of each prompt; synonyms have those of their class."""
    return {
        text: [templates[index] for index in indices]
        for prompt, indices in zip(parse_prompts(prompts), chosen, strict=True)
        for text in prompt.synonyms
        if indices
    }
