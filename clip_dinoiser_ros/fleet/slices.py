# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A large recording in slices of time, and their outputs joined to that of the whole."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clip_dinoiser_ros.bag.cameras import Camera
from clip_dinoiser_ros.bag.recording import Message, Recording
from clip_dinoiser_ros.bag.types import typestore
from clip_dinoiser_ros.bag.windows import RecordedFrame, Selection, Window, read_windows
from clip_dinoiser_ros.frames.outputs import OUTPUTS

_ONCE = ('label_info', 'vocabulary')  # written before the first labels of a camera


@dataclass(frozen=True)
class Slice:
    """A part of a recording that begins and ends between two windows of frames.

    Attributes:
        number: From 0.
        start_ns: Recording time of its first message; None: that of the recording.
        read: Messages of that time that belong to the slice before.
        seen: Frames of each camera before it, by topic.
        stop: Number of messages from `start_ns` after which it ends; None: with the recording.
        size: Bytes of images and copied messages.
    """

    number: int
    start_ns: int | None
    read: int
    seen: dict[str, int]
    stop: int | None = None
    size: int = 0


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
    slices = []
    current, before, last = Slice(0, selection.start_ns, 0, {}), 0, Window()
    for window in read_windows(recording, selection, frames, decode=_undecoded):
        if current.size >= size and window.start_ns != selection.start_ns:
            slices.append(replace(current, stop=last.read - before))
            tied = last.tied if window.start_ns == last.end_ns else 0
            current = Slice(len(slices), window.start_ns, tied, dict(last.seen))
            before = last.read - tied
        current = replace(current, size=current.size + window.size)
        last = window
    return [*slices, current]


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
