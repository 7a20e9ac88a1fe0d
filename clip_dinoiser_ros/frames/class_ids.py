# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Class ids that never change meaning, however often the prompts change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

UNLABELLED_8 = 255
UNLABELLED_16 = 65535


class TooManyClassesError(ValueError):
    """The ids that fit into an image are used up."""


@dataclass(frozen=True)
class ClassIds:
    """Every class name the node has ever used, with its id.

    A name that comes back gets its old id, a new one the next id: a costmap that holds old ids
    stays right. 255 is never given away, since it means unlabelled in 8-bit label images.
    """

    known: Mapping[str, int] = field(default_factory=dict)

    def with_names(self, names: Sequence[str]) -> ClassIds:
        """Return the ids with new names added, in their order.

        Raises:
            TooManyClassesError: No id is left for a name.
        """
        known = dict(self.known)
        for name in names:
            if name not in known:
                index = len(known)
                known[name] = index if index < UNLABELLED_8 else index + 1
        if len(known) > UNLABELLED_16 - 1:
            raise TooManyClassesError(
                f'{len(known)} different class names since the node started; at most '
                f'{UNLABELLED_16 - 1} are allowed, since ids are never reused: restart the node'
            )
        return ClassIds(known)

    def table(
        self, names: Sequence[str], negatives: int = 0
    ) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
        """Return what each class of a vocabulary is published as.

        Args:
            names: The K classes that have an id.
            negatives: N, how many classes come behind them that are published as unlabelled.

        Returns:
            (K + N,), uint8 where all ids fit, else uint16.
        """
        ids = [self.known[name] for name in names]
        table = np.array(ids, dtype=np.uint8 if max(ids) < UNLABELLED_8 else np.uint16)
        return np.append(table, np.full(negatives, unlabelled_id(table), table.dtype))


def unlabelled_id(table: npt.NDArray[np.generic]) -> int:
    """Return the pixel value that means unlabelled in images of the table's type."""
    return UNLABELLED_8 if table.dtype == np.uint8 else UNLABELLED_16


def published_classes(table: npt.NDArray[np.unsignedinteger]) -> int:
    """Count the classes that have an id: the first of the vocabulary, before the negative ones."""
    return int(np.count_nonzero(table != unlabelled_id(table)))


def to_class_ids(
    labels: npt.NDArray[np.unsignedinteger],
    table: npt.NDArray[np.unsignedinteger],
    labelled: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.unsignedinteger]:
    """Replace indices of the vocabulary by class ids.

    Args:
        labels: (H, W), index of the vocabulary.
        table: (K,), what each index is published as, uint8 or uint16.
        labelled: bool (H, W), false where the pixel is published as unlabelled.

    Returns:
        (H, W) of the table's type.
    """
    if labels.dtype == np.uint8 and table.dtype == np.uint8:
        lookup = np.zeros(256, dtype=np.uint8)
        lookup[: len(table)] = table
        ids = cv2.LUT(labels, lookup)  # several times faster than indexing
    else:
        ids = table[labels]
    if labelled is not None:
        ids[~labelled] = unlabelled_id(table)
    return ids
