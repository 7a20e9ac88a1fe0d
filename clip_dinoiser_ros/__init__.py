# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Open-vocabulary eyes for a robot: CLIP-DINOiser on camera images."""

from clip_dinoiser_ros.core import PromptError, Segmentation, Segmenter, Vocabulary, WeightsError

__all__ = ['PromptError', 'Segmentation', 'Segmenter', 'Vocabulary', 'WeightsError']
__version__ = '0.1.0'
