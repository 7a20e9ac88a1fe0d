# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The images to evaluate, one after another, read ahead by threads."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from clip_dinoiser_ros.evaluation.metric import Labels
from clip_dinoiser_ros.evaluation.samples import DataSet, SampleError

Rgb = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Item:
    """An image with true labels.

    Attributes:
        name: Unique name.
        image: uint8 (H, W, 3) RGB; None if it cannot be used.
        truth: uint16 (H, W), class indices, `IGNORED` or `NO_CLASS`; None if it cannot be used, or
            if the image has no true labels and is only passed through the model.
        prepared: Result of `Predictor.prepare`.
        damage: Why it cannot be used; empty if it can.
        odd: Which labels are unknown; empty if none are.
        stamp_ns: Stamp of the image, in a recording.
    """

    name: str
    image: Rgb | None = None
    truth: Labels | None = None
    prepared: Any = None
    damage: str = ''
    odd: str = ''
    stamp_ns: int = 0


class Source(Protocol):
    """Images in a fixed order.

    Attributes:
        total: Number of images.
        about: Description of the images for the results.
        damage: What could not be read apart from single images, one line each.
    """

    total: int
    about: dict[str, Any]
    damage: list[str]

    def items(self, first: int, prepare: Callable[[Rgb], Any]) -> Iterator[Item]:
        """Yield the images from index `first` on.

        Args:
            first: From 0.
            prepare: Makes `Item.prepared`; raises SampleError if an image cannot be used.
        """
        ...

    def pick(self, numbers: Sequence[int], prepare: Callable[[Rgb], Any]) -> Iterator[Item]:
        """Yield the given images again, in ascending order of their indices."""
        ...


class FileSource:
    """The images of a data set.

    Args:
        data: The data set.
        workers: Number of reading threads.
        ahead: Maximum number of images read ahead.
    """

    def __init__(self, data: DataSet, workers: int, ahead: int) -> None:
        self._data, self._workers, self._ahead = data, workers, ahead
        self.total = len(data.samples)
        self.damage: list[str] = []
        names = '\n'.join(sample.name for sample in data.samples)
        self.about: dict[str, Any] = {
            'name': data.name,
            'images': self.total,
            'digest': hashlib.sha256(names.encode()).hexdigest()[:16],
        }

    def part(self, first: int, last: int) -> FileSource:
        """Return the images of the indices from `first` up to, but not including, `last`."""
        part = replace(self._data, samples=self._data.samples[first:last])
        return FileSource(part, self._workers, self._ahead)

    def items(self, first: int, prepare: Callable[[Rgb], Any]) -> Iterator[Item]:
        """Yield the images from index `first` on; see `Source`."""
        waiting: deque[Future[Item]] = deque()
        with ThreadPoolExecutor(self._workers) as pool:
            try:
                for number in range(first, self.total):
                    waiting.append(pool.submit(self._read, number, prepare))
                    if len(waiting) > self._ahead:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def pick(self, numbers: Sequence[int], prepare: Callable[[Rgb], Any]) -> Iterator[Item]:
        """Yield the given images again; see `Source`."""
        for number in sorted(numbers):
            yield self._read(number, prepare)

    def _read(self, number: int, prepare: Callable[[Rgb], Any]) -> Item:
        sample = self._data.samples[number]
        try:
            image, truth, odd = self._data.read(sample)
            return Item(sample.name, image, truth, prepare(image), odd=odd)
        except SampleError as error:
            return Item(sample.name, damage=str(error))


def in_groups(items: Iterator[Item], size: int) -> Iterator[Sequence[Item]]:
    """Yield lists of `size` items; the last one may be shorter."""
    group: list[Item] = []
    for item in items:
        group.append(item)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
