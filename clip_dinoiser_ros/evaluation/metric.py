# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Intersection over union, from pixels that are counted over a whole data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.unsignedinteger[Any]]
Integers = npt.NDArray[np.int64]

IGNORED = 65535  # true label of a pixel that does not count
NO_CLASS = 65534  # of one that is none of the classes, but counts; or a prediction of no class


@dataclass(frozen=True, eq=False)
class Counts:
    """Pixels of each class, int64 (K,); those of several images are added.

    Attributes:
        intersect: Predicted and true.
        predicted: Predicted, where the true label counts.
        labelled: True.
        pixels: All that count, of any class.
    """

    intersect: Integers
    predicted: Integers
    labelled: Integers
    pixels: int = 0

    @classmethod
    def zero(cls, classes: int) -> Counts:
        """Return the counts of no image."""
        zero = np.zeros(classes, np.int64)
        return cls(zero, zero, zero)

    @classmethod
    def of(cls, truth: Labels, predicted: Labels, classes: int) -> Counts:
        """Count one image, or some of its pixels.

        Args:
            truth: Class indices; `IGNORED` pixels are left out, those of `NO_CLASS` are true for
                no class.
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
        """Predicted or true."""
        return self.predicted + self.labelled - self.intersect

    @property
    def iou(self) -> npt.NDArray[np.float64]:
        """Intersection over union, (K,), in [0, 1]; NaN for classes without union."""
        union = self.union
        return np.divide(self.intersect, union, out=np.full(len(union), np.nan), where=union > 0)

    @property
    def miou(self) -> float:
        """Mean over the classes that have a union, in [0, 1]; NaN if none has."""
        found = self.iou[self.union > 0]
        return float(found.mean()) if len(found) else float('nan')

    @property
    def accuracy(self) -> float:
        """Share of the pixels that are right, in [0, 1]; NaN without pixels."""
        return float(self.intersect.sum() / self.pixels) if self.pixels else float('nan')

    def sparse(self) -> dict[str, Any]:
        """Return what JSON can hold: only classes with a union, as [intersect, predicted, true]."""
        rows = np.stack([self.intersect, self.predicted, self.labelled], axis=1)
        there = np.flatnonzero(rows.any(axis=1))
        return {
            'pixels': self.pixels,
            'classes': {str(index): rows[index].tolist() for index in there},
        }

    @classmethod
    def from_sparse(cls, content: Mapping[str, Any], classes: int) -> Counts:
        """Undo `sparse`; raises KeyError, ValueError or IndexError for other content."""
        rows = np.zeros((classes, 3), np.int64)
        for index, row in content['classes'].items():
            rows[int(index)] = row
        return cls(rows[:, 0], rows[:, 1], rows[:, 2], int(content['pixels']))


def _histogram(labels: Labels, classes: int) -> Integers:
    return np.bincount(labels.ravel(), minlength=classes)[:classes]
