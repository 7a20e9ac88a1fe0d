# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Measure the effect of `temporal_smoothing` on flicker and mIoU, on drives with true labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from clip_dinoiser_ros.core import Segmenter, Vocabulary
from clip_dinoiser_ros.core.edges import Edges, refine
from clip_dinoiser_ros.core.smoothing import Smoothing
from clip_dinoiser_ros.evaluation.demo_model import IGNORED, Confusion, true_indices
from clip_dinoiser_ros.training.demo_model.files import GAMMA
from clip_dinoiser_ros.world.render import Scene

WEIGHTS = (0.0, 0.1, 0.3, 0.5, 0.7)


@dataclass
class Steadiness:
    """Result of one weight on a drive.

    Attributes:
        weight: Weight of the average so far; 0: no smoothing.
        confusion: Pixel counts of all frames by true and predicted class.
        still: Number of pixels whose true class is the same in two consecutive frames.
        flickered: Number of those whose predicted class changed nevertheless.
    """

    weight: float
    confusion: Confusion
    still: int = 0
    flickered: int = 0
    _smoothing: Smoothing = field(default_factory=Smoothing, repr=False)
    _last: tuple[npt.NDArray[Any], npt.NDArray[Any]] | None = field(default=None, repr=False)

    @property
    def flicker(self) -> float:
        """Share of pixels whose label changed although the true label did not, in [0, 1]."""
        return self.flickered / max(1, self.still)

    def add(self, truth: npt.NDArray[Any], labels: npt.NDArray[Any]) -> None:
        """Count the next frame: true and predicted class (H, W), indices of the prompts."""
        known = truth != IGNORED
        self.confusion.add(truth[known], labels[known])
        if self._last is not None:
            still = known & (truth == self._last[0])
            self.still += int(still.sum())
            self.flickered += int((still & (labels != self._last[1])).sum())
        self._last = (truth, labels)

    def cut(self) -> None:
        """Forget the last frame, so that the next one is not compared with it."""
        self._last = None


def measure_smoothing(
    segmenter: Segmenter,
    vocabulary: Vocabulary,
    scenes: Iterable[Scene],
    weights: Sequence[float] = WEIGHTS,
    gamma: float = GAMMA,
    edges: Edges = 'off',
) -> list[Steadiness]:
    """Segment a drive once; smooth the result with every weight, and sharpen its edges."""
    rows = [Steadiness(weight, Confusion(vocabulary.names)) for weight in weights]
    for shown in scenes:
        truth = true_indices(shown.labels, vocabulary.names)
        (found,) = segmenter.segment_patches([shown.image], vocabulary, gamma)
        for row in rows:
            stamp_ns = round(1e9 * shown.stamp_s)
            smooth = row._smoothing.smooth('camera', stamp_ns, found, row.weight)
            sharp = refine(smooth, shown.image, edges)
            row.add(truth, sharp.enlarge(shown.labels.shape).labels)
    return rows


def table(rows: Sequence[Steadiness]) -> str:
    """Write the rows as a Markdown table."""
    lines = ['| `temporal_smoothing` | flicker | mIoU |', '| --- | --- | --- |']
    lines += [f'| {r.weight} | {r.flicker:.2%} | {r.confusion.miou():.3f} |' for r in rows]
    return '\n'.join(lines)
