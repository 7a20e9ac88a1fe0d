# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Images and crops of them with the classes that a caption would name, without masks."""

from dataclasses import dataclass

import cv2
import numpy as np

from clip_dinoiser_ros.training.demo_model.samples import PATCH
from clip_dinoiser_ros.world.classes import CLASSES, SEEN_CLASSES

# Patches a class must cover to be named in a caption; below the second it counts as absent.
_CLEAR, _NOTICED = 3.0, 0.25
_CLEAR_SHARE = 0.01
_SEEN = np.array([CLASSES.index(name) for name in SEEN_CLASSES])


@dataclass(frozen=True)
class CaptionedImage:
    """An image or a crop of one, and the classes in it.

    Attributes:
        image: uint8 RGB (H, W, 3).
        shown: bool (classes,): clearly visible.
        possible: bool (classes,): visible, or too small to be sure; all others are absent.
    """

    image: np.ndarray
    shown: np.ndarray
    possible: np.ndarray


@dataclass(frozen=True)
class CropShape:
    """Size, number and scale of the images of one batch."""

    rows: int  # patches
    cols: int
    batch: int
    zoom: tuple[float, float]  # downscaling factor, drawn from this range


def captioned(image: np.ndarray, labels: np.ndarray) -> CaptionedImage:
    """Find the classes that an image shows.

    Args:
        image: uint8 RGB (H, W, 3).
        labels: uint8 (H, W), index into CLASSES; only counted, so positions are discarded.
    """
    share = np.bincount(labels.ravel(), minlength=len(CLASSES))[_SEEN] / labels.size
    patches = share * (image.shape[0] * image.shape[1] / PATCH**2)
    clear = (patches >= _CLEAR) & (share >= _CLEAR_SHARE)
    return CaptionedImage(image, clear, patches >= _NOTICED)


def crop(
    image: np.ndarray, labels: np.ndarray, frame: CropShape, rng: np.random.Generator
) -> CaptionedImage:
    """Return a random crop of an image: scaled, and mirrored half of the time."""
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
