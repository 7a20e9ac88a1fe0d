# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The message of features: where its cells are in the image, and how its numbers are laid out."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from clip_dinoiser_ros.core.feature_space import FeatureSpace
from clip_dinoiser_ros.core.segmentation import PatchFeatures
from clip_dinoiser_ros.frames.dense_features import dense_features


@dataclass
class Message:
    header: Any
    image_height: int
    image_width: int
    height: int
    width: int
    dimension: int
    cell_height: float
    cell_width: float
    features: Any
    objectness: Any
    model_digest: str


WHOLE = FeatureSpace('ab')


def frame(image_size, grid, extent, space=WHOLE):
    vectors = torch.nn.functional.normalize(torch.rand(5, *grid), dim=0).half()
    features = PatchFeatures(vectors, torch.rand(grid), extent, space)
    return SimpleNamespace(
        header='header', image_size=image_size, patches=SimpleNamespace(features=features)
    )


def test_cells_cover_a_resized_image():
    """480x640 at short_side 448 has 28x37 patches."""
    made = dense_features(frame((480, 640), (28, 37), (28.0, 37.0)), Message)
    assert (made.header, made.model_digest) == ('header', 'ab')
    assert (made.image_height, made.image_width) == (480, 640)
    assert (made.height, made.width, made.dimension) == (28, 37, 5)
    assert made.cell_height * made.height == 480
    assert made.cell_width * made.width == 640


def test_cells_of_a_padded_image_reach_over_its_edge():
    made = dense_features(frame((170, 215), (11, 14), (170 / 16, 215 / 16)), Message)
    assert (made.cell_height, made.cell_width) == (16.0, 16.0)


def test_numbers_are_in_the_order_of_cells():
    given = frame((32, 48), (2, 3), (2.0, 3.0))
    made = dense_features(given, Message)
    features = given.patches.features
    assert made.features.dtype == np.uint8
    vectors = made.features.view('<f2').reshape(2, 3, 5)
    for row, column in np.ndindex(2, 3):
        np.testing.assert_array_equal(vectors[row, column], features.vectors[:, row, column])
        assert made.objectness[row * 3 + column] == features.objectness[row, column]
    assert made.objectness.dtype == np.float32


def test_in_a_shorter_space():
    components = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 2)))[0].astype(np.float32)
    given = frame((32, 48), (2, 3), (2.0, 3.0), FeatureSpace('cd', components))
    made = dense_features(given, Message)
    assert (made.dimension, made.model_digest) == (2, 'cd')
    lengths = np.linalg.norm(made.features.view('<f2').reshape(6, 2).astype(float), axis=1)
    np.testing.assert_allclose(lengths, 1.0, atol=1e-3)


def test_none_of_a_frame_that_was_segmented_without_them():
    given = SimpleNamespace(patches=SimpleNamespace(features=None))
    assert dense_features(given, Message) is None
