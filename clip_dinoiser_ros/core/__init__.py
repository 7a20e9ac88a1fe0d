# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The method of the paper: images and prompts in, labels and confidence out. No ROS."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clip_dinoiser_ros.core.segmentation import Segmentation
    from clip_dinoiser_ros.core.segmenter import Segmenter
    from clip_dinoiser_ros.core.sources import WeightsError
    from clip_dinoiser_ros.core.vocabulary import PromptError, Vocabulary

__all__ = ['PromptError', 'Segmentation', 'Segmenter', 'Vocabulary', 'WeightsError']

# imported when asked for: where torch is missing, `clip-dinoiser doctor` has to say so
_HOMES = {
    'PromptError': 'vocabulary',
    'Segmentation': 'segmentation',
    'Segmenter': 'segmenter',
    'Vocabulary': 'vocabulary',
    'WeightsError': 'sources',
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(importlib.import_module(f'{__name__}.{_HOMES[name]}'), name)
