# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Agreement of a lower precision with float32, on generated scenes the demo model never saw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from clip_dinoiser_ros.core import Segmenter
from clip_dinoiser_ros.core.engines.intel import is_intel
from clip_dinoiser_ros.evaluation.demo_model import Confusion, unseen_scenes
from clip_dinoiser_ros.training.demo_model.files import GAMMA
from clip_dinoiser_ros.world.classes import CLASSES


@dataclass(frozen=True)
class Agreement:
    """A precision compared with torch in float32; the prompts are all classes of the world.

    Attributes:
        engine: Engine of the other precision: torch or openvino.
        precision: fp32, bf16 or fp16.
        scenes: Number of scenes.
        same: Share of pixels with the same label, 0 to 1.
        least: The same share in the scene where it is lowest.
        miou: Mean IoU with the true labels, 0 to 1.
        miou_fp32: Mean IoU of float32 on the same scenes.
    """

    engine: str
    precision: str
    scenes: int
    same: float
    least: float
    miou: float
    miou_fp32: float


def measure_agreement(
    precision: Any, scenes: int, device: str = 'auto', engine: Any = 'auto'
) -> Agreement:
    """Segment scenes with the demo model, by torch in float32 and in another precision."""
    exact_on = 'cpu' if is_intel(device) else device
    exact = Segmenter.load('demo', device=exact_on, precision='fp32', engine='torch')
    other = Segmenter.load('demo', device=device, precision=precision, engine=engine)
    vocabulary = exact.encode(CLASSES)
    same, truth_exact, truth_other = [], Confusion(CLASSES), Confusion(CLASSES)
    for scene in unseen_scenes(scenes):
        first = exact.segment(scene.image, vocabulary, GAMMA).labels
        second = other.segment(scene.image, vocabulary, GAMMA).labels
        same.append(float((first == second).mean()))
        truth_exact.add(scene.labels, first)
        truth_other.add(scene.labels, second)
    return Agreement(
        other.engine,
        other.precision,
        scenes,
        float(np.mean(same)),
        min(same),
        truth_other.miou(),
        truth_exact.miou(),
    )
