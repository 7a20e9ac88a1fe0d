# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Numbers that objects keep from frame to frame, by the overlap of their masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from clip_dinoiser_ros.core.objects import Objects
from clip_dinoiser_ros.core.smoothing import MAX_GAP_NS

MIN_IOU = 0.3  # objects of less overlap are taken for two


@dataclass(frozen=True, eq=False)
class _Frame:
    stamp_ns: int
    objects: Objects
    names: tuple[str, ...]
    numbers: tuple[int, ...]


class Tracking:
    """Numbers objects of one camera so that an object keeps its number.

    An object has the number of the object of the same class in the last frame whose mask overlaps
    its own most, measured by intersection over union (IoU), if that is at least `MIN_IOU`. Pairs
    are made in the order of their IoU. An object that is missing in one frame comes back with a new
    number. All numbers are new when the size changes, when a stamp goes back, and when a stamp is
    more than a second after the last.
    """

    def __init__(self) -> None:
        self._last: dict[str, _Frame] = {}
        self._next: dict[str, int] = {}

    def follow(
        self, camera: str, stamp_ns: int, objects: Objects, names: Sequence[str]
    ) -> tuple[int, ...]:
        """Number the objects of the next frame of a camera.

        Args:
            camera: Name of the camera.
            stamp_ns: Of the frame, in nanoseconds of the camera's clock.
            objects: In the frame.
            names: The class of each object.

        Returns:
            The number of each object, from 1.
        """
        last = self._last.get(camera)
        kept: dict[int, int] = {}
        if (
            last is not None
            and 0 <= stamp_ns - last.stamp_ns <= MAX_GAP_NS
            and last.objects.instances.shape == objects.instances.shape
        ):
            kept = _kept_numbers(last, objects, names)
        numbers = tuple(
            kept[index] if index in kept else self._new(camera) for index in range(len(names))
        )
        self._last[camera] = _Frame(stamp_ns, objects, tuple(names), numbers)
        return numbers

    def _new(self, camera: str) -> int:
        self._next[camera] = self._next.get(camera, 0) + 1
        return self._next[camera]

    @property
    def used(self) -> dict[str, int]:
        """The last number that was given to an object of each camera."""
        return dict(self._next)

    def go_on(self, used: Mapping[str, int]) -> None:
        """Begin behind the numbers of an earlier run."""
        self._next.update(used)

    def reset(self) -> None:
        """Forget the last frame of every camera; numbers are not used again."""
        self._last.clear()


def _kept_numbers(last: _Frame, objects: Objects, names: Sequence[str]) -> dict[int, int]:
    """Return the numbers of the last frame that objects keep, by index."""
    pairs = []
    for index, (found, name) in enumerate(zip(objects.found, names, strict=True)):
        left, top, width, height = found.box
        before = last.objects.instances[top : top + height, left : left + width]
        common = np.bincount(before[objects.window(index) == index + 1])
        for number in np.flatnonzero(common[1:]).tolist():
            if last.names[number] == name:
                both = int(common[number + 1])
                iou = both / (found.area + last.objects.found[number].area - both)
                if iou >= MIN_IOU:
                    pairs.append((-iou, index, number))
    kept: dict[int, int] = {}
    taken: set[int] = set()
    for _, index, number in sorted(pairs):
        if index not in kept and number not in taken:
            kept[index] = last.numbers[number]
            taken.add(number)
    return kept
