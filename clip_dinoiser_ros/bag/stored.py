# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The common interface of storage files of all formats."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rosbags.interfaces import Qos
from rosbags.rosbag2.metadata import parse_qos

from clip_dinoiser_ros.bag.types import ros_type


@dataclass(frozen=True)
class StoredTopic:
    """A topic as one storage file describes it.

    Attributes:
        key: Its identifier in this file.
        name: As recorded.
        type_name: Such as sensor_msgs/msg/Image.
        definition: Text of the type definition; empty if the file has none.
        definition_format: ros2msg, ros2idl, or another name in the file.
        digest: RIHS01 hash of the type; empty if the file has none.
        qos: QoS profiles of its publishers.
        count: Number of messages according to the file.
    """

    key: int
    name: str
    type_name: str
    definition: str
    definition_format: str
    digest: str
    qos: tuple[Qos, ...]
    count: int


class StorageFile(Protocol):
    """One mcap or sqlite3 file of a recording.

    Attributes:
        shown: Path that the user gave.
        topics: Topics whose messages can be read.
        count: Number of messages of all topics, readable or not.
        start_ns, end_ns: Time of the first message and just after the last; 0 without messages.
        cut: Says that the file is truncated; empty otherwise.
        damage: Parts that could not be read, one line each; grows while messages are read.
        notes: Topics that are left out, one line each.
    """

    shown: Path
    topics: list[StoredTopic]
    count: int
    start_ns: int
    end_ns: int
    cut: str
    damage: list[str]
    notes: list[str]

    def messages(
        self, keys: Collection[int], start_ns: int | None, end_ns: int | None
    ) -> Iterator[tuple[int, int, bytes]]:
        """Yield key, time and content of messages, in the order of their times.

        Args:
            keys: Keys of the topics.
            start_ns: None: from the first.
            end_ns: Messages of this time and later are left out; None: to the last.
        """
        ...

    def close(self) -> None:
        """Close the file."""
        ...


def add_once(lines: list[str], line: str) -> None:
    """Append a line unless it is there already."""
    if line not in lines:
        lines.append(line)


def unreadable(topic: str, serialization: str, type_name: str) -> str:
    """Return why the messages of a topic cannot be read; empty if they can."""
    if serialization != 'cdr':
        what = f'are {serialization}' if serialization else 'have no encoding by name'
        return f'{topic} is left out: its messages {what}; only those of ROS 2 (cdr) can be read'
    if ros_type(type_name) is None:
        return (
            f'{topic} is left out: {type_name!r} is no message type of ROS 2, '
            'such as sensor_msgs/msg/Image'
        )
    return ''


def offered_qos(text: object) -> tuple[Qos, ...]:
    """Parse recorded QoS profiles; return none if they are not understood."""
    try:
        return tuple(parse_qos(text))  # type: ignore[arg-type]
    except Exception:  # rosbags raises several types, and nothing is lost without them
        return ()
