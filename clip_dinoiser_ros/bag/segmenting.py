# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Segments a recording: windows of frames in, the node's messages out."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from clip_dinoiser_ros.bag.cameras import Camera
from clip_dinoiser_ros.bag.partial import PartialBag
from clip_dinoiser_ros.bag.recording import Message, Topic, make_topic
from clip_dinoiser_ros.bag.types import IMAGE, message_types, typestore
from clip_dinoiser_ros.bag.windows import Frame, Window
from clip_dinoiser_ros.core import Segmentation, Segmenter, Vocabulary
from clip_dinoiser_ros.core.segmentation import enlarge_all
from clip_dinoiser_ros.core.smoothing import Smoothing
from clip_dinoiser_ros.frames import images
from clip_dinoiser_ros.frames.outputs import (
    OUTPUTS,
    announcement,
    frame_images,
    scaled_size,
    shrink,
)
from clip_dinoiser_ros.frames.overlay import draw_overlay
from clip_dinoiser_ros.frames.stamps import stamp_ns

VERSION = 1  # of the vocabulary: a recording is segmented with one
SECOND = 10**9
MAX_LISTED = 100  # damaged messages that are remembered one by one


@dataclass(frozen=True, eq=False)
class Words:
    """What frames are segmented with, as the node's parameters.

    Attributes:
        vocabulary: The classes.
        table: (K,) uint8 or uint16, what each class is published as; see `ClassIds.table`.
        gamma, delta: See `Segmenter.segment`.
        min_confidence: Pixels less certain are unlabelled; see `frame_images`.
        confidence_encoding: mono8 or 32FC1.
        overlay: Write the overlay too.
        output_scale: Size of what is written as a fraction of the image's.
        smoothing: Weight of earlier frames; see `Smoothing`.
    """

    vocabulary: Vocabulary
    table: npt.NDArray[np.unsignedinteger]
    gamma: float
    delta: float
    min_confidence: float = 0.0
    confidence_encoding: str = 'mono8'
    overlay: bool = False
    output_scale: float = 1.0
    smoothing: float = 0.0


@dataclass
class Progress:
    """What a run has done.

    Attributes:
        segmented: Frames, by camera name.
        rejected: Damaged frames, by camera name.
        listed: The first of the damaged: topic, time, reason.
    """

    segmented: dict[str, int] = field(default_factory=dict)
    rejected: dict[str, int] = field(default_factory=dict)
    listed: list[str] = field(default_factory=list)

    @property
    def frames(self) -> int:
        """Segmented so far, of all cameras."""
        return sum(self.segmented.values())

    def restore(self, lines: Sequence[dict[str, Any]]) -> None:
        """Continue what the journal of an interrupted run says."""
        if lines:
            self.segmented = dict(lines[-1]['segmented'])
            self.rejected = dict(lines[-1]['rejected'])
            self.listed = [text for line in lines for text in line['listed']]


@dataclass(frozen=True, eq=False)
class _Done:
    """What the model made of a frame."""

    result: Segmentation
    batch_size: int
    segment_ms: float


class BagSegmenter:
    """Segments windows and writes what the node would publish.

    Args:
        segmenter: The model.
        words: What to look for.
        bag: Where the messages go.
    """

    def __init__(self, segmenter: Segmenter, words: Words, bag: PartialBag) -> None:
        self._segmenter, self._words, self._bag = segmenter, words, bag
        self._smoothing = Smoothing()
        self._types = typestore().types
        self.progress = Progress()
        self.progress.restore(bag.lines)

    def process(self, window: Window) -> None:
        """Segment the frames of a window; write everything of it in the order of time."""
        listed = len(self.progress.listed)
        done = self._segment([item for item in window.items if isinstance(item, Frame)])
        for item in window.items:
            if isinstance(item, Message):
                self._bag.write(item)
            elif isinstance(found := done[id(item)], str):
                self._reject(item, found)
            else:
                self._write(item, found)
        self._bag.commit(**self.state(window.read, window.seen, listed))

    def state(self, read: int, seen: Mapping[str, int], listed: int) -> dict[str, Any]:
        """Return what the journal needs to go on from here.

        Args:
            read: Messages of the input read so far.
            seen: Frames of each camera among them, by topic.
            listed: How many of the damaged messages earlier lines list.
        """
        return {
            'read': read,
            'seen': dict(seen),
            'segmented': dict(self.progress.segmented),
            'rejected': dict(self.progress.rejected),
            'listed': self.progress.listed[listed:],
        }

    def _segment(self, frames: list[Frame]) -> dict[int, _Done | str]:
        """Segment frames, those of one size together; by id(frame), a text where it cannot be."""
        done: dict[int, _Done | str] = {id(frame): frame.damage for frame in frames}
        whole = sorted((f for f in frames if f.image is not None), key=_size)
        for _, group in groupby(whole, key=_size):
            batch = list(group)
            start = time.perf_counter()
            try:
                results = self._results(batch)
            except ValueError as error:  # an image too small, or too large for the model
                done.update({id(frame): str(error) for frame in batch})
                continue
            segment_ms = 1e3 * (time.perf_counter() - start)
            for frame, result in zip(batch, results, strict=True):
                done[id(frame)] = _Done(result, len(batch), segment_ms)
        return done

    def _results(self, batch: list[Frame]) -> list[Segmentation]:
        """Segment frames of one size, in the order of time."""
        words = self._words
        pictures = [frame.image for frame in batch if frame.image is not None]
        patches = self._segmenter.segment_patches(
            pictures, words.vocabulary, words.gamma, words.delta
        )
        steady = [
            self._smoothing.smooth(
                frame.camera.name, stamp_ns(frame.header), found, words.smoothing
            )
            for frame, found in zip(batch, patches, strict=True)
        ]
        return enlarge_all(steady, scaled_size(pictures[0].shape[:2], words.output_scale))

    def _reject(self, frame: Frame, reason: str) -> None:
        name, message = frame.camera.name, frame.message
        self.progress.rejected[name] = self.progress.rejected.get(name, 0) + 1
        if len(self.progress.listed) < MAX_LISTED:
            self.progress.listed.append(
                f'{message.topic.name} at {message.time_ns / SECOND:.6f} s: {reason}'
            )

    def _write(self, frame: Frame, done: _Done) -> None:
        """Write the messages of one frame, in the order in which the node publishes."""
        name, words = frame.camera.name, self._words
        if name not in self.progress.segmented:
            self._announce(frame)
        start = time.perf_counter()
        pictures = frame_images(
            done.result, words.table, words.min_confidence, words.confidence_encoding
        )
        self._write_image(frame, 'labels', pictures.labels, pictures.labels_encoding)
        self._write_image(frame, 'confidence', pictures.confidence, pictures.confidence_encoding)
        if words.overlay and frame.image is not None:
            ids = [int(class_id) for class_id in words.table]
            overlay = draw_overlay(
                shrink(frame.image, done.result.labels.shape),
                done.result.labels,
                words.vocabulary.names,
                ids,
                pictures.labelled,
                words.vocabulary.background,
                done.result.confidence,
            )
            self._write_image(frame, 'overlay', overlay, 'rgb8')
        publish_ms = 1e3 * (time.perf_counter() - start)
        segmented = self.progress.segmented.get(name, 0) + 1
        self.progress.segmented[name] = segmented
        rejected = self.progress.rejected.get(name, 0)
        info = self._types[OUTPUTS['frame_info'].type_name](
            header=frame.header,
            vocabulary_version=VERSION,
            frames_received=frame.position + 1,
            frames_segmented=segmented,
            frames_replaced=frame.position + 1 - segmented - rejected,
            frames_rejected=rejected,
            batch_size=done.batch_size,
            wait_ms=0.0,  # nothing waits in a recording
            decode_ms=frame.decode_ms,
            segment_ms=done.segment_ms,
            publish_ms=publish_ms,
            total_ms=frame.decode_ms + done.segment_ms + publish_ms,
        )
        self._write_message(frame, 'frame_info', info)

    def _announce(self, frame: Frame) -> None:
        """Say which classes the labels of a camera speak of, before the first of them."""
        seconds, nanoseconds = divmod(frame.message.time_ns, SECOND)
        stamp = self._types['builtin_interfaces/msg/Time'](sec=seconds, nanosec=nanoseconds)
        header = self._types['std_msgs/msg/Header'](stamp=stamp, frame_id='')
        words = self._words
        label_info, vocabulary = announcement(
            message_types(), header, words.vocabulary, words.table, VERSION, words.min_confidence
        )
        self._write_message(frame, 'label_info', label_info)
        self._write_message(frame, 'vocabulary', vocabulary)

    def _write_image(
        self, frame: Frame, output: str, pixels: npt.NDArray[Any], encoding: str
    ) -> None:
        message = images.to_message(pixels, encoding, frame.header, self._types[IMAGE])
        self._write_message(frame, output, message)

    def _write_message(self, frame: Frame, output: str, message: Any) -> None:
        topic = _topic(frame.camera, output)
        data = typestore().serialize_cdr(message, topic.type_name)
        self._bag.write(Message(topic, frame.message.time_ns, data))


def _size(frame: Frame) -> tuple[int, ...]:
    return () if frame.image is None else frame.image.shape


@cache
def _topic(camera: Camera, output: str) -> Topic:
    kind = OUTPUTS[output]
    return make_topic(camera.output(output), kind.type_name, kind.latched)
