# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The classes in an image: at patch resolution, and enlarged to every pixel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clip_dinoiser_ros.core.download import Download
from clip_dinoiser_ros.core.feature_space import FeatureSpace
from clip_dinoiser_ros.core.upsample import Enlarged, enlarge, enlarge_maps, to_mono8
from clip_dinoiser_ros.core.vocabulary import Vocabulary


class Segmentation:
    """The class of every pixel of one image, and its confidence.

    Args:
        labels, vocabulary, mono8: As the attributes.
        confidence: As the attribute, or a tensor on a device, which is copied when first read.

    Attributes:
        labels: (H, W), index into `vocabulary.names`; uint8, above 254 classes uint16.
        vocabulary: The classes of the labels.
        mono8: uint8 (H, W), 255 times the confidence, rounded as OpenCV does; None if it was not
            requested, see `Patches.enlarge`.
    """

    def __init__(
        self,
        labels: npt.NDArray[np.unsignedinteger[Any]],
        confidence: npt.NDArray[np.float32] | Tensor,
        vocabulary: Vocabulary,
        mono8: npt.NDArray[np.uint8] | None = None,
    ) -> None:
        self.labels = labels
        self.vocabulary = vocabulary
        self.mono8 = mono8
        self._confidence = confidence

    @cached_property
    def confidence(self) -> npt.NDArray[np.float32]:
        """float32 (H, W) in [0, 1].

        The probability of the label. Where the background filter applies, 1 - objectness (at least
        0.5).
        """
        if isinstance(self._confidence, Tensor):
            return Download(self._confidence).wait()[0]
        return self._confidence


@dataclass(frozen=True, eq=False)
class PatchFeatures:
    """What the classes of one image are found from, on the segmenter's device.

    Attributes:
        vectors: float16 (C, h, w), of unit length, in the space of the model.
        objectness: float32 (h, w) in [0, 1]; the background filter needs at most 0.5.
        extent: Height and width of the image in patches, without padding.
        space: The space in which they are published.
    """

    vectors: Tensor
    objectness: Tensor
    extent: tuple[float, float]
    space: FeatureSpace

    def download(self) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.float32]]:
        """Copy to the host: vectors in `space`, float16 (h, w, D), and objectness (h, w)."""
        found, objectness = Download(self.vectors, self.objectness).wait()
        vectors = np.moveaxis(found, 0, -1)
        if self.space.components is not None:
            vectors = self.space.project_features(vectors.astype(np.float32))
        return vectors.astype(np.float16), objectness


@dataclass(frozen=True, eq=False)
class Patches:
    """The class probabilities of one image at patch resolution, on the segmenter's device.

    Attributes:
        probabilities: float32 (K, h, w). As in the published code, the background filter sets its
            class to 1.0 where it applies and leaves the other classes as they are.
        background_confidence: float32 (h, w), the confidence where the background class wins; None
            without the filter.
        extent: Height and width of the image in patches, without padding.
        vocabulary: The K classes.
        features: Of this image alone, whatever is averaged; None: not requested.
    """

    probabilities: Tensor
    background_confidence: Tensor | None
    extent: tuple[float, float]
    vocabulary: Vocabulary
    features: PatchFeatures | None = None

    def is_like(self, other: Patches) -> bool:
        """Return whether both have the same classes and patches, so that they can be averaged."""
        return (
            self.vocabulary is other.vocabulary
            and self.probabilities.shape == other.probabilities.shape
            and self.extent == other.extent
        )

    @torch.inference_mode()
    def average(self, previous: Patches, weight: float) -> Patches:
        """Average with an earlier frame: `s * previous + (1 - s) * self`.

        In each patch, s is `weight` times the overlap of the two distributions, sum(min(p, q)).
        So noise is averaged away, while a patch that shows another class changes at once. With a
        constant s, moving objects leave a trail, and the labels get worse instead of steadier.
        """
        common = torch.minimum(self.probabilities, previous.probabilities).sum(dim=0)
        share = weight * common.clamp_(max=1.0)  # (h, w)
        confidence = self.background_confidence
        if confidence is not None and previous.background_confidence is not None:
            confidence = confidence.lerp(previous.background_confidence, share)
        probabilities = self.probabilities.lerp(previous.probabilities, share)
        return replace(self, probabilities=probabilities, background_confidence=confidence)

    def enlarge(self, size: tuple[int, int], mono8: bool = False) -> Segmentation:
        """Find the class of every pixel.

        Args:
            size: (H, W) of the image, in pixels.
            mono8: Copy the confidence from the device as `Segmentation.mono8`, a quarter of the
                bytes. The float32 confidence is then copied only when it is read.
        """
        return enlarge_all([self], size, mono8)[0]

    @torch.inference_mode()
    def enlarge_on_device(self, size: tuple[int, int]) -> Enlarged:
        """Enlarge without a copy to the host; see `upsample.enlarge`."""
        background = None
        if self.background_confidence is not None and self.vocabulary.background is not None:
            background = (self.vocabulary.background, self.background_confidence)
        return enlarge(self.probabilities, size, self.extent, background)

    def begin_download(
        self, labels: Tensor, confidence: Tensor, rounded: Tensor | None, mono8: bool = False
    ) -> Callable[[], Segmentation]:
        """Start the copy of labels and confidence to the host.

        Args:
            labels: From `enlarge_on_device`.
            confidence: From `enlarge_on_device`.
            rounded: From `enlarge_on_device`; None: not computed there.
            mono8: As for `enlarge`.

        Returns:
            A function that waits for the copy and returns the result.
        """
        if mono8 and rounded is None:
            rounded = to_mono8(confidence)
        download = Download(labels, rounded if mono8 and rounded is not None else confidence)
        dtype = np.uint8 if len(self.vocabulary) <= 254 else np.uint16

        def arrive() -> Segmentation:
            names, shown = download.wait()
            names = names.astype(dtype, copy=False)
            if mono8:
                return Segmentation(names, confidence, self.vocabulary, shown)
            return Segmentation(names, shown, self.vocabulary)

        return arrive

    @torch.inference_mode()
    def class_confidences(
        self, size: tuple[int, int], classes: Sequence[int] | None = None
    ) -> npt.NDArray[np.float32]:
        """Compute the probability of classes in every pixel of an image of `size` (H, W).

        Where the background filter applies, the background has 1 - objectness, as in the
        confidence map, and the other classes share the rest in proportion.

        Args:
            size: Of the image, in pixels.
            classes: Indices into the vocabulary; None: all.

        Returns:
            float32 (k, H, W) in [0, 1], in the order of `classes`; all classes of a pixel sum to 1.
        """
        maps = self._distribution
        if classes is not None:
            maps = torch.stack([maps[index] for index in classes])  # no index on the device
        return Download(enlarge_maps(maps, size, self.extent)).wait()[0]

    @cached_property
    def _distribution(self) -> Tensor:
        """Return probabilities (K, h, w) that sum to 1 even where the background filter applies."""
        background = self.vocabulary.background
        if self.background_confidence is None or background is None:
            return self.probabilities
        maps = self.probabilities.clone()
        maps[background] = 0.0
        maps *= (1.0 - self.background_confidence) / maps.sum(dim=0).clamp_(min=1e-12)
        maps[background] = self.background_confidence
        return maps


@torch.inference_mode()
def enlarge_all(
    found: Sequence[Patches], size: tuple[int, int], mono8: bool = False
) -> list[Segmentation]:
    """Enlarge images of one size; on a GPU, one is copied while the next is computed.

    Args:
        found: One for each image.
        size: As for `Patches.enlarge`.
        mono8: As for `Patches.enlarge`.
    """
    arriving = [one.begin_download(*one.enlarge_on_device(size), mono8) for one in found]
    return [arrive() for arrive in arriving]
