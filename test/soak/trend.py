# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Whether a figure that is sampled over time grows: its slope, and how sure that is.

A leak is told from noise by the Theil-Sen slope and Sen's confidence interval for it (P. K. Sen,
"Estimates of the regression coefficient based on Kendall's tau", JASA 63, 1968). Both go by the
order of the values alone, so that an outlier, or memory that jumps once and stays, is no growth.
They want values that do not depend on each other, so medians of blocks go in, not samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BLOCKS = 12
Z = 1.96  # of the normal distribution: an interval of 95 %


@dataclass(frozen=True)
class Trend:
    """How a figure went after the warm-up.

    Attributes:
        level: Its median.
        per_hour: Its slope times an hour; `low` and `high`: the ends of the interval of 95 %.
        allowed_per_hour: What is not called a growth.
    """

    level: float
    per_hour: float
    low: float
    high: float
    allowed_per_hour: float

    @property
    def grows(self) -> bool:
        """Whether even the low end of the interval is more than is allowed."""
        return self.low > self.allowed_per_hour


def fit(times_s: Sequence[float], values: Sequence[float], allowed_per_hour: float) -> Trend:
    """Fit the slope of a figure, at least two samples of it."""
    order = np.array_split(np.arange(len(values)), min(BLOCKS, len(values)))
    times = np.array([np.mean([times_s[i] for i in block]) for block in order])
    medians = np.array([np.median([values[i] for i in block]) for block in order])
    first, second = np.triu_indices(len(order), 1)
    slopes = np.sort((medians[second] - medians[first]) / (times[second] - times[first]))
    n, count = len(order), len(slopes)
    margin = Z * math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    low = max(0, math.floor((count - margin) / 2) - 1)
    high = min(count - 1, math.ceil((count + margin) / 2))
    slope, least, most = 3600.0 * np.array([np.median(slopes), slopes[low], slopes[high]])
    return Trend(
        float(np.median(values)), float(slope), float(least), float(most), allowed_per_hour
    )
