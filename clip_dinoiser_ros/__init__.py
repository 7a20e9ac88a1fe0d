# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Open-vocabulary eyes for a robot: CLIP-DINOiser on camera images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clip_dinoiser_ros.core import (
        PromptError,
        Segmentation,
        Segmenter,
        Vocabulary,
        WeightsError,
    )

__all__ = ['PromptError', 'Segmentation', 'Segmenter', 'Vocabulary', 'WeightsError']
__version__ = '0.1.0'


def __getattr__(name: str) -> Any:
    if name not in __all__:  # nothing is imported before it is asked for, see `core`
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from clip_dinoiser_ros import core

    return getattr(core, name)
