# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Intersection over union, from pixels counted over a whole data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.unsignedinteger[Any]]
Integers = npt.NDArray[np.int64]

IGNORED = 65535  # true label of a pixel that is left out of the score
NO_CLASS = 65534  # true label of a pixel that counts but has none of the classes; or no prediction


@dataclass(frozen=True, eq=False)
class Counts:
    """Pixel counts of each class, int64 (K,); can be added.

    Attributes:
        intersect: Pixels with this class both predicted and true.
        predicted: Pixels with this class predicted, ignored pixels left out.
        labelled: Pixels with this true class.
        pixels: All pixels that are not ignored.
    """

    intersect: Integers
    predicted: Integers
    labelled: Integers
    pixels: int = 0

    @classmethod
    def zero(cls, classes: int) -> Counts:
        """Return zero counts."""
        zero = np.zeros(classes, np.int64)
        return cls(zero, zero, zero)

    @classmethod
    def of(cls, truth: Labels, predicted: Labels, classes: int) -> Counts:
        """Count the pixels of an image, or some of them.

        Args:
            truth: Class indices; `IGNORED` pixels are left out, `NO_CLASS` pixels count but belong
                to no class.
            predicted: Class indices of the same pixels, or `NO_CLASS`.
            classes: K.
        """
        known = truth != IGNORED
        if not known.all():
            truth, predicted = truth[known], predicted[known]
        return cls(
            _histogram(truth[truth == predicted], classes),
            _histogram(predicted, classes),
            _histogram(truth, classes),
            truth.size,
        )

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.intersect + other.intersect,
            self.predicted + other.predicted,
            self.labelled + other.labelled,
            self.pixels + other.pixels,
        )

    @property
    def union(self) -> Integers:
        """Pixels with this class predicted or true."""
        return self.predicted + self.labelled - self.intersect

    @property
    def iou(self) -> npt.NDArray[np.float64]:
        """Intersection over union, (K,), in [0, 1]; NaN for classes whose union is empty."""
        union = self.union
        return np.divide(self.intersect, union, out=np.full(len(union), np.nan), where=union > 0)

    @property
    def miou(self) -> float:
        """Mean over the classes whose union is not empty, in [0, 1]; NaN if there is none."""
        found = self.iou[self.union > 0]
        return float(found.mean()) if len(found) else float('nan')

    @property
    def accuracy(self) -> float:
        """Share of correct pixels, in [0, 1]; NaN if there are no pixels."""
        return float(self.intersect.sum() / self.pixels) if self.pixels else float('nan')

    def sparse(self) -> dict[str, Any]:
        """Return [intersect, predicted, true] of the classes whose union is not empty, for JSON."""
        rows = np.stack([self.intersect, self.predicted, self.labelled], axis=1)
        there = np.flatnonzero(rows.any(axis=1))
        return {
            'pixels': self.pixels,
            'classes': {str(index): rows[index].tolist() for index in there},
        }

    @classmethod
    def from_sparse(cls, content: Mapping[str, Any], classes: int) -> Counts:
        """Undo `sparse`; raises KeyError, ValueError or IndexError for invalid content."""
        rows = np.zeros((classes, 3), np.int64)
        for index, row in content['classes'].items():
            rows[int(index)] = row
        return cls(rows[:, 0], rows[:, 1], rows[:, 2], int(content['pixels']))


def _histogram(labels: Labels, classes: int) -> Integers:
    return np.bincount(labels.ravel(), minlength=classes)[:classes]
