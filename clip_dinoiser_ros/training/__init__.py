# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The paper's training: the two heads learn from teachers, on images without labels."""

from clip_dinoiser_ros.training.recipe import Recipe
from clip_dinoiser_ros.training.trainer import Running, train

__all__ = ['Recipe', 'Running', 'train']
