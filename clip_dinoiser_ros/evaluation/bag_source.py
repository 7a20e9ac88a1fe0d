# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Recordings with true labels, from a simulator or labelled by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clip_dinoiser_ros.bag.cameras import choose_cameras, decode_message
from clip_dinoiser_ros.bag.recording import BagError, Message, Recording
from clip_dinoiser_ros.bag.types import IMAGE, typestore
from clip_dinoiser_ros.bag.windows import ahead
from clip_dinoiser_ros.core.errors import one_line
from clip_dinoiser_ros.evaluation.items import Item, Rgb
from clip_dinoiser_ros.evaluation.metric import NO_CLASS, Labels
from clip_dinoiser_ros.evaluation.samples import SampleError
from clip_dinoiser_ros.frames import images
from clip_dinoiser_ros.frames.images import ImageError, stamp_ns

WAIT_NS = 2 * 10**9  # a partner that is this much late in recording time counts as missing
LABEL_INFO = 'vision_msgs/msg/LabelInfo'


def truth_names(recording: Recording, truth: str) -> dict[int, str]:
    """Return the class name of each id of the true labels, read from their LabelInfo topic.

    Raises:
        BagError: There is no LabelInfo, or its messages contradict each other.
    """
    topic = f'{truth.rsplit("/", 1)[0]}/label_info'
    known = recording.topics.get(topic)
    if known is None or known.type_name != LABEL_INFO:
        raise BagError(
            f'{truth} has no LabelInfo topic ({topic}): give a table of its ids with --classes'
        )
    names: dict[int, str] = {}
    for message in recording.messages([topic]):
        content: Any = typestore().deserialize_cdr(message.data, LABEL_INFO)
        for entry in content.class_map:
            before = names.setdefault(int(entry.class_id), entry.class_name)
            if before != entry.class_name:
                raise BagError(
                    f'{topic}: id {entry.class_id} is first {before!r}, later {entry.class_name!r}'
                )
    if not names:
        raise BagError(f'{topic} names no class: give a table of the ids with --classes')
    return names


def choose_topics(recording: Recording, truth: str, image: str | None) -> tuple[str, str]:
    """Find the topics of the images and of the true labels.

    Raises:
        BagError: A topic does not exist, or there are several cameras and --topic is missing.
    """
    found = recording.find(truth)
    if found is None or recording.topics[found].type_name != IMAGE:
        there = [t.name for t in recording.topics.values() if t.type_name == IMAGE]
        raise BagError(
            f'--truth {truth} is not an image topic; image topics: {", ".join(there) or "none"}'
        )
    cameras, _ = choose_cameras(recording, [image] if image else [])
    others = [camera.topic for camera in cameras if camera.topic != found]
    if len(others) != 1:
        raise BagError(f'--topic must name the images of {found}: {", ".join(others) or "none"}')
    return found, others[0]


class BagSource:
    """The images of a recording that have true labels with the same stamp; see `Source`.

    Args:
        path: Bag folder, or .mcap or .db3 file.
        image: Topic of the images.
        truth: Topic of the true labels.
        meaning: Class of each id, see `DataSet.meaning`.
        limit: Use only the first `limit` images; None: all.
        every: Also yield images without true labels.
    """

    def __init__(
        self,
        path: Path,
        image: str,
        truth: str,
        meaning: npt.NDArray[np.uint16],
        limit: int | None = None,
        every: bool = False,
    ) -> None:
        self._path, self._image, self._truth = path, image, truth
        self._meaning, self._limit, self._every = meaning, limit, every
        self.damage: list[str] = []
        with Recording(path) as recording:
            self.total = recording.topics[image if every else truth].count
            start, end = recording.start_ns, recording.end_ns
        self.total = self.total if limit is None else min(limit, self.total)
        self.about: dict[str, Any] = {
            'name': path.name,
            'images': self.total,
            'topics': [image, truth],
            'start_ns': start,
            'end_ns': end,
        }

    def items(self, first: int, prepare: Callable[[Rgb], Any]) -> Iterator[Item]:
        """Yield the images from index `first` on, read in a thread; see `Source`."""
        with closing(ahead(self._items(lambda number: number >= first, prepare))) as items:  # type: ignore[type-var]
            yield from items

    def pick(self, numbers: Sequence[int], prepare: Callable[[Rgb], Any]) -> Iterator[Item]:
        """Yield the given images again; see `Source`."""
        yield from self._items(lambda number: number in numbers, prepare)

    def _items(
        self, wanted: Callable[[int], bool], prepare: Callable[[Rgb], Any]
    ) -> Iterator[Item]:
        with Recording(self._path) as recording:
            messages = recording.messages([self._image, self._truth])
            for number, (image, truth) in enumerate(self._pairs(messages)):
                if number == self._limit:
                    break
                if wanted(number):
                    yield self._decode(image, truth, prepare)
            self.damage[:] = recording.damage

    def _pairs(self, messages: Iterator[Message]) -> Iterator[tuple[Message, Message | None]]:
        """Yield each image with the true labels of the same stamp, in the order of the images."""
        waiting: dict[bytes, Message] = {}  # waiting images, in order
        truths: dict[bytes, Message] = {}
        for message in messages:
            held = waiting if message.topic.name == self._image else truths
            held[message.data[4:12]] = message  # waiting true labels, by stamp
            yield from self._ready(waiting, truths, message.time_ns - WAIT_NS)
        yield from self._ready(waiting, truths, None)

    def _ready(
        self, waiting: dict[bytes, Message], truths: dict[bytes, Message], before_ns: int | None
    ) -> Iterator[tuple[Message, Message | None]]:
        """Yield waiting images from the front, until one whose true labels may still come."""
        for stamp in list(waiting):
            late = before_ns is None or waiting[stamp].time_ns < before_ns
            if stamp not in truths and not late:
                break
            image, truth = waiting.pop(stamp), truths.pop(stamp, None)
            if truth is not None or self._every:
                yield image, truth
        if before_ns is not None:
            for stamp in [s for s, m in truths.items() if m.time_ns < before_ns]:
                del truths[stamp]

    def _decode(
        self, message: Message, truth: Message | None, prepare: Callable[[Rgb], Any]
    ) -> Item:
        name = f'{message.time_ns}'
        try:
            header, image = decode_message(message.data, message.topic.type_name)
            name = f'{stamp_ns(header)}'
            labels, odd = (None, '') if truth is None else self._labels(truth, image, name)
            return Item(name, image, labels, prepare(image), '', odd, stamp_ns(header))
        except (ImageError, SampleError) as error:
            return Item(name, damage=f'{message.topic.name} at {name} ns: {one_line(error)}')

    def _labels(self, message: Message, image: Rgb, name: str) -> tuple[Labels, str]:
        try:
            content: Any = typestore().deserialize_cdr(message.data, message.topic.type_name)
        except Exception as error:  # rosbags raises several exception types on damaged bytes
            raise SampleError(f'{self._truth}: {one_line(error)}') from error
        ids = images.to_ids(content)
        if ids.shape != image.shape[:2]:
            raise SampleError(
                f'{self._truth} has {ids.shape[1]}x{ids.shape[0]} pixels, the image '
                f'{image.shape[1]}x{image.shape[0]}'
            )
        inside = (ids >= 0) & (ids < len(self._meaning))
        truth = np.where(inside, self._meaning[np.where(inside, ids, 0)], NO_CLASS)
        strange = truth == NO_CLASS
        odd = ''
        if strange.any():
            values = np.unique(ids[strange])[:5].tolist()
            unknown = f'{int(strange.sum())} pixels have unknown ids: {values}'
            odd = f'{self._truth} at {name} ns: {unknown}'
        return truth.astype(np.uint16), odd
