# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A large recording in slices of time, and their outputs joined to that of the whole."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clip_dinoiser_ros.bag.cameras import Camera
from clip_dinoiser_ros.bag.recording import Message, Recording
from clip_dinoiser_ros.bag.types import typestore
from clip_dinoiser_ros.bag.windows import RecordedFrame, Selection, read_windows
from clip_dinoiser_ros.frames.outputs import OUTPUTS

_ONCE = ('label_info', 'vocabulary')  # written before the first labels of a camera


@dataclass(frozen=True)
class Slice:
    """A part of a recording that begins and ends between two windows of frames.

    Attributes:
        number: From 0.
        start_ns, end_ns: Recording times, without the end; None: that of the recording.
        size: Bytes of images and copied messages.
        seen: Frames of each camera before it, by topic.
    """

    number: int
    start_ns: int | None
    end_ns: int | None
    size: int
    seen: dict[str, int] = field(default_factory=dict)


def can_be_sliced(args: argparse.Namespace) -> bool:
    """Return whether no frame needs others than those of its window."""
    return not (args.smoothing or args.track or args.depth_topic or args.camera_info_topic)


def divide(recording: Recording, selection: Selection, frames: int, size: int) -> list[Slice]:
    """Divide a recording so that every slice has the windows that the whole would have.

    Args:
        recording: Open; it is read once, without decoding.
        selection: The part to divide.
        frames: Camera images per window.
        size: Bytes of a slice, at least.
    """
    slices: list[Slice] = []
    start, seen, total, last = selection.start_ns, dict[str, int](), 0, None
    for window in read_windows(recording, selection, frames, decode=_undecoded):
        if last is not None and total >= size and window.start_ns > last.end_ns:
            slices.append(Slice(len(slices), start, last.end_ns + 1, total, seen))
            start, seen, total = last.end_ns + 1, dict(last.seen), 0
        total += window.size
        last = window
    return [*slices, Slice(len(slices), start, selection.end_ns, total, seen)]


def _undecoded(
    camera: Camera, message: Message, position: int, limits: tuple[int, int]
) -> RecordedFrame:
    return RecordedFrame(camera, message, None, None, position=position)


def joined(
    slices: Sequence[tuple[Path, Mapping[str, Any]]], cameras: Sequence[Camera]
) -> Iterator[Message]:
    """Yield the messages of all slices as those of one recording.

    Args:
        slices: The segmented slices in order, each with `frames` and `rejected` of each camera.
        cameras: Of the recording.
    """
    once = {camera.output(output): camera.name for camera in cameras for output in _ONCE}
    infos = {camera.output('frame_info'): camera.name for camera in cameras}
    segmented: dict[str, int] = dict.fromkeys((camera.name for camera in cameras), 0)
    rejected = dict(segmented)
    for path, record in slices:
        with Recording(path) as made:
            for message in made.messages():
                topic = message.topic.name
                if topic in once and segmented[once[topic]]:
                    continue
                if topic in infos:
                    name = infos[topic]
                    message = _counted(message, segmented[name], rejected[name])
                yield message
        for total, key in ((segmented, 'frames'), (rejected, 'rejected')):
            for name, count in record[key].items():
                total[name] += count


def _counted(message: Message, segmented: int, rejected: int) -> Message:
    """Add the counts of earlier slices to a FrameInfo."""
    kind = OUTPUTS['frame_info'].type_name
    info: Any = typestore().deserialize_cdr(message.data, kind)
    info.frames_segmented += segmented
    info.frames_rejected += rejected
    info.frames_replaced -= segmented + rejected
    return Message(message.topic, message.time_ns, bytes(typestore().serialize_cdr(info, kind)))
