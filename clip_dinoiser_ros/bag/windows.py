# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The input of a recording in windows: so many frames at once, with what stands between them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from clip_dinoiser_ros.bag.cameras import Camera, decode_message
from clip_dinoiser_ros.bag.recording import Message, Recording
from clip_dinoiser_ros.frames.images import ImageError

MAX_BYTES = 64 * 2**20  # of messages that are only copied
T = TypeVar('T')


@dataclass(frozen=True)
class Selection:
    """What is taken of a recording.

    Attributes:
        cameras: By topic.
        every: Of each camera the first frame and every N-th after it.
        start_ns, end_ns: Recording times; the end is not included.
        copied: Topics that go along as they are.
    """

    cameras: Mapping[str, Camera]
    every: int = 1
    start_ns: int | None = None
    end_ns: int | None = None
    copied: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class Frame:
    """One camera image.

    Attributes:
        camera: Whose.
        message: As recorded.
        header: std_msgs/Header of the message; None where it is damaged.
        image: uint8 (H, W, 3) RGB; None where it is damaged.
        damage: Why there is no image; empty where there is one.
        decode_ms: How long it took to decode.
        position: Counts the camera's messages, those between every N-th too, from 0.
    """

    camera: Camera
    message: Message
    header: Any
    image: npt.NDArray[np.uint8] | None
    damage: str = ''
    decode_ms: float = 0.0
    position: int = 0


@dataclass
class Window:
    """A piece of the recording.

    Attributes:
        items: In the order of their times: frames, and messages that are copied. A camera message
            that is both stands there twice.
        read: Messages of the recording read up to the end of this window.
        seen: Frames of each camera up to the end of this window, by topic; those between every
            N-th counted.
        end_ns: Recording time of its last message.
    """

    items: list[Frame | Message] = field(default_factory=list)
    read: int = 0
    seen: dict[str, int] = field(default_factory=dict)
    end_ns: int = 0


def read_windows(
    recording: Recording,
    selection: Selection,
    frames: int,
    read: int = 0,
    seen: Mapping[str, int] | None = None,
) -> Iterator[Window]:
    """Cut the recording into windows, the same ones every time.

    Args:
        recording: Open.
        selection: What is taken of it.
        frames: Camera images per window.
        read: Messages that were read before, as a window says; they are passed over.
        seen: Frames of each camera among them.
    """
    topics = {*selection.cameras, *selection.copied}
    messages = chain(
        _latched_before(recording, selection),
        recording.messages(topics, selection.start_ns, selection.end_ns),
    )
    window = Window(read=read, seen=dict(seen or {}))
    count = size = 0
    for message in islice(messages, read, None):
        window.read += 1
        window.end_ns = message.time_ns
        topic = message.topic.name
        if topic in selection.copied:
            window.items.append(message)
            size += len(message.data)
        if topic in selection.cameras:
            position = window.seen.get(topic, 0)
            window.seen[topic] = position + 1
            if position % selection.every == 0:
                window.items.append(decode_frame(selection.cameras[topic], message, position))
                count += 1
        if count >= frames or size >= MAX_BYTES:
            yield window
            window = Window(read=window.read, seen=dict(window.seen))
            count = size = 0
    if window.items:
        yield window


def _latched_before(recording: Recording, selection: Selection) -> Iterator[Message]:
    """Latched messages from before the start, as if they came at the start.

    What holds from then on (static transforms, a map) is needed after it too.
    """
    start = selection.start_ns
    if start is None or start <= recording.start_ns:
        return
    latched = {name for name in selection.copied if recording.topics[name].latched}
    if latched:
        for message in recording.messages(latched, None, start):
            yield Message(message.topic, start, message.data)


def decode_frame(camera: Camera, message: Message, position: int) -> Frame:
    """Decode a camera message; a damaged one becomes a frame that says why."""
    start = time.perf_counter()
    try:
        header, image = decode_message(message.data, message.topic.type_name)
    except ImageError as error:
        return Frame(camera, message, None, None, str(error), position=position)
    decode_ms = 1e3 * (time.perf_counter() - start)
    return Frame(camera, message, header, image, decode_ms=decode_ms, position=position)


def ahead(items: Iterator[T]) -> Iterator[T]:
    """Make the next item in a thread while the caller works on this one."""
    end = object()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(next, items, end)
        while (item := future.result()) is not end:
            future = pool.submit(next, items, end)
            yield item  # type: ignore[misc]
