# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Random scale, crop, flip and colour jitter (paper, section 4.1)."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from clip_dinoiser_ros.training.image_sources import TrainingImage

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Augmentation:
    """Strength of the augmentation.

    The published code has a scale of 1 and jitters the brightness alone, by 0.5.

    Attributes:
        scale: Range of the short side after resizing, as a multiple of the crop.
        flip: Probability that an image is mirrored, 0 to 1.
        brightness: Multiplied by a factor between 1 - b and 1 + b; the next two likewise.
        contrast: Distance from the mean grey of the image.
        saturation: Distance of each pixel from its own grey.
    """

    scale: tuple[float, float] = (1.0, 1.5)
    flip: float = 0.5
    brightness: float = 0.5
    contrast: float = 0.2
    saturation: float = 0.2

    def __post_init__(self) -> None:
        low, high = self.scale
        if not 1.0 <= low <= high:
            raise ValueError(f'scale is {low} to {high}; allowed: 1 <= low <= high')
        for name in ('flip', 'brightness', 'contrast', 'saturation'):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f'{name} is {getattr(self, name)}; must be between 0 and 1')


def augment(
    source: TrainingImage, crop: int, how: Augmentation, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray | None]:
    """Augment an image, and its true labels in the same way.

    Args:
        source: Of any size; a small one is enlarged.
        crop: Side of the result in pixels.
        how: Strength of the augmentation.
        rng: Random generator.

    Returns:
        image: float32 (crop, crop, 3) RGB in [0, 1].
        truth: uint8 (crop, crop, 2), or None where the image has none.
    """
    height, width = source.image.shape[:2]
    side = max(1, round(min(height, width) / rng.uniform(*how.scale)))
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    step = -1 if rng.random() < how.flip else 1
    window = (slice(top, top + side), slice(left, left + side))
    smooth = cv2.INTER_AREA if side > crop else cv2.INTER_LINEAR
    image = cv2.resize(source.image[window], (crop, crop), interpolation=smooth)[:, ::step]
    truth = source.truth
    if truth is not None:
        truth = cv2.resize(truth[window], (crop, crop), interpolation=cv2.INTER_NEAREST)[:, ::step]
    return _jitter(image.astype(np.float32) / 255, how, rng), truth


def _jitter(image: np.ndarray, how: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Jitter the colours of float32 RGB in [0, 1], (H, W, 3)."""
    brightness, contrast, saturation = (
        np.float32(rng.uniform(1 - strength, 1 + strength))
        for strength in (how.brightness, how.contrast, how.saturation)
    )
    image = np.clip(image * brightness, 0, 1)
    mean = (image @ _LUMA).mean()
    image = np.clip(mean + (image - mean) * contrast, 0, 1)
    grey = (image @ _LUMA)[..., None]
    return np.clip(grey + (image - grey) * saturation, 0, 1)
