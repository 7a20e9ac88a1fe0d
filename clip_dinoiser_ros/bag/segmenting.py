# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Segments a recording: windows of frames in, the messages of the node out."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby
from typing import Any

import numpy as np

from clip_dinoiser_ros.bag.cameras import Camera
from clip_dinoiser_ros.bag.partial import PartialBag
from clip_dinoiser_ros.bag.recording import Message, Topic, make_topic
from clip_dinoiser_ros.bag.types import (
    COMPRESSED,
    IMAGE,
    cloud_types,
    detection_types,
    message_types,
    typestore,
)
from clip_dinoiser_ros.bag.windows import RecordedFrame, Window
from clip_dinoiser_ros.core.errors import one_line
from clip_dinoiser_ros.core.memory import is_out_of_memory
from clip_dinoiser_ros.frames import compressed, images
from clip_dinoiser_ros.frames.class_ids import published_classes
from clip_dinoiser_ros.frames.class_slugs import class_slug
from clip_dinoiser_ros.frames.cloud_messages import (
    CLOUD_ERRORS,
    labelled_cloud,
    labels_camera_info,
    measure,
)
from clip_dinoiser_ros.frames.dense_features import dense_features
from clip_dinoiser_ros.frames.detections import detection_array
from clip_dinoiser_ros.frames.located import LOCATED_OUTPUTS, locate
from clip_dinoiser_ros.frames.outputs import CLASS_OUTPUTS, LIVE_OUTPUTS, OUTPUTS, announcement
from clip_dinoiser_ros.frames.process import (
    DecodedFrame,
    FrameOutputs,
    Pixels,
    Processor,
    cloud_source,
    object_source,
)
from clip_dinoiser_ros.frames.settings import Active

VERSION = 1  # of the vocabulary: a recording has only one
SECOND = 10**9
MAX_LISTED = 100  # damaged messages that are listed one by one
# outputs that are written only on request
EXTRA_OUTPUTS = (
    'overlay',
    'overlay/compressed',
    'classes',
    'class_confidences',
    'detections',
    'instances',
    'features',
    'detections_3d',
    'markers',
)


@dataclass
class Progress:
    """Counts of a run.

    Attributes:
        segmented: Segmented frames, by camera name.
        rejected: Damaged frames, by camera name.
        listed: The first damaged messages: topic, time, reason.
        without_cloud: Frames without depth or CameraInfo, by camera name.
        cloud_reason: Why the last of these has no cloud.
    """

    segmented: dict[str, int] = field(default_factory=dict)
    rejected: dict[str, int] = field(default_factory=dict)
    listed: list[str] = field(default_factory=list)
    without_cloud: dict[str, int] = field(default_factory=dict)
    cloud_reason: str = ''

    @property
    def frames(self) -> int:
        """Segmented frames so far, of all cameras."""
        return sum(self.segmented.values())

    def restore(self, lines: Sequence[dict[str, Any]]) -> None:
        """Continue with the counts in the journal of an interrupted run."""
        if lines:
            self.segmented = dict(lines[-1]['segmented'])
            self.rejected = dict(lines[-1]['rejected'])
            self.listed = [text for line in lines for text in line['listed']]
            self.without_cloud = dict(lines[-1]['without_cloud'])
            self.cloud_reason = lines[-1]['cloud_reason']


class BagSegmenter:
    """Segments windows and writes the messages that the node would publish.

    Args:
        processor: The model and its state of earlier frames.
        active: Settings and vocabulary.
        bag: The bag to write.
        extras: Outputs of `EXTRA_OUTPUTS` that are written too.
    """

    def __init__(
        self,
        processor: Processor,
        active: Active,
        bag: PartialBag,
        extras: Collection[str] = (),
    ) -> None:
        self._processor, self._active, self._bag = processor, active, bag
        self._extras = extras
        self._types = typestore().types
        self.progress = Progress()
        self.progress.restore(bag.lines)
        if bag.lines:
            processor.tracking.go_on(bag.lines[-1]['tracked'])

    def process(self, window: Window) -> None:
        """Segment the frames of a window; write all its messages in order of time."""
        listed = len(self.progress.listed)
        done = self._segment([item for item in window.items if isinstance(item, RecordedFrame)])
        for item in window.items:
            if isinstance(item, Message):
                self._bag.write(item)
            elif isinstance(found := done[id(item)], str):
                self._reject(item, found)
            else:
                self._write(item, found)
        self._bag.commit(**self.state(window.read, window.seen, listed))

    def state(self, read: int, seen: Mapping[str, int], listed: int) -> dict[str, Any]:
        """Return the state that the journal needs to resume here.

        Args:
            read: Messages of the input read so far.
            seen: Frames of each camera among them, by topic.
            listed: Number of damaged messages in earlier lines.
        """
        return {
            'read': read,
            'seen': dict(seen),
            'segmented': dict(self.progress.segmented),
            'rejected': dict(self.progress.rejected),
            'listed': self.progress.listed[listed:],
            'without_cloud': dict(self.progress.without_cloud),
            'cloud_reason': self.progress.cloud_reason,
            'tracked': self._processor.tracking.used,
        }

    def _segment(self, frames: list[RecordedFrame]) -> dict[int, FrameOutputs | str]:
        """Segment frames, batched by size; return outputs or an error text, by id(frame)."""
        done: dict[int, FrameOutputs | str] = {id(frame): frame.damage for frame in frames}
        whole = sorted((f for f in frames if f.image is not None), key=_size)
        for _, group in groupby(whole, key=_size):
            batch = list(group)
            decoded = [_decoded(frame, 'features' in self._extras) for frame in batch]
            outcomes = self._processor.process(decoded, self._active)
            for frame, outcome in zip(batch, outcomes, strict=True):
                if not isinstance(outcome, Exception):
                    done[id(frame)] = outcome
                elif isinstance(outcome, ValueError) or is_out_of_memory(outcome):
                    done[id(frame)] = one_line(outcome)  # a size that the model cannot take
                else:
                    raise outcome
        return done

    def _reject(self, frame: RecordedFrame, reason: str) -> None:
        name, message = frame.camera.name, frame.message
        self.progress.rejected[name] = self.progress.rejected.get(name, 0) + 1
        if len(self.progress.listed) < MAX_LISTED:
            self.progress.listed.append(
                f'{message.topic.name} at {message.time_ns / SECOND:.6f} s: {reason}'
            )

    def _write(self, frame: RecordedFrame, outputs: FrameOutputs) -> None:
        """Write the messages of one frame in the order of the node."""
        name = frame.camera.name
        if name not in self.progress.segmented:
            self._announce(frame)
        start = time.perf_counter()
        self._write_image(frame, 'labels', outputs.labels)
        self._write_image(frame, 'confidence', outputs.confidence)
        self._write_extras(frame, outputs)
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
            batch_size=outputs.batch_size,
            wait_ms=0.0,  # nothing waits in a recording
            decode_ms=frame.decode_ms,
            segment_ms=outputs.segment_ms,
            publish_ms=publish_ms,
            total_ms=frame.decode_ms + outputs.segment_ms + publish_ms,
        )
        self._write_message(frame, 'frame_info', info)

    def _write_extras(self, frame: RecordedFrame, outputs: FrameOutputs) -> None:
        """Write the requested outputs that the node makes only for subscribers."""
        if 'overlay' in self._extras:
            self._write_image(frame, 'overlay', (outputs.overlay, 'rgb8'))
        if 'overlay/compressed' in self._extras:
            jpeg = self._types[COMPRESSED](
                header=frame.header,
                format=compressed.JPEG_FORMAT,
                data=np.frombuffer(compressed.encode_jpeg(outputs.overlay), np.uint8),
            )
            self._write_message(frame, 'overlay/compressed', jpeg)
        if 'class_confidences' in self._extras:
            self._write_image(frame, 'class_confidences', outputs.class_confidences())
        if 'detections' in self._extras:
            detections = detection_array(outputs, detection_types())
            self._write_message(frame, 'detections', detections)
        if 'instances' in self._extras:
            self._write_image(frame, 'instances', outputs.instances)
        if 'features' in self._extras:
            features = dense_features(outputs, self._types[LIVE_OUTPUTS['features'].type_name])
            self._write_message(frame, 'features', features)
        if frame.camera.camera_info_topic:
            self._write_camera_info(frame, outputs)
        if frame.camera.depth_topic:
            self._write_measured(frame, outputs)
        if 'classes' in self._extras:
            names = self._active.vocabulary.names[: published_classes(self._active.table)]
            for index, name in enumerate(names):
                topic = f'classes/{class_slug(name)}'
                self._write_image(frame, f'{topic}/mask', outputs.class_mask(index))
                self._write_image(frame, f'{topic}/confidence', outputs.class_confidence(index))

    def _write_camera_info(self, frame: RecordedFrame, outputs: FrameOutputs) -> None:
        assert frame.partners is not None
        if frame.partners.info is None:
            self._miss_cloud(frame, f'no camera_info has come on {frame.camera.camera_info_topic}')
            return
        try:
            info = labels_camera_info(
                frame.partners.info,
                frame.header,
                outputs.size,
                cloud_types(),
                outputs.image_size,
            )
        except CLOUD_ERRORS as error:
            self._miss_cloud(frame, str(error))
            return
        self._write_message(frame, 'camera_info', info)

    def _write_measured(self, frame: RecordedFrame, outputs: FrameOutputs) -> None:
        """Write what needs depth."""
        assert frame.partners is not None
        source = cloud_source(outputs)
        try:
            measured = measure(source, frame.partners.depth, frame.partners.info, frame.camera)
        except CLOUD_ERRORS as error:
            self._miss_cloud(frame, str(error))
            return
        self._write_message(frame, 'points', labelled_cloud(source, measured, cloud_types()))
        wanted = [name for name in LOCATED_OUTPUTS if name in self._extras]
        if wanted:
            located = locate(object_source(outputs), measured)
            for name in wanted:
                self._write_message(frame, name, LOCATED_OUTPUTS[name](located, detection_types()))

    def _miss_cloud(self, frame: RecordedFrame, reason: str) -> None:
        counts = self.progress.without_cloud
        counts[frame.camera.name] = counts.get(frame.camera.name, 0) + 1
        self.progress.cloud_reason = reason

    def _announce(self, frame: RecordedFrame) -> None:
        """Announce the classes of a camera before its first labels."""
        seconds, nanoseconds = divmod(frame.message.time_ns, SECOND)
        stamp = self._types['builtin_interfaces/msg/Time'](sec=seconds, nanosec=nanoseconds)
        header = self._types['std_msgs/msg/Header'](stamp=stamp, frame_id='')
        active = self._active
        label_info, vocabulary = announcement(
            message_types(),
            header,
            active.vocabulary,
            active.table,
            VERSION,
            active.settings.min_confidence,
        )
        self._write_message(frame, 'label_info', label_info)
        self._write_message(frame, 'vocabulary', vocabulary)

    def _write_image(self, frame: RecordedFrame, output: str, pixels: Pixels) -> None:
        message = images.to_message(*pixels, frame.header, self._types[IMAGE])
        self._write_message(frame, output, message)

    def _write_message(self, frame: RecordedFrame, output: str, message: Any) -> None:
        topic = _topic(frame.camera, output)
        data = typestore().serialize_cdr(message, topic.type_name)
        self._bag.write(Message(topic, frame.message.time_ns, data))


def _size(frame: RecordedFrame) -> tuple[int, ...]:
    return () if frame.image is None else frame.image.shape


def _decoded(frame: RecordedFrame, with_features: bool) -> DecodedFrame:
    assert frame.image is not None
    name = frame.camera.name
    return DecodedFrame(name, frame.header, frame.image, frame.decode_ms, with_features)


@cache
def _topic(camera: Camera, output: str) -> Topic:
    if output.startswith('classes/'):
        kind = CLASS_OUTPUTS[output.rsplit('/', 1)[1]]
    else:
        kind = {**OUTPUTS, **LIVE_OUTPUTS}[output]
    return make_topic(camera.output(output), kind.type_name, kind.latched)
