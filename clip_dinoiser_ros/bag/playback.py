# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A segmented recording and its source, frame by frame: for video, report and label files.

No model is needed: images come from the source; labels, confidence and names from the bag. An image
and its labels have the same camera and stamp.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clip_dinoiser_ros.bag.cameras import Camera, header_stamp_ns
from clip_dinoiser_ros.bag.files import BagError
from clip_dinoiser_ros.bag.recording import Message, Recording
from clip_dinoiser_ros.bag.types import typestore
from clip_dinoiser_ros.bag.windows import RecordedFrame, Selection, read_windows
from clip_dinoiser_ros.core.errors import one_line
from clip_dinoiser_ros.frames.images import stamp_ns
from clip_dinoiser_ros.frames.outputs import shrink
from clip_dinoiser_ros.frames.overlay import draw_overlay

# Recording time after which no labels of an image are expected any more. `clip-dinoiser bag`
# records them at the time of the image, a node later.
WAIT_NS = 2 * 10**9
_PARTS = ('labels', 'confidence', 'frame_info')
_DTYPES = {'mono8': '|u1', 'mono16': '<u2', '32FC1': '<f4'}


@dataclass(frozen=True)
class Classes:
    """The classes of the label images of a bag.

    Attributes:
        names: Names of the classes.
        ids: Pixel value of each class.
        unlabelled_id: Pixel value of unlabelled pixels.
        background: Name of the class with the background filter; empty: none has it.
    """

    names: tuple[str, ...]
    ids: tuple[int, ...]
    unlabelled_id: int
    background: str


@dataclass(frozen=True, eq=False)
class Shown:
    """One frame and what was found in it.

    Attributes:
        camera: Whose.
        time_ns: When it was recorded.
        image: uint8 (H, W, 3) RGB, in the size of the labels.
        labels: (H, W), index into `classes.names`; any where not labelled.
        labelled: bool (H, W).
        confidence: float32 (H, W) in [0, 1]; None: the bag has none.
        classes: Names and ids.
    """

    camera: Camera
    time_ns: int
    image: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.unsignedinteger]
    labelled: npt.NDArray[np.bool_]
    confidence: npt.NDArray[np.float32] | None
    classes: Classes

    @cached_property
    def overlay(self) -> npt.NDArray[np.uint8]:
        """The image tinted by class, with legend: uint8 (H, W, 3) RGB."""
        classes = self.classes
        background = classes.names.index(classes.background) if classes.background else None
        return draw_overlay(
            self.image,
            self.labels,
            classes.names,
            classes.ids,
            self.labelled,
            background,
            self.confidence,
        )

    @cached_property
    def share(self) -> npt.NDArray[np.float64]:
        """Share of the image of each class, (K,); unlabelled pixels belong to none."""
        counts = np.bincount(self.labels[self.labelled], minlength=len(self.classes.names))
        return counts / self.labels.size


def shown_frames(
    recording: Recording, selection: Selection, bag: Path, damage: list[str] | None = None
) -> Iterator[Shown]:
    """Iterate over source and bag together; frames without labels are left out.

    Args:
        recording: The source, open.
        selection: The segmented part.
        bag: The result; may be the source itself, if it holds both.
        damage: Gets a line for each image that cannot be read, and for each part of the result.
    """
    selection = dataclasses.replace(selection, copied=frozenset())
    with Recording(bag) as made:
        results = _Results(made, selection.cameras.values())
        for window in read_windows(recording, selection, 1):
            for frame in window.items:
                if isinstance(frame, Message):
                    continue
                if frame.image is None:
                    if damage is not None:
                        seconds = frame.message.time_ns / 10**9
                        damage.append(f'{frame.camera.topic} at {seconds:.6f} s: {frame.damage}')
                    continue
                try:
                    found = results.of(frame)
                    shown = None if found is None else _shown(frame, *found)
                except DamagedError as error:
                    results.damage.append(str(error))
                    continue
                if shown is not None:
                    yield shown
        if damage is not None:
            damage += results.damage + made.damage


@dataclass(frozen=True)
class _Announced:
    """The classes of a camera since a time, and the version of their vocabulary."""

    time_ns: int
    version: int
    classes: Classes


def announced_classes(
    made: Recording, cameras: Collection[Camera], damage: list[str]
) -> dict[str, list[_Announced]]:
    """Read the classes of each camera, by its name, in the order of their times.

    `damage` gets a line for each vocabulary that cannot be read.
    """
    names = {camera.output('vocabulary'): camera.name for camera in cameras}
    announced: dict[str, list[_Announced]] = {camera.name: [] for camera in cameras}
    for message in made.messages(names.keys()):
        try:
            content = _read(message)
        except DamagedError as error:
            damage.append(str(error))
            continue
        classes = Classes(
            tuple(content.names),
            tuple(int(class_id) for class_id in content.ids),
            int(content.unlabelled_id),
            content.background,
        )
        name = names[message.topic.name]
        announced[name].append(_Announced(message.time_ns, int(content.version), classes))
    return announced


@dataclass
class _Result:
    """What a bag has of one frame: messages by the names of the outputs."""

    time_ns: int
    parts: dict[str, Message] = field(default_factory=dict)


class _Results:
    """The results in a bag, found by camera and stamp, read only as far as needed.

    Args:
        made: The bag, open.
        cameras: Whose results.

    Attributes:
        damage: A line for each message that cannot be read.
    """

    def __init__(self, made: Recording, cameras: Collection[Camera]) -> None:
        self.damage: list[str] = []
        self._classes = announced_classes(made, cameras, self.damage)
        self._topics = {
            camera.output(part): (camera.name, part)
            for camera in cameras
            for part in _PARTS
            if camera.output(part) in made.topics
        }
        self._messages = made.messages(self._topics.keys())
        self._held: dict[tuple[str, int], deque[_Result]] = {}

    def of(self, frame: RecordedFrame) -> tuple[Message, Message | None, Classes] | None:
        """Return labels, confidence and classes of a frame; None: the bag has none."""
        key = (frame.camera.name, stamp_ns(frame.header))
        time_ns = frame.message.time_ns
        while not self._is_whole(key):
            message = next(self._messages, None)
            if message is None:
                break
            self._hold(message)
            if message.time_ns > time_ns + WAIT_NS:
                break
        result = self._take(key, time_ns)
        if result is None or 'labels' not in result.parts:
            return None
        classes = self._classes_of(frame.camera.name, result)
        if classes is None:
            return None
        return result.parts['labels'], result.parts.get('confidence'), classes

    def _is_whole(self, key: tuple[str, int]) -> bool:
        wanted = {part for name, part in self._topics.values() if name == key[0]}
        return any(wanted == result.parts.keys() for result in self._held.get(key, ()))

    def _hold(self, message: Message) -> None:
        name, part = self._topics[message.topic.name]
        stamp = header_stamp_ns(message)
        if stamp is None:
            self.damage.append(str(DamagedError(message, 'it is cut off in its header')))
            return
        results = self._held.setdefault((name, stamp), deque())
        result = next((one for one in results if part not in one.parts), None)
        if result is None:
            result = _Result(message.time_ns)
            results.append(result)
        result.parts[part] = message

    def _take(self, key: tuple[str, int], time_ns: int) -> _Result | None:
        """Take the first result of a frame, and drop those of frames that have passed."""
        results = self._held.get(key)
        result = results.popleft() if results else None
        passed = [
            other
            for other, held in self._held.items()
            if not held or held[-1].time_ns < time_ns - WAIT_NS
        ]
        for other in passed:
            del self._held[other]
        return result

    def _classes_of(self, name: str, result: _Result) -> Classes | None:
        """Return the classes of the vocabulary that a result was made with."""
        known = self._classes[name]
        if 'frame_info' in result.parts:
            content = _read(result.parts['frame_info'])
            known = [one for one in known if one.version == content.vocabulary_version]
        before = [one for one in known if one.time_ns <= result.time_ns]
        return next((one.classes for one in [*reversed(before), *known]), None)


class DamagedError(BagError):
    """A message of the result cannot be read; says which and why."""

    def __init__(self, message: Message, reason: str) -> None:
        super().__init__(f'{message.topic.name} at {message.time_ns / 10**9:.6f} s: {reason}')


def _read(message: Message) -> Any:
    """Deserialize a message; raises DamagedError."""
    try:
        return typestore().deserialize_cdr(message.data, message.topic.type_name)
    except Exception as error:  # rosbags raises several types for damaged bytes
        raise DamagedError(message, f'not a {message.topic.type_name}') from error


def pixels(message: Message) -> npt.NDArray[Any]:
    """Return the pixels of a label image or confidence map, (H, W); raises DamagedError."""
    image = _read(message)
    try:
        values: npt.NDArray[Any] = image.data.view(_DTYPES[image.encoding])
        values = values.reshape(image.height, image.width)
    except (KeyError, ValueError) as error:
        raise DamagedError(message, f'not an image: {one_line(error)}') from error
    if not values.size:
        raise DamagedError(message, 'the image has no pixels')
    return values


def _shown(
    frame: RecordedFrame, labels: Message, certainty: Message | None, classes: Classes
) -> Shown:
    assert frame.image is not None
    ids = pixels(labels)
    lookup = np.zeros(np.iinfo(ids.dtype).max + 1, np.uint16)
    lookup[list(classes.ids)] = range(len(classes.ids))
    confidence = None if certainty is None else pixels(certainty)
    if certainty is not None and confidence is not None and confidence.shape != ids.shape:
        raise DamagedError(certainty, 'not of the size of the labels')
    if confidence is not None and confidence.dtype == np.uint8:
        confidence = confidence.astype(np.float32) / 255
    return Shown(
        camera=frame.camera,
        time_ns=frame.message.time_ns,
        image=shrink(frame.image, ids.shape),
        labels=lookup[ids],
        labelled=ids != classes.unlabelled_id,
        confidence=confidence,
        classes=classes,
    )
