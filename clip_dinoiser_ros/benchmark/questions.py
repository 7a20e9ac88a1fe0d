# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Time that the services cost a frame, and that a question about it takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from clip_dinoiser_ros.benchmark.objects import CLASSES, ROUNDS, SURFACES, crowded_labels
from clip_dinoiser_ros.core import Segmenter, Vocabulary
from clip_dinoiser_ros.core.objects import MIN_OBJECT_SIZE
from clip_dinoiser_ros.core.pipeline import Pooled, Query
from clip_dinoiser_ros.core.segmentation import PatchFeatures
from clip_dinoiser_ros.core.vocabulary import parse_prompts
from clip_dinoiser_ros.frames.cloud_messages import Measured
from clip_dinoiser_ros.frames.finding import SeenFrame, find_in
from clip_dinoiser_ros.frames.intrinsics import Intrinsics
from clip_dinoiser_ros.frames.settings import CameraSettings

CHANNELS = 512  # of ViT-B/16
PATCH = 16
NOISE = 0.5  # of a feature, beside 1 of its class


def time_questions(
    size: tuple[int, int] = (480, 640),
    things: int = 20,
    rounds: int = ROUNDS,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Measure with features of the size of ViT-B/16, which show the objects of a label image.

    Args:
        size: Size (H, W) of the image, which is not made smaller.
        things: Number of objects apart from the surfaces; a tenth of them is looked for.
        rounds: Number of repetitions.
        clock: Clock in seconds.

    Returns:
        Medians of the times in milliseconds, by what is done.
    """
    segmenter = Segmenter.load('demo', device='cpu', precision='fp32')
    vocabulary = _vocabulary()
    pooled = _features(vocabulary, crowded_labels(size, things))
    without = Query(vocabulary.embeddings, None, 0.0, 0.0)
    kept = replace(without, with_features=True)
    answer = segmenter.pipeline.compare(pooled, kept)
    assert answer.features is not None
    assert answer.objectness is not None
    extent = size[0] / PATCH, size[1] / PATCH
    features = PatchFeatures(answer.features[0], answer.objectness[0], extent, segmenter.space)
    settings: Any = SimpleNamespace(output_scale=1.0, camera=lambda name: CameraSettings())
    frame = SeenFrame('camera', None, size, settings, features, 0.0)
    depth = np.random.default_rng(0).normal(3.0, 0.02, size).astype(np.float32)
    measured = Measured(depth, Intrinsics.from_fov(size[1], size[0], 64.0))

    def find(measured: Measured | None = None) -> Any:
        return find_in(segmenter, frame, vocabulary, 0.0, MIN_OBJECT_SIZE, measured)

    steps: dict[str, Callable[[], Any]] = {
        'compare': lambda: segmenter.pipeline.compare(pooled, without),
        'compare and keep features': lambda: segmenter.pipeline.compare(pooled, kept),
        'features as numpy': features.download,
        'find': find,
        'find with depth': lambda: find(measured),
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    with torch.inference_mode():
        for _ in range(rounds):
            for name, step in steps.items():
                start = clock()
                step()
                times[name].append(1e3 * (clock() - start))
    return {name: statistics.median(taken) for name, taken in times.items()}


def _vocabulary() -> Vocabulary:
    """Return classes with vectors of their own; the first is that of the things looked for."""
    count = SURFACES + CLASSES
    vectors = torch.randn(count, CHANNELS, generator=torch.Generator().manual_seed(0))
    prompts = parse_prompts([f'thing {index}' for index in range(count)])
    return Vocabulary(prompts, F.normalize(vectors, dim=1), None, 'none')


def _features(vocabulary: Vocabulary, labels: np.ndarray[Any, Any]) -> Pooled:
    """Return features (1, C, h, w) of patches that show labels (H, W)."""
    height, width = labels.shape
    shape = -(-width // PATCH), -(-height // PATCH)
    shown = cv2.resize(labels, shape, interpolation=cv2.INTER_NEAREST)
    order = np.roll(np.arange(len(vocabulary)), SURFACES)  # the first class is a thing
    own = vocabulary.embeddings[torch.from_numpy(order[shown])]  # (h, w, C)
    noise = torch.randn(own.shape, generator=torch.Generator().manual_seed(1))
    unit = F.normalize(own + NOISE * F.normalize(noise, dim=-1), dim=-1)
    return Pooled(unit.movedim(-1, 0)[None].contiguous(), torch.zeros(1, *own.shape[:2]))
