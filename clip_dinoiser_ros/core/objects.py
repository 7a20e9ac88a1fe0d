# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Objects in a label image: connected areas of one class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clip_dinoiser_ros.core.runs import Integers, Runs, connect, rows_of, steps

MIN_OBJECT_SIZE = 0.001  # of the image: about one patch of 16x16 pixels in 640x480
MAX_OBJECTS = 1000  # in one image; the largest are kept


@dataclass(frozen=True)
class FoundObject:
    """One object.

    Attributes:
        label: Its value in the label image.
        score: Mean confidence of its pixels without closed holes, in [0, 1].
        box: Its first column and row, its width and height, in pixels of the label image.
        area: Its pixels, with closed holes.
    """

    label: int
    score: float
    box: tuple[int, int, int, int]
    area: int


@dataclass(frozen=True, eq=False)
class Objects:
    """The objects of one image, the largest first.

    Attributes:
        found: The objects.
        instances: uint16 (H, W): index in `found` + 1; 0 where no object is.
    """

    found: tuple[FoundObject, ...]
    instances: npt.NDArray[np.uint16]

    def window(self, index: int) -> npt.NDArray[np.uint16]:
        """Return the part of `instances` that is in the box of an object."""
        left, top, width, height = self.found[index].box
        return self.instances[top : top + height, left : left + width]


def find_objects(
    labels: npt.NDArray[np.unsignedinteger],
    confidence: npt.NDArray[np.float32],
    classes: Sequence[int],
    min_object_size: float = MIN_OBJECT_SIZE,
) -> Objects:
    """Find the objects in a label image.

    An object is a connected area of one class (8-neighbourhood) of at least `min_object_size`.
    Smaller areas that it encloses (4-neighbourhood) are closed: they belong to it, unless another
    object reaches into them. So touching things of one class are one object.

    Args:
        labels: uint8 or uint16 (H, W).
        confidence: float32 (H, W) in [0, 1].
        classes: The values in `labels` that are looked at.
        min_object_size: As a fraction of the image.
    """
    least = max(1, math.ceil(min_object_size * labels.size))
    first, length = rows_of(labels)
    chosen, runs = _runs_of_classes(labels, first, length, classes)
    upper, lower = runs.neighbours(1)
    roots, number = _number(runs, connect(len(runs.row), upper, lower), least)
    of_all = np.zeros(len(first), np.uint16)
    of_all[chosen] = number
    instances = np.repeat(of_all, length).reshape(labels.shape)
    members = np.flatnonzero(number)
    members = members[np.argsort(number[members], kind='stable')]
    own = Runs(number[members], runs.row[members], runs.start[members], runs.end[members])
    count = len(roots) + 1
    areas = np.bincount(number, runs.length, count)
    sums = np.add.reduceat(confidence.ravel(), first)[chosen]
    scores = np.bincount(number, sums, count) / np.maximum(areas, 1)
    # a run more than pairs: a tree; each further pair closes a ring
    rings = np.bincount(number[lower], minlength=count) - np.bincount(number, minlength=count) + 1
    closed = _fill(instances, _holes(own, rings > 0, least))
    areas += np.bincount(closed, minlength=count)
    found = (
        FoundObject(int(classes[label]), float(score), box, int(area))
        for label, score, box, area in zip(
            runs.label[roots], scores[1:], _boxes(own), areas[1:], strict=True
        )
    )
    return Objects(tuple(found), instances)


def _runs_of_classes(
    labels: npt.NDArray[np.unsignedinteger],
    first: Integers,
    length: Integers,
    classes: Sequence[int],
) -> tuple[Integers, Runs]:
    """Return which runs of an image are of a class, and these; their labels are places in it."""
    place = np.full(np.iinfo(labels.dtype).max + 1, -1, np.int64)
    place[list(classes)] = np.arange(len(classes))
    label = place[labels.ravel()[first]]
    chosen = np.flatnonzero(label >= 0)
    chosen = chosen[np.argsort(label[chosen], kind='stable')]
    row, start = np.divmod(first[chosen], labels.shape[1])
    return chosen, Runs(label[chosen], row, start, start + length[chosen])


def _number(runs: Runs, root: Integers, least: int) -> tuple[Integers, Integers]:
    """Number the connected sets of at least `least` pixels from 1, the largest first.

    Args:
        runs: Of all classes.
        root: The first run of the set of each run.
        least: In pixels.

    Returns:
        The first run of each object, and the number of the object of each run, 0: none.
    """
    area = np.bincount(root, runs.length, len(root)).astype(np.int64)  # at the root, else 0
    roots = np.flatnonzero(area >= least)
    order = (runs.start[roots], runs.row[roots], runs.label[roots], -area[roots])
    roots = roots[np.lexsort(order)][:MAX_OBJECTS]
    number = np.zeros(len(root), np.int64)
    number[roots] = np.arange(1, len(roots) + 1)
    return roots, number[root]


def _boxes(runs: Runs) -> list[tuple[int, int, int, int]]:
    """Return the box of each label; all labels from 1 on have runs."""
    if not len(runs.label):
        return []
    begin = np.flatnonzero(np.diff(runs.label, prepend=0))
    left = np.minimum.reduceat(runs.start, begin)
    top = runs.row[begin]
    right = np.maximum.reduceat(runs.end, begin)
    bottom = np.maximum.reduceat(runs.row, begin) + 1
    boxes = np.stack([left, top, right - left, bottom - top], axis=1)
    return [(int(x), int(y), int(w), int(h)) for x, y, w, h in boxes]


def _holes(runs: Runs, ringed: npt.NDArray[np.bool_], least: int) -> Runs:
    """Return what objects enclose, in areas of fewer than `least` pixels.

    Args:
        runs: Of the objects, by number.
        ringed: Whether an object encloses anything, by number.
        least: In pixels.
    """
    kept = ringed[runs.label]
    runs = Runs(runs.label[kept], runs.row[kept], runs.start[kept], runs.end[kept])
    if not len(runs.label):
        return runs
    # gaps between the runs of a row; before the first and behind the last of a row is outside,
    # which is one area with the rows above and below the object
    same = (runs.label[1:] == runs.label[:-1]) & (runs.row[1:] == runs.row[:-1])
    gaps = Runs(runs.label[1:][same], runs.row[1:][same], runs.end[:-1][same], runs.start[1:][same])
    upper, lower = gaps.neighbours(0)
    root = connect(len(gaps.row), upper, lower)
    area = np.bincount(root, gaps.length, len(root))
    area[root[_meets_outside(gaps, runs)]] = least
    small = area[root] < least
    return Runs(gaps.label[small], gaps.row[small], gaps.start[small], gaps.end[small])


def _meets_outside(gaps: Runs, runs: Runs) -> npt.NDArray[np.bool_]:
    """Return which gaps have a neighbour in the next or last row that is outside of the object."""
    height = int(runs.row.max()) + 3
    line = runs.label * height + runs.row
    begin = np.flatnonzero(np.diff(line, prepend=-1))
    low = np.full(int(line[-1]) + 3, np.iinfo(np.int64).max)  # rows without runs are outside
    high = np.zeros_like(low)
    low[line[begin]] = runs.start[begin]
    high[line[begin]] = np.maximum.reduceat(runs.end, begin)
    here = gaps.label * height + gaps.row
    meets = np.zeros(len(here), np.bool_)
    for other in (here - 1, here + 1):
        meets |= (gaps.start < low[other]) | (gaps.end > high[other])
    return meets


def _fill(instances: npt.NDArray[np.uint16], runs: Runs) -> Integers:
    """Write the labels of runs to pixels (H, W) that are 0, the first where several meet.

    Returns:
        The labels that were written, pixel by pixel.
    """
    pixels = np.repeat(runs.row * instances.shape[1] + runs.start, runs.length)
    pixels, first = np.unique(pixels + steps(runs.length), return_index=True)
    image = instances.reshape(-1)
    empty = image[pixels] == 0
    label: Integers = np.repeat(runs.label, runs.length)[first[empty]]
    image[pixels[empty]] = label
    return label
