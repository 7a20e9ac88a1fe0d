# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A recording, read message by message as far as it is intact."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from heapq import merge
from itertools import chain, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)

from clip_dinoiser_ros.bag.files import SUFFIXES, BagError, find_files, storage
from clip_dinoiser_ros.bag.mcap_file import McapFile
from clip_dinoiser_ros.bag.pauses import LONGEST_PAUSE_NS
from clip_dinoiser_ros.bag.sqlite_file import SqliteFile
from clip_dinoiser_ros.bag.stored import StorageFile, StoredTopic, add_once
from clip_dinoiser_ros.bag.types import definition, typestore
from clip_dinoiser_ros.bag.unpacked import ZSTD, readable, unpack_message

__all__ = ['SUFFIXES', 'BagError', 'Message', 'Recording', 'Topic', 'make_topic']

_STATIC_TRANSFORMS = 100  # messages of tf_static that are kept for late subscribers
END_OF_TIME_NS = 2**31 * 10**9  # the last second of builtin_interfaces/msg/Time


@dataclass(frozen=True)
class Topic:
    """One topic of a recording.

    Attributes:
        name: With a leading slash.
        type_name: Such as sensor_msgs/msg/Image.
        definition: Text of the type definition and its hash; None: unknown.
        qos: Recorded QoS profiles of its publishers. tf_static is always latched, because
            listeners to transforms need that.
        count: Number of messages according to the recording.
    """

    name: str
    type_name: str
    definition: tuple[str, str] | None
    qos: tuple[Qos, ...]
    count: int

    @property
    def latched(self) -> bool:
        """Whether late subscribers get earlier messages."""
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
    """Describe a topic to write, with the QoS of the node: reliable, depth 1.

    Args:
        name: With a leading slash.
        type_name: A type that `typestore` knows.
        latched: Transient local, else volatile.
    """
    text, _ = typestore().generate_msgdef(type_name, ros_version=2)
    digest = typestore().hash_rihs01(type_name)
    return Topic(name, type_name, (text, digest), qos=(_reliable(1, latched),), count=0)


def _reliable(depth: int, latched: bool) -> Qos:
    never = QosTime(9223372036, 854775807)  # what ROS records for: no deadline
    return Qos(
        history=QosHistory.KEEP_LAST,
        depth=depth,
        reliability=QosReliability.RELIABLE,
        durability=QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
        deadline=never,
        lifespan=never,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=never,
        avoid_ros_namespace_conventions=False,
    )


class Recording:
    """A rosbag2: a folder, or one mcap or sqlite3 file, also packed by zstd. Open it with `with`.

    The intact part of a truncated or damaged file is read. A folder without metadata.yaml, because
    its recorder was killed, is read by its files. Missing and unreadable files are skipped.

    Args:
        path: Folder or file.

    Attributes:
        topics: By name.
        start_ns, end_ns: Times of the first message and just after the last; 0 if empty. Messages
            of time 0 do not count if the others come much later: their recorder was still waiting
            for /clock.
        storage: mcap or sqlite3.
        notes: What is left out without being damaged, one line each: topics that are not of ROS 2,
            files in the folder that are no recordings.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.topics: dict[str, Topic] = {}
        self.notes: list[str] = []
        self.start_ns = self.end_ns = 0
        self.storage = ''
        self._damage: list[str] = []
        self._files: list[StorageFile] = []
        self._stack = ExitStack()

    @property
    def damage(self) -> list[str]:
        """Parts that could not be read, one line each; grows while messages are read."""
        return self._damage + [line for file in self._files for line in file.damage]

    def __enter__(self) -> Recording:
        found = find_files(self.path)
        self.notes += found.notes
        errors: list[Exception] = []
        with self._stack:
            for path in found.paths:
                try:
                    self._open(path)
                except (BagError, FileNotFoundError) as error:
                    errors.append(error)
            if not self._files:
                raise errors[0] if len(errors) == 1 else BagError('; '.join(map(str, errors)))
            self._damage += [str(error) for error in errors] + found.damage
            self.storage = storage(found.paths[0])
            self._compare(found.told)
            self._collect()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

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
        filled = [file for file in self._files if file.count]
        parts = [self._of_file(file, topics, start_ns, end_ns) for file in filled]
        if all(one.end_ns <= next_one.start_ns for one, next_one in pairwise(filled)):
            yield from chain.from_iterable(parts)
        else:  # files of one recording that overlap in time
            yield from merge(*parts, key=lambda message: message.time_ns)

    def find(self, name: str) -> str | None:
        """Return the recorded name of a topic, given with or without its leading slash."""
        return next((n for n in (name, f'/{name}', name.lstrip('/')) if n in self.topics), None)

    def _of_file(
        self, file: StorageFile, topics: Collection[str] | None, start: int | None, end: int | None
    ) -> Iterator[Message]:
        chosen = {
            topic.key: self.topics[topic.name]
            for topic in file.topics
            if (topics is None or topic.name in topics)
            and self.topics[topic.name].type_name == topic.type_name
        }
        if not chosen:
            return
        done = 0
        for key, time_ns, data in file.messages(chosen.keys(), start, end):
            done += 1
            topic = chosen[key]
            if not 0 <= time_ns < END_OF_TIME_NS:
                add_once(self._damage, f'{topic.name} at {time_ns} ns: no such time')
                continue
            if data.startswith(ZSTD):
                try:
                    data = unpack_message(data)
                except ValueError as error:
                    add_once(self._damage, f'{topic.name} at {time_ns} ns: {error}')
                    continue
            yield Message(topic, time_ns, data)
        counted = sum(topic.count for topic in file.topics if topic.key in chosen)
        if start is None and end is None and done < counted and not file.damage:
            add_once(
                self._damage,
                f'{file.shown}: {counted - done} of {counted} messages by its index are not '
                'where they should be',
            )

    def _open(self, path: Path) -> None:
        """Open a file; a compressed one through a temporary copy."""
        if not path.exists():
            raise FileNotFoundError(f'File {str(path)!r} does not exist.')
        kinds: dict[str, type[McapFile] | type[SqliteFile]] = {
            'mcap': McapFile,
            'sqlite3': SqliteFile,
        }
        kind = kinds.get(storage(path))
        if kind is None:
            raise BagError(f'{path} cannot be read; give a .mcap or .db3 file, also with .zstd')
        try:
            source, damage = readable(path, self._folder)
            file: StorageFile = kind(source, path)
        except (OSError, ValueError) as error:
            raise BagError(f'{path} cannot be read: {error}') from error
        self._stack.callback(file.close)
        self._files.append(file)
        self._damage += damage

    def _folder(self) -> Path:
        """Make a folder for the temporary copy of a file."""
        return Path(self._stack.enter_context(TemporaryDirectory(prefix='clip_dinoiser_')))

    def _compare(self, told: int | None) -> None:
        """Record missing messages and truncated files."""
        found = sum(file.count for file in self._files)
        if told is not None and found < told:
            self._damage.append(
                f'{told - found} of {told} messages listed in metadata.yaml are missing'
            )
        if found != told:  # otherwise only the index was truncated
            self._damage[:0] = [file.cut for file in self._files if file.cut]

    def _collect(self) -> None:
        same: dict[str, list[StoredTopic]] = {}
        for file in self._files:
            self.notes += [note for note in file.notes if note not in self.notes]
            for topic in file.topics:
                others = same.setdefault(topic.name, [])
                if others and others[0].type_name != topic.type_name:
                    self._damage.append(
                        f'{topic.name} has two types; {others[0].type_name} is read, '
                        f'{topic.type_name} is not'
                    )
                else:
                    others.append(topic)
        self.topics = {name: _topic(stored) for name, stored in same.items()}
        filled = [file for file in self._files if file.count]
        if filled:
            self.start_ns = min(file.start_ns for file in filled)
            self.end_ns = max(file.end_ns for file in filled)
        if filled and self.start_ns == 0:
            later = next((m.time_ns for m in self.messages() if m.time_ns > 0), 0)
            self.start_ns = later if later > LONGEST_PAUSE_NS else 0


def _topic(stored: list[StoredTopic]) -> Topic:
    first = next((topic for topic in stored if topic.definition), stored[0])
    qos = tuple({repr(qos): qos for topic in stored for qos in topic.qos}.values())
    if not qos and first.name.split('/')[-1] == 'tf_static':  # converters forget it
        qos = (_reliable(_STATIC_TRANSFORMS, latched=True),)
    return Topic(
        name=first.name,
        type_name=first.type_name,
        definition=definition(
            first.type_name, first.definition, first.definition_format, first.digest
        ),
        qos=qos,
        count=sum(topic.count for topic in stored),
    )
