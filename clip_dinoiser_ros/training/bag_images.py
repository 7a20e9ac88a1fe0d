# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Training images from a robot's recording, spread evenly over time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from clip_dinoiser_ros.bag.pauses import LONGEST_PAUSE_NS
from clip_dinoiser_ros.core.errors import one_line
from clip_dinoiser_ros.frames import compressed, images
from clip_dinoiser_ros.training.image_sources import (
    IMAGES,
    SourceError,
    TrainingImage,
    check_count,
    decode,
)
from clip_dinoiser_ros.training.image_store import ImageStore, encode

if TYPE_CHECKING:
    from clip_dinoiser_ros.bag.recording import Message, Recording, Topic

RAW = 'sensor_msgs/msg/Image'
COMPRESSED = 'sensor_msgs/msg/CompressedImage'
# Depth, labels and confidence have these encodings. Such topics are used only if named.
_ONE_CHANNEL = ('mono', '8UC1', '8SC1', '16UC1', '16SC1', '32SC1', '32FC1', '64FC1')


class BagImages:
    """Frames of a rosbag2 (mcap or sqlite3), spread evenly over the time of each topic.

    They are copied to a temporary file, so the bag is read only at the start. A bag that was cut
    off or is partly damaged is read as far as possible. `about` lists what could not be read as
    `damage`, and readable data that is not used as `left_out`.

    Args:
        bag: Folder of a rosbag2, or one .mcap or .db3 file.
        topics: Image topics, raw or compressed; none: every topic with colour images.
        count: Number of frames over all topics; all if there are fewer.

    Raises:
        SourceError: The bag does not exist or is not readable, or has no images that can be
            decoded.
    """

    def __init__(self, bag: str | Path, topics: Sequence[str] = (), count: int = IMAGES) -> None:
        check_count(count)
        self._store = ImageStore()
        self._kept: list[slice] = []
        self.names: list[str] = []
        unreadable: list[str] = []
        with _open(Path(bag)) as recording:
            used, passed_over = _image_topics(recording, bag, topics)
            stamps, chosen = _choose(recording, used, count)
            for message in _messages(recording, used, 'take frames'):
                topic, stamp = message.topic.name, message.time_ns
                if not chosen[topic][stamp]:
                    continue
                chosen[topic][stamp] -= 1
                name = f'{topic}@{stamp}'
                try:
                    self._kept.append(self._store.add(_encoded(message)))
                    self.names.append(name)
                except ValueError as error:
                    unreadable.append(f'{name}: {error}')
            damage, left_out = recording.damage, passed_over + recording.notes
        if not self.names:
            reasons = unreadable[:1] + damage
            raise SourceError(
                f'none of the {len(unreadable)} frames drawn from bag {str(bag)!r} can be '
                f'decoded: {"; ".join(reasons)}'
            )
        self.about: dict[str, Any] = {
            'kind': 'bag',
            'path': str(Path(bag).absolute()),
            'topics': sorted(stamps),
            'found': sum(map(len, stamps.values())),
            'used': len(self.names),
            'unreadable': unreadable,
            'damage': damage,
            'left_out': left_out,
        }

    def read(self, index: int) -> TrainingImage:
        """Return a frame."""
        return TrainingImage(decode(self._store.read(self._kept[index])))


@contextmanager
def _open(bag: Path) -> Iterator[Recording]:
    """Open a rosbag2; errors of the reader name the bag."""
    try:
        from clip_dinoiser_ros.bag.recording import BagError, Recording
    except ImportError as error:
        raise SourceError(
            f'reading {str(bag)!r} needs {error.name}: pip install {error.name}'
        ) from error
    if not bag.exists():
        raise SourceError(f'bag {str(bag)!r} does not exist')
    try:
        with Recording(bag) as recording:
            yield recording
    except SourceError:
        raise
    except BagError as error:
        raise SourceError(str(error)) from error
    except Exception as error:  # rosbags raises many types on damaged files
        reason = one_line(error)
        raise SourceError(f'bag {str(bag)!r} cannot be read: {reason}') from error


def _image_topics(
    recording: Recording, bag: str | Path, names: Sequence[str]
) -> tuple[list[Topic], list[str]]:
    """Return the named image topics, or the colour cameras, and a line for each one left out."""
    from clip_dinoiser_ros.bag.cameras import choose_cameras

    cameras, left_out = choose_cameras(recording, names)
    found = [recording.topics[camera.topic] for camera in cameras]
    grey = [] if names else [topic for topic in found if _is_grey(recording, topic)]
    left_out += [f'{topic.name} is left out: it is grey; --topic includes it' for topic in grey]
    found = [topic for topic in found if topic.count and topic not in grey]
    if not found:
        why = [*left_out, *recording.damage]
        raise SourceError('\n'.join([f'bag {str(bag)!r} has no colour images', *why]))
    return found, left_out


def _is_grey(recording: Recording, topic: Topic) -> bool:
    """Return whether the first intact message of a topic is a grey image."""
    from clip_dinoiser_ros.bag.cameras import image_kind

    kinds = map(image_kind, recording.messages([topic.name]))
    kind = next(filter(None, kinds), '')
    return kind.startswith(_ONE_CHANNEL) or 'compressed mono' in kind


def _messages(recording: Recording, topics: list[Topic], doing: str) -> Iterator[Message]:
    """Yield the messages of topics in the order of the bag, with a progress bar."""
    total = sum(topic.count for topic in topics)
    messages = recording.messages([topic.name for topic in topics])
    yield from tqdm(messages, doing, total, leave=False, unit='msg')


def _choose(
    recording: Recording, topics: list[Topic], count: int
) -> tuple[dict[str, np.ndarray], dict[str, Counter[int]]]:
    """Choose frames of each topic, spread evenly over its time.

    If a topic has fewer frames than its share, the other topics get the rest.

    Returns:
        The times of all frames of each topic, int64 (n,) nanoseconds, and how many frames are
        chosen at each time.
    """
    times: dict[str, list[int]] = {topic.name: [] for topic in topics}
    for message in _messages(recording, topics, 'find frames'):
        times[message.topic.name].append(message.time_ns)
    stamps = {topic: np.sort(np.array(found, np.int64)) for topic, found in times.items()}
    chosen: dict[str, Counter[int]] = {}
    for done, name in enumerate(sorted(stamps, key=lambda name: (len(stamps[name]), name))):
        chosen[name] = Counter(evenly(stamps[name], -(-count // (len(stamps) - done))).tolist())
        count -= chosen[name].total()
    return stamps, chosen


def evenly(stamps: np.ndarray, count: int) -> np.ndarray:
    """Choose the stamps nearest to `count` evenly spaced moments.

    Gaps of more than an hour are skipped, because most of them are clocks that were set.

    Args:
        stamps: int64 (n,), ascending.
        count: Maximum number of stamps.

    Returns:
        int64 (m,), ascending, all different; fewer than `count` if the recording has gaps.
    """
    if len(stamps) <= count:
        return stamps
    steps = np.diff(stamps)
    places = np.append(0, np.cumsum(np.where(steps > LONGEST_PAUSE_NS, 0, steps)))
    moments = ((np.arange(count) + 0.5) * (int(places[-1]) / count)).astype(np.int64)
    after = np.searchsorted(places, moments).clip(1, len(stamps) - 1)
    nearer = moments - places[after - 1] < places[after] - moments
    return stamps[np.unique(after - nearer)]


def _message(message: Message) -> Any:
    """Deserialize a message; raises SourceError if it is damaged."""
    from clip_dinoiser_ros.bag.types import typestore

    try:
        return typestore().deserialize_cdr(message.data, message.topic.type_name)
    except Exception as error:  # damaged messages raise many exception types
        raise SourceError(f'damaged message: {error}') from error


def _encoded(message: Message) -> bytes:
    """Return a frame as an encoded image; raises ValueError if it cannot be decoded."""
    shown = _message(message)
    if message.topic.type_name == RAW:
        return encode(images.to_rgb(shown))
    image, content = compressed.to_rgb(shown), bytes(shown.data)
    try:
        kept = np.array_equal(decode(content), image)
    except SourceError:  # a codec of image_transport's own
        kept = False
    return content if kept else encode(image)
