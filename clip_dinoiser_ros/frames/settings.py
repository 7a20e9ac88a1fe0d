# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The runtime settings of the node, also used for recordings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from clip_dinoiser_ros.core.objects import MIN_OBJECT_SIZE
from clip_dinoiser_ros.frames.region import EVERYTHING

if TYPE_CHECKING:  # torch takes seconds to import, and playing a recording needs none of it
    from clip_dinoiser_ros.core import Vocabulary
    from clip_dinoiser_ros.core.edges import Edges

CLOUDS = ('organised', 'compact')
# a scene, indoors and outdoors, and common things: see docs/decisions.md
DEFAULT_PROMPTS = (
    'floor',
    'wall',
    'ceiling',
    'door',
    'table',
    'chair',
    'person',
    'road',
    'sidewalk',
    'grass',
    'tree',
    'building',
    'car',
    'sky',
)


@dataclass(frozen=True)
class CameraSettings:
    """Settings of one camera; field names are those of the parameters NAME.field."""

    max_rate: float = 0.0
    region: tuple[float, ...] = EVERYTHING


@dataclass(frozen=True)
class Settings:
    """Settings that can change while the node runs; field names are parameter names.

    Attributes:
        of_cameras: Settings of single cameras, by name.
    """

    prompts: tuple[str, ...]
    negative_prompts: tuple[str, ...]
    background: str
    templates: str
    gamma: float
    delta: float
    min_confidence: float
    confidence_encoding: str
    max_rate: float
    output_scale: float
    cloud: str
    sync_tolerance_ms: float
    temporal_smoothing: float
    edges: Edges
    stale_after: float
    min_object_size: float = MIN_OBJECT_SIZE
    object_classes: tuple[str, ...] = ()
    track: bool = False
    of_cameras: Mapping[str, CameraSettings] = field(default_factory=dict)

    def camera(self, name: str) -> CameraSettings:
        """Return the settings of one camera."""
        return self.of_cameras.get(name, CameraSettings())

    def max_rates(self) -> dict[str, float]:
        """Return the maximum frames per second of every camera; 0: no limit."""
        return {name: own.max_rate or self.max_rate for name, own in self.of_cameras.items()}


@dataclass(frozen=True, eq=False)
class Active:
    """Settings and vocabulary of the next frame; replaced as a whole, never changed.

    Attributes:
        settings: The runtime settings.
        vocabulary: Their prompts, encoded.
        table: (K,) uint8 or uint16, class id of each class of the vocabulary; see `ClassIds.table`.
        version: Of the vocabulary, counted from 1.
        run_id: Unique for each run of the node; empty in a recording.
    """

    settings: Settings
    vocabulary: Vocabulary
    table: npt.NDArray[np.unsignedinteger]
    version: int
    run_id: str = ''
