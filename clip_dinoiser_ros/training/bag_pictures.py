"""Pictures out of a robot's own recording, drawn evenly over its time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from clip_dinoiser_ros import images
from clip_dinoiser_ros.training.pictures import (
    PICTURES,
    Picture,
    SourceError,
    check_count,
    decode,
)
from clip_dinoiser_ros.training.spool import Spool, encode

RAW = 'sensor_msgs/msg/Image'
COMPRESSED = 'sensor_msgs/msg/CompressedImage'
# Depth, labels and confidence come in these; without being named such a topic is left alone.
_ONE_CHANNEL = ('mono', '8UC1', '8SC1', '16UC1', '16SC1', '32SC1', '32FC1', '64FC1')


class BagPictures:
    """Frames of a rosbag2 (mcap or sqlite3), evenly over the time of each topic.

    They are taken out once and set aside in a temporary file, so the bag is read only at the start.

    Args:
        bag: Folder of a rosbag2, or one .mcap or .db3 file.
        topics: Image topics, raw or compressed; none: every one that has colour.
        count: How many frames to draw, over all topics; all when there are fewer.

    Raises:
        SourceError: No such bag, not readable, no images, or none that can be decoded.
    """

    def __init__(self, bag: str | Path, topics: Sequence[str] = (), count: int = PICTURES) -> None:
        check_count(count)
        self._spool = Spool()
        self._kept: list[slice] = []
        self.names: list[str] = []
        unreadable: list[str] = []
        with _open(Path(bag)) as reader:
            connections = _image_connections(reader, bag, topics)
            stamps, chosen = _choose(reader, connections, count)
            for connection, stamp, data in _messages(reader, connections, 'take frames'):
                if stamp not in chosen[connection.topic]:
                    continue
                chosen[connection.topic].remove(stamp)  # another of the same time is not drawn
                name = f'{connection.topic}@{stamp}'
                try:
                    self._kept.append(self._spool.add(_encoded(reader, connection, data)))
                    self.names.append(name)
                except ValueError as error:
                    unreadable.append(f'{name}: {error}')
        if not self.names:
            raise SourceError(
                f'none of the {len(unreadable)} frames drawn from bag {str(bag)!r} can be '
                f'decoded; the first is {unreadable[0]}'
            )
        self.about: dict[str, Any] = {
            'kind': 'bag',
            'path': str(Path(bag).absolute()),
            'topics': sorted(stamps),
            'found': sum(map(len, stamps.values())),
            'used': len(self.names),
            'unreadable': unreadable,
        }

    def read(self, index: int) -> Picture:
        """Return a frame."""
        return Picture(decode(self._spool.read(self._kept[index])))


@contextmanager
def _open(bag: Path) -> Iterator[Any]:
    """Open a rosbag2; whatever the reader raises names the bag."""
    try:
        from rosbags.highlevel import AnyReader
        from rosbags.typesys import Stores, get_typestore
    except ImportError as error:
        raise SourceError(f'reading {str(bag)!r} needs rosbags: pip install rosbags') from error
    if not bag.exists():
        raise SourceError(f'bag {str(bag)!r} does not exist')
    # sqlite3 bags before Iron hold no message definitions
    store = get_typestore(Stores.ROS2_JAZZY)
    try:
        with AnyReader([bag], default_typestore=store) as reader:
            yield reader
    except SourceError:
        raise
    except Exception as error:  # rosbags raises many types on damaged files
        reason = ' '.join(str(error).split())
        raise SourceError(f'bag {str(bag)!r} cannot be read: {reason}') from error


def _image_connections(reader: Any, bag: str | Path, topics: Sequence[str]) -> list[Any]:
    """Return the connections of the named image topics, or of all that have colour."""
    every = [c for c in reader.connections if c.msgtype in (RAW, COMPRESSED)]
    wanted = {'/' + topic.lstrip('/') for topic in topics}
    missing = wanted - {'/' + c.topic.lstrip('/') for c in every}
    if missing or not every:
        have = ', '.join(sorted(c.topic for c in every)) or 'none'
        what = f'topic {", ".join(sorted(missing))}' if missing else 'topic'
        raise SourceError(f'bag {str(bag)!r} has no image {what}; its image topics: {have}')
    if wanted:
        found = [c for c in every if '/' + c.topic.lstrip('/') in wanted]
    else:
        found = [c for c in every if _has_colour(reader, c)]
    if not any(c.msgcount for c in found):
        have = ', '.join(sorted(f'{c.topic} ({c.msgcount} messages)' for c in every))
        raise SourceError(
            f'bag {str(bag)!r} holds no colour images in the topics asked for; '
            f'its image topics: {have}; name a grey one to train on it'
        )
    return [c for c in found if c.msgcount]


def _has_colour(reader: Any, connection: Any) -> bool:
    """Whether the first message of a topic is a colour picture."""
    for _, _, data in reader.messages([connection]):
        message = reader.deserialize(data, connection.msgtype)
        kind = message.encoding if connection.msgtype == RAW else message.format
        return not kind.startswith(_ONE_CHANNEL) and 'compressedDepth' not in kind
    return False


def _messages(reader: Any, connections: list[Any], doing: str) -> Iterator[tuple[Any, int, bytes]]:
    """Yield the messages of connections in the bag's order, with a bar."""
    total = sum(connection.msgcount for connection in connections)
    yield from tqdm(reader.messages(connections), doing, total, leave=False, unit='msg')


def _choose(
    reader: Any, connections: list[Any], count: int
) -> tuple[dict[str, np.ndarray], dict[str, set[int]]]:
    """Choose frames of each topic, evenly over its time.

    What a short topic leaves over goes to the others.

    Returns:
        The times of all frames of each topic, int64 (n,) nanoseconds, and those of the chosen ones.
    """
    times: dict[str, list[int]] = {connection.topic: [] for connection in connections}
    for connection, stamp, _ in _messages(reader, connections, 'find frames'):
        times[connection.topic].append(stamp)
    stamps = {topic: np.unique(np.array(found, np.int64)) for topic, found in times.items()}
    chosen: dict[str, set[int]] = {}
    for done, topic in enumerate(sorted(stamps, key=lambda topic: (len(stamps[topic]), topic))):
        chosen[topic] = set(evenly(stamps[topic], -(-count // (len(stamps) - done))).tolist())
        count -= len(chosen[topic])
    return stamps, chosen


def evenly(stamps: np.ndarray, count: int) -> np.ndarray:
    """Choose the stamps nearest to `count` moments that lie evenly over the time.

    Args:
        stamps: int64 (n,), ascending, without repetition.
        count: At most so many are chosen.

    Returns:
        int64 (m,), ascending, without repetition: where the recording has gaps, fewer.
    """
    if len(stamps) <= count:
        return stamps
    span = int(stamps[-1] - stamps[0])
    moments = stamps[0] + ((np.arange(count) + 0.5) * (span / count)).astype(np.int64)
    after = np.searchsorted(stamps, moments).clip(1, len(stamps) - 1)
    nearer = moments - stamps[after - 1] < stamps[after] - moments
    return stamps[np.unique(after - nearer)]


def _encoded(reader: Any, connection: Any, data: bytes) -> bytes:
    """Return a frame as an encoded picture; raises ValueError where it cannot be decoded."""
    try:
        message = reader.deserialize(data, connection.msgtype)
    except Exception as error:  # a damaged message fails in whatever way it does
        raise SourceError(f'damaged message: {error}') from error
    if connection.msgtype == RAW:
        return encode(images.to_rgb(message))
    encoded = bytes(message.data)
    decode(encoded)
    return encoded
