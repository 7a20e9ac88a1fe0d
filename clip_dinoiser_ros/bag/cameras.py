# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Which topics of a recording are cameras, what they are called, and their messages as images."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from clip_dinoiser_ros.bag.recording import BagError, Message, Recording, Topic
from clip_dinoiser_ros.bag.types import COMPRESSED, IMAGE, typestore
from clip_dinoiser_ros.frames import compressed, images, zstd_transport
from clip_dinoiser_ros.frames.images import ImageError
from clip_dinoiser_ros.frames.outputs import NODE

# last parts of image topics that do not name the camera
_IMAGE_WORDS = re.compile(r'(image|img)(_(raw|rect|color|colour|mono|rgb))*')
# last parts that image_transport puts behind the topic of the raw images
_TRANSPORTS = ('compressed', 'zstd')
# images in types that are not read, and what they are
_OTHER_IMAGES = {
    'ffmpeg_image_transport_msgs/msg/FFMPEGPacket': 'video',
    'foxglove_msgs/msg/CompressedImage': 'an image in a type of Foxglove',
    'foxglove_msgs/msg/CompressedVideo': 'video',
    'foxglove_msgs/msg/RawImage': 'an image in a type of Foxglove',
    'theora_image_transport/msg/Packet': 'video',
}
_CAMERA_NAME = re.compile('[A-Za-z][A-Za-z0-9_]*')
# A compressed topic is compared with the raw one: a few frames at a few times.
_MOMENTS, _FRAMES = 3, 2
_STAMP_END = 12  # of the stamp in CDR, in bytes
_NEAR_NS = 5 * 10**8  # both images of one frame are recorded within this time


@dataclass(frozen=True)
class Camera:
    """An image topic that is segmented.

    Attributes:
        topic: Topic of the images.
        name: Part of the topics of the outputs.
        depth_topic: Topic of depth images aligned to the images; empty: none.
        camera_info_topic: Topic of the CameraInfo of the images; empty: none.
    """

    topic: str
    name: str
    depth_topic: str = ''
    camera_info_topic: str = ''

    def output(self, name: str) -> str:
        """Return the topic of an output, as in the node."""
        return f'/{NODE}/{self.name}/{name}'


def camera_name(topic: str) -> str:
    """Name a camera after its topic: /rig/front/image_raw/compressed becomes rig_front."""
    parts = topic.strip('/').split('/')
    if len(parts) > 1 and parts[-1] in _TRANSPORTS:
        parts.pop()
    if _IMAGE_WORDS.fullmatch(parts[-1]):
        parts.pop()
    return _clean('_'.join(parts))


def _clean(text: str) -> str:
    name = re.sub('_+', '_', re.sub('[^A-Za-z0-9]', '_', text)).strip('_')
    return name if re.match('[A-Za-z]', name) else f'camera_{name}'.rstrip('_')


def choose_cameras(
    recording: Recording,
    topics: Sequence[str] = (),
    names: Mapping[str, str] | None = None,
    depth_topics: Sequence[str] = (),
) -> tuple[list[Camera], list[str]]:
    """Choose the cameras to segment.

    Args:
        recording: Open.
        topics: Image topics; empty: those of all cameras.
        names: Names to use instead of `camera_name`, by topic.
        depth_topics: Image topics that are known to be depth.

    Returns:
        The cameras, sorted by topic, and a line for each image topic that was left out.

    Raises:
        BagError: No such topic, no image topic at all, a name that cannot be used.
    """
    kinds = (IMAGE, COMPRESSED)
    found = sorted(t.name for t in recording.topics.values() if t.type_name in kinds)
    there = f'image topics of {recording.path}: {", ".join(found) or "none"}'
    left_out = {t.name: reason for t in recording.topics.values() if (reason := _unread(t))}
    if topics:
        for topic in topics:
            if recording.find(topic) not in found:
                why = [*_notes(left_out), *recording.notes, *recording.damage]
                raise BagError(
                    '\n'.join([f'{topic} is not an image topic of the bag; {there}', *why])
                )
        left_out = {}
        chosen = sorted({recording.find(topic) or topic for topic in topics})
    else:
        depth = {recording.find(topic) for topic in depth_topics}
        left_out |= {t: 'it is the depth of a camera' for t in found if t in depth}
        left_out |= {
            t: reason
            for t in found
            if t not in depth and (reason := _not_a_camera(recording, recording.topics[t]))
        }
        chosen = [topic for topic in found if topic not in left_out]
        for topic, packed in _transports_of(chosen):
            if _same_frames(recording, topic, packed):
                left_out[packed] = f'the same as {topic}'
                chosen.remove(packed)
        deep = [topic for topic in chosen if _is_deep_grey(recording, topic)]
        if len(deep) < len(chosen):
            reason = 'it is 16-bit grey beside other cameras, as depth is; --topic takes it'
            left_out.update(dict.fromkeys(deep, reason))
            chosen = [topic for topic in chosen if topic not in deep]
    notes = _notes(left_out)
    if not chosen:
        why = [*notes, *recording.notes, *recording.damage]
        raise BagError('\n'.join([f'no camera found; {there}', *why]))
    given = {recording.find(topic) or topic: name for topic, name in (names or {}).items()}
    return _named(chosen, given), notes


def _notes(left_out: Mapping[str, str]) -> list[str]:
    return [f'{topic} is left out: {reason}' for topic, reason in left_out.items()]


def _unread(topic: Topic) -> str:
    """Say that a topic has images in a type that is not read; empty when it has none."""
    what = _OTHER_IMAGES.get(topic.type_name)
    if what is None:
        return ''
    return (
        f'it is {what} ({topic.type_name}); republish it as sensor_msgs/msg/Image, for example by '
        'image_transport republish, and record that'
    )


def _transports_of(topics: Sequence[str]) -> list[tuple[str, str]]:
    """Pair each topic with those that image_transport makes of its images."""
    pairs = ((topic, f'{topic}/{transport}') for topic in topics for transport in _TRANSPORTS)
    return [pair for pair in pairs if pair[1] in topics]


def _named(topics: list[str], names: dict[str, str]) -> list[Camera]:
    for topic, name in names.items():
        if topic not in topics:
            raise BagError(f'--name {topic}: not a segmented topic; those are {", ".join(topics)}')
        if not _CAMERA_NAME.fullmatch(name) or '__' in name or name.endswith('_'):
            raise BagError(
                f'camera name {name!r} cannot be part of a topic name; use letters, digits and '
                'single underscores inside, starting with a letter'
            )
    short = {topic: camera_name(topic) for topic in topics if topic not in names}
    for topic, name in short.items():  # equal names are replaced by the whole topic
        alike = list(short.values()).count(name) > 1 or name in names.values()
        names[topic] = _clean(topic) if alike else name
    if len(set(names.values())) < len(names):
        given = ', '.join(f'{topic}={name}' for topic, name in sorted(names.items()))
        raise BagError(f'two cameras with the same name: {given}; rename one: --name TOPIC=NAME')
    return [Camera(topic, names[topic]) for topic in topics]


def _not_a_camera(recording: Recording, topic: Topic) -> str:
    """Return why an image topic is not a camera; empty if it is one."""
    first = next(recording.messages([topic.name]), None)
    if first is None:
        return 'it has no messages'
    spaces = topic.name.split('/')
    above = ['/'.join(spaces[:depth]) for depth in range(1, len(spaces))]
    types = {name: known.type_name for name, known in recording.topics.items()}
    if any(
        types.get(f'{space}/vocabulary') == 'clip_dinoiser_ros/msg/Vocabulary' for space in above
    ):
        return 'it was made by this program'
    kind = image_kind(first)
    if 'compressedDepth' in kind or re.match('(16U|32F|64F)C1', kind):
        return f'it is a depth image ({kind})'
    labels = types.get(f'{above[-1]}/label_info') == 'vision_msgs/msg/LabelInfo'
    if labels and kind in ('mono8', 'mono16', '8UC1', '16UC1'):
        return 'it is a label image, with a label_info beside it'
    return ''


def _same_frames(recording: Recording, raw: str, packed: str) -> bool:
    """Return whether most of some frames of a compressed topic are in the raw one, by stamp."""
    span = (recording.end_ns - recording.start_ns) // _MOMENTS
    tried = same = 0
    for moment in range(_MOMENTS):
        start = recording.start_ns + moment * span
        for message in islice(recording.messages([packed], start), _FRAMES):
            near = recording.messages([raw], message.time_ns - _NEAR_NS, message.time_ns + _NEAR_NS)
            stamp = header_stamp_ns(message)
            tried += 1
            same += stamp is not None and any(header_stamp_ns(one) == stamp for one in near)
    return same > tried / 2


def header_stamp_ns(message: Message) -> int | None:
    """Return the stamp of a message that begins with a header; None: it is too short."""
    if len(message.data) < _STAMP_END:
        return None
    order = '<' if message.data[1] & 1 else '>'
    seconds, nanoseconds = struct.unpack_from(f'{order}iI', message.data, 4)
    return int(seconds) * 10**9 + int(nanoseconds)


def _is_deep_grey(recording: Recording, topic: str) -> bool:
    """Return whether the first image of a topic is 16-bit grey."""
    first = next(recording.messages([topic]), None)
    return first is not None and image_kind(first).startswith('mono16')


def image_kind(message: Message) -> str:
    """Return the encoding of an image, or the format of a compressed one; empty if damaged."""
    try:
        image: Any = typestore().deserialize_cdr(message.data, message.topic.type_name)
        if message.topic.type_name == IMAGE:
            return str(image.encoding)
        if image.format == zstd_transport.FORMAT:
            return zstd_transport.encoding(image.data)
    except Exception:  # each message is checked later
        return ''
    return str(image.format)


def decode_message(
    data: bytes,
    type_name: str,
    max_pixels: int = images.MAX_PIXELS,
    max_bytes: int = compressed.MAX_BYTES,
) -> tuple[Any, npt.NDArray[np.uint8]]:
    """Decode an image message.

    Args:
        data: CDR.
        type_name: sensor_msgs/msg/Image or CompressedImage.
        max_pixels: Larger images are refused.
        max_bytes: Larger JPEG and PNG are refused.

    Returns:
        Its header, and uint8 (H, W, 3) RGB.

    Raises:
        ImageError: It cannot be decoded; the reason.
    """
    try:
        message: Any = typestore().deserialize_cdr(data, type_name)
    except Exception as error:  # rosbags raises several types for damaged bytes
        raise ImageError(f'not a {type_name}: {error or type(error).__name__}') from error
    if type_name == IMAGE:
        return message.header, images.to_rgb(message, max_pixels)
    return message.header, compressed.to_rgb(message, max_pixels, max_bytes)
