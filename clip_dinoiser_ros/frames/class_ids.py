# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Class ids that never change meaning, however often the prompts change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import numpy.typing as npt

UNLABELLED_8 = 255
UNLABELLED_16 = 65535
MAX_CLASS_ID = UNLABELLED_16 - 1


class TooManyClassesError(ValueError):
    """All ids that fit into a label image are in use."""


@dataclass(frozen=True)
class ClassIds:
    """The ids of all class names that the node knows.

    A name that comes back gets its old id. A new name gets the smallest free id. So a costmap
    that holds old ids stays right. 255 is never assigned: it means unlabelled in 8-bit label
    images.

    Attributes:
        known: Ids by name, the least recently used names first.
        fixed: Ids that are reserved for these names.
        largest: No id is larger.
    """

    known: Mapping[str, int] = field(default_factory=dict)
    fixed: Mapping[str, int] = field(default_factory=dict)
    largest: int = MAX_CLASS_ID

    def with_names(self, names: Sequence[str]) -> ClassIds:
        """Return the ids after these names were used; new names get ids in their order.

        Raises:
            TooManyClassesError: No id is left for a name.
        """
        new = [name for name in names if name not in self.known and name not in self.fixed]
        ids = {**self.known, **self.fixed}
        taken = set(ids.values())
        free = (i for i in range(self.largest + 1) if i != UNLABELLED_8 and i not in taken)
        ids |= zip(new, free, strict=False)
        if new and new[-1] not in ids:
            raise TooManyClassesError(
                f'no class id is left for {new[-1]!r}: all ids up to {self.largest} belong to '
                'other names, and an id keeps its meaning while the node runs; use fewer prompts, '
                'or restart the node, which frees the ids of the names longest unused'
            )
        used = set(names)
        known = {name: class_id for name, class_id in self.known.items() if name not in used}
        return replace(self, known=known | {name: ids[name] for name in names})

    def with_fixed(self, fixed: Mapping[str, int], largest: int = MAX_CLASS_ID) -> ClassIds:
        """Return the ids with some of them fixed and none larger than `largest`.

        A name loses its id if that is fixed for another name or too large.
        """
        owners = {class_id: name for name, class_id in fixed.items()}
        known = {
            name: class_id
            for name, class_id in self.known.items()
            if class_id <= largest and owners.get(class_id, name) == name
        }
        known |= {name: class_id for name, class_id in fixed.items() if name in self.known}
        return ClassIds(known, fixed, largest)

    def with_room(self, names: Sequence[str]) -> ClassIds:
        """Return the ids without the least recently used names, if `names` would not fit.

        Ids of one byte suffice unless `names` need more. When they are used up, an eighth of
        them is freed.
        """
        keep = {*names, *self.fixed}
        ids = {**self.known, **self.fixed}
        needed = len(keep - ids.keys())
        last = min(UNLABELLED_8 - 1, self.largest)
        if len(keep) > last + 1 or any(ids.get(name, 0) > last for name in keep):
            last = self.largest
        count = last + 1 - (last >= UNLABELLED_8)
        free = count - sum(class_id <= last for class_id in ids.values())
        if free > needed:
            return self
        known = dict(self.known)
        for name, class_id in self.known.items():
            if name not in keep and (class_id > last or free < needed + count // 8):
                del known[name]
                free += class_id <= last
        return replace(self, known=known)

    def table(
        self, names: Sequence[str], negatives: int = 0
    ) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
        """Return the pixel value of each class of a vocabulary.

        Args:
            names: The K classes that have an id.
            negatives: N, the number of negative classes behind them, published as unlabelled.

        Returns:
            (K + N,), uint8 if all ids fit, else uint16.
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
        table: (K,), pixel value of each index, uint8 or uint16.
        labelled: bool (H, W), false where the pixel becomes unlabelled.

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
