# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The equations at their limits, where a strict comparison decides."""

import torch

from clip_dinoiser_ros.core.dinoiser import background_patches, guided_pooling


def test_affinity_of_exactly_gamma_counts():
    features = torch.tensor([[[[1.0, 3.0]]]])
    affinity = torch.tensor([[[1.0, 0.5], [0.4999, 1.0]]])
    pooled = guided_pooling(features, affinity, gamma=0.5)
    torch.testing.assert_close(pooled, torch.tensor([[[[2.5 / 1.5, 3.0]]]]))


def test_patch_with_exactly_delta_is_not_background():
    probabilities = torch.tensor([[[[0.5, 0.4999, 0.75]], [[0.5, 0.4999, 0.25]]]])
    objectness = torch.full((1, 1, 3), -1.0)
    found = background_patches(probabilities, objectness, delta=0.5)
    assert found.tolist() == [[[False, True, False]]]


def test_objectness_of_exactly_one_half_is_background():
    probabilities = torch.full((1, 2, 1, 3), 0.5)
    objectness = torch.tensor([[[0.0, 1e-3, -1e-3]]])
    assert background_patches(probabilities, objectness).tolist() == [[[True, False, True]]]
