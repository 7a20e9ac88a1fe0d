# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The records of an mcap file, one by one, for files without a trustworthy index.

The `mcap` library parses the records and unpacks the chunks. Its own readers stop at the first
damage, and accept a record that runs past the end of its chunk.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import BinaryIO, TypeVar

from mcap.data_stream import ReadDataStream
from mcap.opcode import Opcode
from mcap.records import Channel, Chunk, Schema
from mcap.stream_reader import get_chunk_data_stream

MAGIC = b'\x89MCAP0\r\n'
RECORD = struct.Struct('<BQ')  # opcode, length
MESSAGE = struct.Struct('<HIQQ')  # channel, sequence, log time, publish time
_COMPRESSIONS = ('', 'lz4', 'zstd')
_RUN_BYTES = 2**20  # of messages outside of chunks that are read at once
_T = TypeVar('_T')


@dataclass
class Part:
    """A chunk, or a run of messages outside of chunks.

    Attributes:
        offset, length: Position in the file in bytes; of a chunk, that of the whole record.
        is_chunk: Whether it is a chunk.
        first_ns, last_ns: Times of its messages.
        channels: Channels of its messages.
    """

    offset: int
    length: int
    is_chunk: bool
    first_ns: int = 2**64
    last_ns: int = -1
    channels: set[int] = field(default_factory=set)

    def add(self, channel: int, time_ns: int) -> None:
        """Add a message."""
        self.channels.add(channel)
        self.first_ns = min(self.first_ns, time_ns)
        self.last_ns = max(self.last_ns, time_ns)

    def described(self, error: Exception) -> str:
        """Describe the position of the part and why it cannot be read."""
        what = 'chunk' if self.is_chunk else 'messages'
        return f'{what} at byte {self.offset}: {error or type(error).__name__}'


@dataclass
class Contents:
    """The contents of a file.

    Attributes:
        schemas, channels: By id.
        parts: In the order of the file.
        counts: Number of messages, by channel.
        damage: One line for each part that cannot be read.
        cut: Where the readable part ends; empty if the file is complete.
    """

    schemas: dict[int, Schema] = field(default_factory=dict)
    channels: dict[int, Channel] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)
    counts: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    damage: list[str] = field(default_factory=list)
    cut: str = ''

    def remember(self, opcode: int, body: bytes) -> None:
        """Keep a schema or channel."""
        if opcode == Opcode.SCHEMA:
            schema = parse(Schema.read, body)
            self.schemas[schema.id] = schema
        elif opcode == Opcode.CHANNEL:
            channel = parse(Channel.read, body)
            self.channels.setdefault(channel.id, channel)

    def take(self, part: Part, data: bytes) -> None:
        """Add a part with these records; damaged records change nothing."""
        counts: dict[int, int] = defaultdict(int)
        known = []
        for opcode, start, end in records(data):
            if opcode == Opcode.MESSAGE:
                channel, _, time_ns, _ = MESSAGE.unpack_from(data, start)
                part.add(channel, time_ns)
                counts[channel] += 1
            elif opcode in (Opcode.SCHEMA, Opcode.CHANNEL):
                known.append((opcode, data[start:end]))
        for opcode, body in known:
            self.remember(opcode, body)
        for channel, count in counts.items():
            self.counts[channel] += count
        self.parts.append(part)


def parse(read: Callable[[ReadDataStream], _T], body: bytes) -> _T:
    """Parse the content of a record by a reader of the library, such as `Channel.read`.

    Raises:
        Exception: Any type that the library raises for damaged bytes.
    """
    return read(ReadDataStream(BytesIO(body)))


def records(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield opcode, start and end of the records in a part.

    Raises:
        ValueError: A record is incomplete.
    """
    end = 0
    while end < len(data):
        if end + RECORD.size > len(data):
            raise ValueError('a record runs over its end')
        opcode, length = RECORD.unpack_from(data, end)
        start = end + RECORD.size
        end = start + length
        if end > len(data):
            raise ValueError('a record runs over its end')
        if opcode == Opcode.MESSAGE and length < MESSAGE.size:
            raise ValueError(f'a message of {length} bytes')
        yield opcode, start, end


def read_part(file: BinaryIO, part: Part) -> bytes:
    """Read a part; return its records.

    Raises:
        Exception: It is damaged: ValueError, or any type of the decompressors.
    """
    head = RECORD.size if part.is_chunk else 0
    file.seek(part.offset + head)
    data = file.read(part.length - head)
    if len(data) < part.length - head:
        raise ValueError(f'{len(data)} of {part.length - head} bytes are there')
    return unpack_chunk(data) if part.is_chunk else data


def unpack_chunk(body: bytes) -> bytes:
    """Unpack and check a chunk record; raises as `read_part`."""
    chunk = parse(Chunk.read, body)
    if chunk.compression not in _COMPRESSIONS:
        raise ValueError(f'unknown compression {chunk.compression!r}; allowed are lz4, zstd, none')
    stream, length = get_chunk_data_stream(chunk, validate_crc=True)
    if length != chunk.uncompressed_size:
        raise ValueError(f'{length} bytes instead of {chunk.uncompressed_size}')
    return stream.read(length)


def scan(file: BinaryIO, size: int) -> Contents:
    """Scan the records of a file up to the first incomplete one.

    Raises:
        ValueError: The first record is incomplete.
    """
    contents = Contents()
    end = len(MAGIC)
    run: Part | None = None  # messages outside of chunks
    while end + RECORD.size <= size:
        file.seek(end)
        opcode, length = RECORD.unpack(file.read(RECORD.size))
        start, after = end, end + RECORD.size + length
        if opcode in (Opcode.DATA_END, Opcode.FOOTER):
            return contents
        if opcode == 0 or after > size:
            break
        if opcode == Opcode.MESSAGE and length >= MESSAGE.size:
            channel, _, time_ns, _ = MESSAGE.unpack(file.read(MESSAGE.size))
            if run is None or run.offset + run.length != start or run.length > _RUN_BYTES:
                run = Part(start, 0, is_chunk=False)
                contents.parts.append(run)
            run.add(channel, time_ns)
            run.length = after - run.offset
            contents.counts[channel] += 1
        elif opcode in (Opcode.CHUNK, Opcode.SCHEMA, Opcode.CHANNEL):
            _take_record(contents, opcode, start, file.read(length))
        end = after
    if end == len(MAGIC):
        raise ValueError('it is cut off: its first record is not whole')
    contents.cut = f'nothing readable after byte {end}'
    if size > end:
        contents.cut += f' ({size - end} bytes of a record that is not whole)'
    return contents


def _take_record(contents: Contents, opcode: int, offset: int, body: bytes) -> None:
    part = Part(offset, RECORD.size + len(body), is_chunk=opcode == Opcode.CHUNK)
    try:
        if part.is_chunk:
            contents.take(part, unpack_chunk(body))
        else:
            contents.remember(opcode, body)
    except Exception as error:  # decompressors raise many types for damaged bytes
        if part.is_chunk:
            contents.damage.append(part.described(error))
        else:
            contents.damage.append(f'record at byte {offset}: {error or type(error).__name__}')
