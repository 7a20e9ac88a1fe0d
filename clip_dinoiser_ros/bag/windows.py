# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The input of a recording in windows: a number of frames, with the messages between them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from clip_dinoiser_ros.bag.cameras import Camera, decode_message
from clip_dinoiser_ros.bag.partners import PartnerFinder, Partners
from clip_dinoiser_ros.bag.recording import Message, Recording
from clip_dinoiser_ros.frames.compressed import MAX_BYTES as MAX_IMAGE_BYTES
from clip_dinoiser_ros.frames.images import MAX_PIXELS, ImageError, stamp_ns

MAX_BYTES = 64 * 2**20  # of messages that are only copied
T = TypeVar('T')


@dataclass(frozen=True)
class Selection:
    """The part of a recording that is processed.

    Attributes:
        cameras: By topic.
        every: Use the first frame of each camera and every N-th after it.
        start_ns, end_ns: Recording times; the end is not included.
        copied: Topics that are copied unchanged.
        limits: Maximum pixels, and maximum bytes of JPEG and PNG; larger ones are refused.
        latched_before: Also copy latched messages from before `start_ns`.
        stop: Number of messages, counted as `Window.read`, after which it ends; None: not before
            `end_ns`.
    """

    cameras: Mapping[str, Camera]
    every: int = 1
    start_ns: int | None = None
    end_ns: int | None = None
    copied: frozenset[str] = frozenset()
    limits: tuple[int, int] = (MAX_PIXELS, MAX_IMAGE_BYTES)
    latched_before: bool = True
    stop: int | None = None


@dataclass(frozen=True, eq=False)
class RecordedFrame:
    """One camera image.

    Attributes:
        camera: Its camera.
        message: The recorded message.
        header: std_msgs/Header of the message; None if it is damaged.
        image: uint8 (H, W, 3) RGB; None if it is damaged.
        damage: Why there is no image; empty if there is one.
        decode_ms: How long it took to decode.
        position: Index among all messages of the camera, from 0, also of skipped ones.
        partners: Depth and CameraInfo of the image; None if the camera has no such topics.
    """

    camera: Camera
    message: Message
    header: Any
    image: npt.NDArray[np.uint8] | None
    damage: str = ''
    decode_ms: float = 0.0
    position: int = 0
    partners: Partners | None = None


@dataclass
class Window:
    """A section of the recording.

    Attributes:
        items: Frames and copied messages in order of time. A camera message that is both occurs
            twice.
        read: Messages of the recording read up to the end of this window.
        seen: Frames of each camera up to the end of this window, by topic, with skipped ones.
        start_ns, end_ns: Recording times of its first and last message.
        tied: Number of messages up to the end of this window that have the time of its last.
        size: Bytes of its camera images and copied messages.
    """

    items: list[RecordedFrame | Message] = field(default_factory=list)
    read: int = 0
    seen: dict[str, int] = field(default_factory=dict)
    start_ns: int = 0
    end_ns: int = 0
    tied: int = 0
    size: int = 0


def read_windows(
    recording: Recording,
    selection: Selection,
    frames: int,
    read: int = 0,
    seen: Mapping[str, int] | None = None,
    decode: Decoder | None = None,
) -> Iterator[Window]:
    """Divide the recording into windows, the same ones every time.

    Args:
        recording: Open.
        selection: The part to process.
        frames: Camera images per window.
        read: Messages that were read before (see `Window.read`); they are skipped.
        seen: Frames of each camera among them.
        decode: Used instead of `decode_frame`.
    """
    decode = decode or decode_frame
    partners = PartnerFinder(selection.cameras.values())
    topics = {*selection.cameras, *selection.copied, *partners.topics}
    messages = _LookAhead(
        islice(
            chain(
                _latched_before(recording, selection),
                recording.messages(topics, selection.start_ns, selection.end_ns),
            ),
            selection.stop,
        )
    )
    for message in islice(messages, read):
        if message.topic.name in partners.topics:
            partners.put(message)
    window = Window(read=read, seen=dict(seen or {}))
    count = size = tied = 0
    for message in messages:
        window.read += 1
        window.start_ns = window.start_ns or message.time_ns
        tied = tied + 1 if message.time_ns == window.end_ns else 1
        window.tied, window.end_ns = tied, message.time_ns
        topic = message.topic.name
        if topic in selection.copied:
            window.items.append(message)
            size += len(message.data)
            window.size += len(message.data)
        if topic in partners.topics:
            partners.put(message)
        if topic in selection.cameras:
            position = window.seen.get(topic, 0)
            window.seen[topic] = position + 1
            if position % selection.every == 0:
                camera = selection.cameras[topic]
                frame = decode(camera, message, position, selection.limits)
                window.size += len(message.data)
                window.items.append(_with_partners(frame, partners))
                count += 1
        if count >= frames or size >= MAX_BYTES:
            partners.settle(messages.ahead(), window.end_ns)
            yield window
            window = Window(read=window.read, seen=dict(window.seen), end_ns=window.end_ns)
            count = size = 0
    if window.items:
        partners.settle(iter(()), window.end_ns)
        yield window


class _LookAhead:
    """An iterator that allows a look at its next items."""

    def __init__(self, messages: Iterator[Message]) -> None:
        self._messages = messages
        self._waiting: deque[Message] = deque()

    def __iter__(self) -> Iterator[Message]:
        return self

    def __next__(self) -> Message:
        return self._waiting.popleft() if self._waiting else next(self._messages)

    def ahead(self) -> Iterator[Message]:
        """Iterate over the next items without taking them."""
        yield from tuple(self._waiting)
        for message in self._messages:
            self._waiting.append(message)
            yield message


def _with_partners(frame: RecordedFrame, partners: PartnerFinder) -> RecordedFrame:
    if frame.header is None or not (frame.camera.depth_topic or frame.camera.camera_info_topic):
        return frame
    return replace(frame, partners=partners.expect(frame.camera, stamp_ns(frame.header)))


def _latched_before(recording: Recording, selection: Selection) -> Iterator[Message]:
    """Return latched messages from before the start, with the time of the start.

    They remain valid (static transforms, a map), so consumers need them.
    """
    start = selection.start_ns
    if start is None or start <= recording.start_ns or not selection.latched_before:
        return
    latched = {name for name in selection.copied if recording.topics[name].latched}
    if latched:
        for message in recording.messages(latched, None, start):
            yield Message(message.topic, start, message.data)


def decode_frame(
    camera: Camera,
    message: Message,
    position: int,
    limits: tuple[int, int] = (MAX_PIXELS, MAX_IMAGE_BYTES),
) -> RecordedFrame:
    """Decode a camera message; a damaged one becomes a frame with the reason."""
    start = time.perf_counter()
    try:
        header, image = decode_message(message.data, message.topic.type_name, *limits)
    except ImageError as error:
        return RecordedFrame(camera, message, None, None, str(error), position=position)
    decode_ms = 1e3 * (time.perf_counter() - start)
    return RecordedFrame(camera, message, header, image, decode_ms=decode_ms, position=position)


Decoder = Callable[[Camera, Message, int, tuple[int, int]], RecordedFrame]


def ahead(items: Iterator[T]) -> Iterator[T]:
    """Compute the next item in a thread while the caller uses this one."""
    end = object()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(next, items, end)
        while (item := future.result()) is not end:
            future = pool.submit(next, items, end)
            yield item  # type: ignore[misc]
