# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Images and parts of them with what a captioner would name in them: no masks come along."""

from dataclasses import dataclass

import cv2
import numpy as np

from clip_dinoiser_ros.training.demo_model.samples import PATCH
from clip_dinoiser_ros.world.classes import CLASSES, SEEN_CLASSES

# How much of an image, in patches, is worth a word; of less than the second nobody takes notice.
_CLEAR, _NOTICED = 3.0, 0.25
_CLEAR_SHARE = 0.01
_SEEN = np.array([CLASSES.index(name) for name in SEEN_CLASSES])


@dataclass(frozen=True)
class CaptionedImage:
    """One image, or a part of one, and what it shows.

    Attributes:
        image: uint8 RGB (H, W, 3).
        shown: bool (classes,): plain to see.
        possible: bool (classes,): the same and what is small; all others are not there.
    """

    image: np.ndarray
    shown: np.ndarray
    possible: np.ndarray


@dataclass(frozen=True)
class CropShape:
    """What the images of one batch are: how large, how many, how near."""

    rows: int  # patches
    cols: int
    batch: int
    zoom: tuple[float, float]  # pixels of a full image per pixel, drawn from this range


def captioned(image: np.ndarray, labels: np.ndarray) -> CaptionedImage:
    """Name what an image shows.

    Args:
        image: uint8 RGB (H, W, 3).
        labels: uint8 (H, W), index into CLASSES; only counted, so where things are is lost.
    """
    share = np.bincount(labels.ravel(), minlength=len(CLASSES))[_SEEN] / labels.size
    patches = share * (image.shape[0] * image.shape[1] / PATCH**2)
    clear = (patches >= _CLEAR) & (share >= _CLEAR_SHARE)
    return CaptionedImage(image, clear, patches >= _NOTICED)


def crop(
    image: np.ndarray, labels: np.ndarray, frame: CropShape, rng: np.random.Generator
) -> CaptionedImage:
    """Cut a part out of an image, at some scale, mirrored or not."""
    height, width = frame.rows * PATCH, frame.cols * PATCH
    most = min(image.shape[0] / height, image.shape[1] / width)
    low, high = frame.zoom
    zoom = rng.uniform(min(low, most), min(high, most))
    h, w = int(height * zoom), int(width * zoom)
    top = int(rng.integers(image.shape[0] - h + 1))
    left = int(rng.integers(image.shape[1] - w + 1))
    window = slice(top, top + h), slice(left, left + w)
    smooth = cv2.INTER_AREA if zoom > 1 else cv2.INTER_LINEAR
    part = cv2.resize(image[window], (width, height), interpolation=smooth)
    return captioned(part[:, :: rng.choice((-1, 1))], labels[window])
