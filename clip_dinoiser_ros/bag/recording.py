# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A recording, read message by message, as far as it can be read."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from heapq import merge
from itertools import chain, islice, pairwise
from pathlib import Path, PurePath
from typing import Any

from rosbags.interfaces import (
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import Reader
from ruamel.yaml import YAML

from clip_dinoiser_ros.bag.mend import MendedFile
from clip_dinoiser_ros.bag.types import definition, typestore

SUFFIXES = {'.mcap': 'mcap', '.db3': 'sqlite3'}
END_OF_TIME_NS = 2**31 * 10**9  # the last second that builtin_interfaces/msg/Time can tell


class BagError(ValueError):
    """A bag that cannot be read or written; says which, why, and what is allowed."""


@dataclass(frozen=True)
class Topic:
    """One topic of a recording.

    Attributes:
        name: With a slash in front.
        type_name: Such as sensor_msgs/msg/Image.
        definition: Text of the type's definition and its hash; None when unknown.
        qos: What its publishers offered, as far as it was recorded.
        count: Messages, as the recording says.
    """

    name: str
    type_name: str
    definition: tuple[str, str] | None
    qos: tuple[Qos, ...]
    count: int

    @property
    def latched(self) -> bool:
        """Whether late subscribers are to get what was published before."""
        return any(qos.durability == QosDurability.TRANSIENT_LOCAL for qos in self.qos)


@dataclass(frozen=True, eq=False)
class Message:
    """One message, serialized.

    Attributes:
        topic: Its topic.
        time_ns: When it was recorded.
        data: CDR, encapsulation header included.
    """

    topic: Topic
    time_ns: int
    data: bytes


def make_topic(name: str, type_name: str, latched: bool = False) -> Topic:
    """Describe a topic to write, offered as the node offers its own: reliable, depth 1.

    Args:
        name: With a slash in front.
        type_name: A type that `typestore` knows.
        latched: Transient local, else volatile.
    """
    text, _ = typestore().generate_msgdef(type_name, ros_version=2)
    never = QosTime(9223372036, 854775807)  # what ROS records for: no deadline
    offered = Qos(
        history=QosHistory.KEEP_LAST,
        depth=1,
        reliability=QosReliability.RELIABLE,
        durability=QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
        deadline=never,
        lifespan=never,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=never,
        avoid_ros_namespace_conventions=False,
    )
    digest = typestore().hash_rihs01(type_name)
    return Topic(name, type_name, definition=(text, digest), qos=(offered,), count=0)


class Recording:
    """A rosbag2: a folder, or one mcap or sqlite3 file. Open it with `with`.

    A file that was cut off or is damaged in places is read as far as it is whole, a folder whose
    recorder was killed before it wrote metadata.yaml by its files, and one in which some files
    cannot be read or are missing by the others.

    Args:
        path: Folder or file.

    Attributes:
        topics: By name.
        start_ns, end_ns: Times of the first message and just after the last; 0 when it is empty.
        storage: mcap or sqlite3.
        damage: What could not be read, one line each; grows while messages are read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.topics: dict[str, Topic] = {}
        self.damage: list[str] = []
        self.start_ns = self.end_ns = 0
        self.storage = ''
        self._readers: list[Reader] = []
        self._cut: list[str] = []  # which files end too early

    def __enter__(self) -> Recording:
        parts, told = _parts(self.path)
        errors: list[Exception] = []
        for path in parts:
            try:
                self._readers.append(self._open(path))
            except (BagError, FileNotFoundError) as error:
                errors.append(error)
        if not self._readers:
            raise errors[0]
        self.damage += [str(error) for error in errors]
        self.storage = _storage(self.path)
        self._collect()
        found = sum(reader.message_count for reader in self._readers)
        if told is not None and found < told:
            self.damage.append(
                f'{told - found} of {told} messages that metadata.yaml tells of are missing'
            )
        if found != told:  # otherwise no message is behind the cut: only the index was cut off
            self.damage = self._cut + self.damage
        return self

    def __exit__(self, *_: object) -> None:
        for reader in self._readers:
            reader.close()
        self._readers = []

    def messages(
        self,
        topics: Collection[str] | None = None,
        start_ns: int | None = None,
        end_ns: int | None = None,
    ) -> Iterator[Message]:
        """Read messages in the order of their times, one at a time.

        Args:
            topics: Names; None: all.
            start_ns: None: from the first.
            end_ns: Messages of this time and later are left out; None: to the last.
        """
        spans = [(r.start_time, r.end_time) for r in self._readers if r.message_count]
        parts = [self._part(index, topics, start_ns, end_ns) for index in range(len(self._readers))]
        if all(before[1] <= after[0] for before, after in pairwise(spans)):
            yield from chain.from_iterable(parts)
        else:  # files of one recording that overlap in time
            yield from merge(*parts, key=lambda message: message.time_ns)

    def _part(
        self, index: int, topics: Collection[str] | None, start: int | None, end: int | None
    ) -> Iterator[Message]:
        """Read one file; where it turns out to be damaged, go on with what is whole of it."""
        done = 0
        while True:
            reader = self._readers[index]
            chosen = [
                c
                for c in reader.connections
                if (topics is None or c.topic in topics)
                and c.topic in self.topics
                and self.topics[c.topic].type_name == c.msgtype
            ]
            if not chosen:
                return
            try:
                messages = reader.messages(chosen, start, end)
                for connection, time_ns, data in islice(messages, done, None):
                    done += 1
                    if 0 <= time_ns < END_OF_TIME_NS:
                        yield Message(self.topics[connection.topic], time_ns, data)
                    else:
                        self.damage.append(f'{connection.topic} at {time_ns} ns: no such time')
                counted = sum(connection.msgcount for connection in chosen)
                if start is None and end is None and done < counted:
                    self.damage.append(
                        f'{reader.path}: {counted - done} of {counted} messages by its index are '
                        'not where they should be'
                    )
                return
            except Exception as error:  # whatever rosbags and decompressors raise
                if reader.path.suffix != '.mcap' or isinstance(reader.path, MendedFile):
                    self.damage.append(f'{reader.path}: nothing readable after this: {error}')
                    return
                known = len(self._cut)
                mended = self._readers[index] = self._open_mended(Path(str(reader.path)))
                self.damage += self._cut[known:]
                reader.close()
                for topic in {c.topic for c in mended.connections} - self.topics.keys():
                    self.damage.append(f'{topic} is not in the index of {reader.path} and not read')

    def _open(self, path: Path) -> Reader:
        try:
            reader = Reader(path)
            reader.open()
        except FileNotFoundError:
            raise
        except Exception as error:
            if path.suffix == '.mcap':
                return self._open_mended(path)
            raise BagError(f'{path} cannot be read: {error}') from error
        return reader

    def _open_mended(self, path: Path) -> Reader:
        try:
            mended = MendedFile(path)
            reader = Reader(mended)  # type: ignore[arg-type]
            reader.open()
        except Exception as error:
            raise BagError(f'{path} cannot be read: {error}') from error
        self.damage += mended.damaged
        self._cut += mended.cut
        return reader

    def _collect(self) -> None:
        connections: dict[str, list[Connection]] = {}
        for reader in self._readers:
            for connection in reader.connections:
                same = connections.setdefault(connection.topic, [])
                if same and same[0].msgtype != connection.msgtype:
                    self.damage.append(
                        f'{connection.topic} has two types: {same[0].msgtype} is read, '
                        f'{connection.msgtype} is not'
                    )
                else:
                    same.append(connection)
        self.topics = {name: _topic(same) for name, same in connections.items()}
        filled = [reader for reader in self._readers if reader.message_count]
        if filled:
            self.start_ns = min(reader.start_time for reader in filled)
            self.end_ns = max(reader.end_time for reader in filled)


def _topic(connections: list[Connection]) -> Topic:
    first = connections[0]
    qos: dict[str, Any] = {}
    for connection in connections:
        for profile in getattr(connection.ext, 'offered_qos_profiles', []):
            qos[repr(profile)] = profile
    return Topic(
        name=first.topic,
        type_name=first.msgtype,
        definition=definition(first),
        qos=tuple(qos.values()),
        count=sum(connection.msgcount for connection in connections),
    )


def _parts(path: Path) -> tuple[list[Path], int | None]:
    """Find the files of a recording, in order; the folder itself where it is compressed.

    Returns:
        The files, and how many messages metadata.yaml tells of; None where it tells nothing.
    """
    if not path.exists():
        raise FileNotFoundError(f'{path} does not exist; give a folder, a .mcap or a .db3 file')
    if path.is_file():
        if path.suffix not in SUFFIXES:
            hint = ' (a ROS 1 bag: rosbags-convert makes a rosbag2 of it)' * (path.suffix == '.bag')
            raise BagError(f'{path} is no bag: allowed are a folder, .mcap and .db3{hint}')
        return [path], None
    told = None
    metadata = path / 'metadata.yaml'
    if metadata.exists():
        try:
            described = YAML(typ='safe').load(metadata.read_text())['rosbag2_bagfile_information']
            if described.get('compression_mode'):
                return [path], None
            told = int(described['message_count'])
            # only the names: a path with ../ would lead out of the folder
            parts = [path / PurePath(part).name for part in described['relative_file_paths']]
        except Exception as error:
            raise BagError(f'{metadata} cannot be read: {error}') from error
    else:
        files = [file for file in path.iterdir() if file.suffix in SUFFIXES]
        parts = sorted(files, key=_by_number)
    if not parts:
        raise BagError(f'{path} is no bag: it has neither metadata.yaml nor a .mcap or .db3 file')
    return parts, told


def _by_number(path: Path) -> tuple[int, str]:
    """Sort name_10 behind name_9, as recorders count."""
    number = re.search(r'_(\d+)$', path.stem)
    return (int(number[1]) if number else 0, path.name)


def _storage(path: Path) -> str:
    files = [path] if path.is_file() else path.iterdir()
    suffixes = {Path(file.stem).suffix if file.suffix == '.zstd' else file.suffix for file in files}
    return 'mcap' if '.mcap' in suffixes else 'sqlite3'
