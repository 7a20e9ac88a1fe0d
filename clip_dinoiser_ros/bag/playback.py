# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A segmented recording and its source, frame by frame, for video and report.

No model is needed: images come from the source; labels, confidence and names from the bag.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clip_dinoiser_ros.bag.cameras import Camera
from clip_dinoiser_ros.bag.recording import Message, Recording
from clip_dinoiser_ros.bag.types import typestore
from clip_dinoiser_ros.bag.windows import RecordedFrame, Selection, read_windows
from clip_dinoiser_ros.frames.outputs import shrink
from clip_dinoiser_ros.frames.overlay import draw_overlay

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
        confidence: float32 (H, W) in [0, 1].
        classes: Names and ids.
    """

    camera: Camera
    time_ns: int
    image: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.unsignedinteger]
    labelled: npt.NDArray[np.bool_]
    confidence: npt.NDArray[np.float32]
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


def shown_frames(recording: Recording, selection: Selection, bag: Path) -> Iterator[Shown]:
    """Iterate over source and bag together; frames without labels are left out.

    Args:
        recording: The source, open.
        selection: The segmented part.
        bag: The result.
    """
    selection = dataclasses.replace(selection, copied=frozenset())
    cameras = selection.cameras.values()
    topics = [camera.output(name) for camera in cameras for name in ('labels', 'confidence')]
    with Recording(bag) as made:
        classes = _classes(made, [camera.output('vocabulary') for camera in cameras])
        pending = _pairs(made.messages(topics))
        labels, confidence = next(pending, (None, None))
        for window in read_windows(recording, selection, 1):
            for frame in window.items:
                if isinstance(frame, Message) or labels is None:
                    continue
                if _belongs(labels, frame):
                    yield _shown(frame, _pixels(labels), _pixels(confidence), classes)
                    labels, confidence = next(pending, (None, None))


def _pairs(messages: Iterator[Message]) -> Iterator[tuple[Any, Any]]:
    """Labels are followed by their confidence."""
    for labels in messages:
        yield labels, next(messages)


def _belongs(labels: Message, frame: RecordedFrame) -> bool:
    same = labels.topic.name == frame.camera.output('labels')
    return same and labels.time_ns == frame.message.time_ns and frame.image is not None


def _classes(made: Recording, topics: list[str]) -> Classes:
    first = next(made.messages(topics))
    message: Any = typestore().deserialize_cdr(first.data, first.topic.type_name)
    ids = tuple(int(class_id) for class_id in message.ids)
    return Classes(tuple(message.names), ids, int(message.unlabelled_id), message.background)


def _pixels(message: Message | None) -> npt.NDArray[Any]:
    assert message is not None
    image: Any = typestore().deserialize_cdr(message.data, message.topic.type_name)
    return image.data.view(_DTYPES[image.encoding]).reshape(image.height, image.width)


def _shown(
    frame: RecordedFrame, ids: npt.NDArray[Any], confidence: npt.NDArray[Any], classes: Classes
) -> Shown:
    assert frame.image is not None
    lookup = np.zeros(np.iinfo(ids.dtype).max + 1, np.uint16)
    lookup[list(classes.ids)] = range(len(classes.ids))
    if confidence.dtype == np.uint8:
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
