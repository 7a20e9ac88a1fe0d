# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the paper describes: images and prompts in, labels and confidence out. Nothing of ROS."""

from clip_dinoiser_ros.core.segmentation import Segmentation
from clip_dinoiser_ros.core.segmenter import Segmenter
from clip_dinoiser_ros.core.vocabulary import PromptError, Vocabulary
from clip_dinoiser_ros.core.weights import WeightsError

__all__ = ['PromptError', 'Segmentation', 'Segmenter', 'Vocabulary', 'WeightsError']
