# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Connected areas of all labels of an image at once, by the runs of equal pixels in its rows.

A label image has some thousand runs, far fewer than pixels. OpenCV's connected components know two
labels only and would take a pass over the image for each class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Runs:
    """Runs of pixels in rows, sorted by label, row and column; each array has the shape (n,).

    Attributes:
        label: Runs of different labels are never connected.
        row: Of the pixels.
        start, end: The first column, and the column after the last.
    """

    label: Integers
    row: Integers
    start: Integers
    end: Integers

    @property
    def length(self) -> Integers:
        """Pixels in each run."""
        return self.end - self.start

    def neighbours(self, reach: int) -> tuple[Integers, Integers]:
        """Return all pairs of connected runs (upper, lower) in neighbouring rows.

        Args:
            reach: 0: pixels touch by their sides only; 1: by their corners too.
        """
        width = int(self.end.max(initial=0)) + 2  # room for the reach between two rows
        height = int(self.row.max(initial=0)) + 2  # and for a row between two labels
        line = (self.label * height + self.row) * width
        above = line - width
        # ends and starts grow from run to run, so those that overlap are consecutive
        first = np.searchsorted(line + self.end, above + self.start - reach, side='right')
        last = np.searchsorted(line + self.start, above + self.end + reach, side='left')
        count = np.maximum(last - first, 0)
        lower = np.repeat(np.arange(len(count)), count)
        return first[lower] + steps(count), lower


def steps(count: Integers) -> Integers:
    """Return 0, 1, ... c - 1 for each c of the counts, one after the other."""
    return np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)


def rows_of(labels: npt.NDArray[np.unsignedinteger[Any]]) -> tuple[Integers, Integers]:
    """Return the first pixel of every run of an image (H, W), and the length, row by row."""
    height, width = labels.shape
    changes = np.ones((height, width), np.bool_)
    np.not_equal(labels[:, 1:], labels[:, :-1], out=changes[:, 1:])
    first = np.flatnonzero(changes)
    return first, np.diff(first, append=labels.size)


def connect(count: int, one: Integers, other: Integers) -> Integers:
    """Return the smallest member of the connected set of each of `count` nodes, from pairs."""
    smallest = np.arange(count)
    while len(one):
        a, b = smallest[one], smallest[other]
        np.minimum.at(smallest, np.maximum(a, b), np.minimum(a, b))
        while (smallest[smallest] != smallest).any():
            smallest = smallest[smallest]
        apart = smallest[one] != smallest[other]
        one, other = one[apart], other[apart]
    return smallest
