# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The messages of the intact part of an mcap file, in order of time."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator
from pathlib import Path

from mcap.opcode import Opcode
from mcap.records import Channel, Schema

from clip_dinoiser_ros.bag.mcap_parts import (
    MAGIC,
    MESSAGE,
    Contents,
    Part,
    parse,
    read_part,
    records,
    scan,
)
from clip_dinoiser_ros.bag.mcap_summary import read_summary
from clip_dinoiser_ros.bag.stored import StoredTopic, add_once, offered_qos, unreadable
from clip_dinoiser_ros.bag.types import ros_type


class McapFile:
    """An mcap file; see `StorageFile`.

    It is read by its summary if that can be trusted, else record by record.

    Args:
        path: The file.
        shown: Path that the user gave.

    Raises:
        ValueError: It is not an mcap file, or truncated within its first record.
    """

    def __init__(self, path: Path, shown: Path) -> None:
        self.shown = shown
        self.damage: list[str] = []
        self.notes: list[str] = []
        self._file = path.open('rb')
        try:
            if self._file.read(len(MAGIC)) != MAGIC:
                raise ValueError('not an mcap file: it starts with other bytes')
            size = path.stat().st_size
            contents = read_summary(self._file, size) or scan(self._file, size)
        except BaseException:
            self._file.close()
            raise
        self._channels, self._parts = contents.channels, contents.parts
        self._parts.sort(key=lambda part: (part.first_ns, part.offset))
        self.damage += [f'{line} in {shown.name}' for line in contents.damage]
        self.cut = f'{shown.name} is cut off: {contents.cut}' if contents.cut else ''
        self.count = sum(contents.counts.values())
        for channel in contents.counts.keys() - contents.channels.keys():
            count = contents.counts[channel]
            if count:
                self.damage.append(
                    f'{count} messages in {shown.name} are not read: their topic is unknown'
                )
        filled = [part for part in self._parts if part.channels]
        self.start_ns = min((part.first_ns for part in filled), default=0)
        self.end_ns = max((part.last_ns + 1 for part in filled), default=0)
        self.topics = list(self._topics(contents))

    def _topics(self, contents: Contents) -> Iterator[StoredTopic]:
        for key, channel in contents.channels.items():
            schema = contents.schemas.get(channel.schema_id, Schema(0, b'', '', ''))
            why = unreadable(channel.topic, channel.message_encoding, schema.name)
            type_name = ros_type(schema.name)
            if why or type_name is None:
                self.notes.append(why)
                continue
            yield StoredTopic(
                key=key,
                name=channel.topic,
                type_name=type_name,
                definition=schema.data.decode(errors='replace'),
                definition_format=schema.encoding,
                digest='',
                qos=offered_qos(channel.metadata.get('offered_qos_profiles', '')),
                count=contents.counts.get(key, 0),
            )

    def messages(
        self, keys: Collection[int], start_ns: int | None, end_ns: int | None
    ) -> Iterator[tuple[int, int, bytes]]:
        """Yield key, time and content of messages; see `StorageFile`."""
        waiting: list[tuple[int, int, int, int, bytes]] = []  # time, position, key, data
        for part in self._parts:
            if (
                not part.channels.isdisjoint(keys)
                and (start_ns is None or start_ns <= part.last_ns)
                and (end_ns is None or part.first_ns < end_ns)
            ):
                while waiting and waiting[0][0] < part.first_ns:
                    time_ns, _, _, key, data = heapq.heappop(waiting)
                    yield key, time_ns, data
                for place, (key, time_ns, data) in enumerate(self._part_messages(part, keys)):
                    if (start_ns is None or start_ns <= time_ns) and (
                        end_ns is None or time_ns < end_ns
                    ):
                        heapq.heappush(waiting, (time_ns, part.offset, place, key, data))
        while waiting:
            time_ns, _, _, key, data = heapq.heappop(waiting)
            yield key, time_ns, data

    def _part_messages(self, part: Part, keys: Collection[int]) -> list[tuple[int, int, bytes]]:
        """Read the messages of a part: all, or none if it is damaged."""
        found = []
        try:
            data = read_part(self._file, part)
            for opcode, start, end in records(data):
                if opcode == Opcode.MESSAGE:
                    key, _, time_ns, _ = MESSAGE.unpack_from(data, start)
                    if key in keys:
                        found.append((key, time_ns, bytes(data[start + MESSAGE.size : end])))
                elif opcode == Opcode.CHANNEL:
                    self._compare(parse(Channel.read, bytes(data[start:end])))
        except Exception as error:  # decompressors raise many types for damaged bytes
            add_once(self.damage, part.described(error) + f' in {self.shown.name}')
            return []
        return found

    def _compare(self, channel: Channel) -> None:
        """Record that the summary lacks a channel of the data, or has another name for it."""
        known = self._channels.get(channel.id)
        if known is None or known.topic != channel.topic:
            what = f'and read as {known.topic}' if known else 'and not read'
            add_once(self.damage, f'{channel.topic} is not in the index of {self.shown} {what}')

    def close(self) -> None:
        """Close the file."""
        self._file.close()
