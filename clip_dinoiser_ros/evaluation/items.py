# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What is evaluated, one image after the other, read ahead by threads."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from clip_dinoiser_ros.evaluation.metric import Labels
from clip_dinoiser_ros.evaluation.samples import DataSet, SampleError

Rgb = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Item:
    """One image with true labels.

    Attributes:
        name: Different for each.
        image: uint8 (H, W, 3) RGB; None where it cannot be used.
        truth: uint16 (H, W), class indices, `IGNORED` or `NO_CLASS`; None where it cannot be used,
            or where an image without truth only goes through the model.
        prepared: What `Predictor.prepare` has made of the image.
        damage: Why it cannot be used; empty if it can.
        odd: What is odd about its labels; empty if nothing is.
        stamp_ns: Of the image, in a recording.
    """

    name: str
    image: Rgb | None = None
    truth: Labels | None = None
    prepared: Any = None
    damage: str = ''
    odd: str = ''
    stamp_ns: int = 0


class Source(Protocol):
    """Images in an order that is the same every time.

    Attributes:
        total: How many there are.
        about: What they are, for the record.
        damage: What could not be read besides single images, one line each.
    """

    total: int
    about: dict[str, Any]
    damage: list[str]

    def items(self, first: int, prepare: Callable[[Rgb], Any]) -> Iterator[Item]:
        """Yield the images from number `first` on.

        Args:
            first: From 0.
            prepare: Makes `Item.prepared`; raises SampleError for an image that cannot be used.
        """
        ...

    def pick(self, numbers: Sequence[int], prepare: Callable[[Rgb], Any]) -> Iterator[Item]:
        """Yield some images again, for pictures of them, in growing order of their numbers."""
        ...


class FileSource:
    """The images of a data set.

    Args:
        data: The files.
        workers: Threads that read.
        ahead: Most images that are read before they are needed.
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

    def items(self, first: int, prepare: Callable[[Rgb], Any]) -> Iterator[Item]:
        """Yield the images from number `first` on; see `Source`."""
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
        """Yield some images again; see `Source`."""
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
    """Yield lists of so many items; the last one may be shorter."""
    group: list[Item] = []
    for item in items:
        group.append(item)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
