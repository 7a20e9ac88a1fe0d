# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The records of an mcap file, one by one, for files without a trustworthy index.

The readers of the `mcap` library stop at the first damage, accept a record that runs past the end
of its chunk, and copy each chunk three times. It parses all records except chunks and messages,
and unpacks lz4.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import BinaryIO, TypeVar
from zlib import crc32

import zstandard
from mcap.data_stream import ReadDataStream
from mcap.opcode import Opcode
from mcap.records import Channel, Chunk, Schema
from mcap.stream_reader import get_chunk_data_stream

MAGIC = b'\x89MCAP0\r\n'
RECORD = struct.Struct('<BQ')  # opcode, length
MESSAGE = struct.Struct('<HIQQ')  # channel, sequence, log time, publish time
_CHUNK = struct.Struct('<QQQII')  # first and last time, size, checksum, length of the compression
_LENGTH = struct.Struct('<Q')
_RUN_BYTES = 2**20  # of messages outside of chunks that are read at once
_T = TypeVar('_T')


def _unpack_lz4(data: memoryview, size: int) -> bytes:
    chunk = Chunk('lz4', bytes(data), 0, 0, 0, size)
    stream, length = get_chunk_data_stream(chunk)
    return stream.read(length)


_UNPACKERS: dict[str, Callable[[memoryview, int], bytes | memoryview]] = {
    '': lambda data, size: data,
    'lz4': _unpack_lz4,
    'zstd': lambda data, size: zstandard.decompress(data, max_output_size=size),
}


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

    def take(self, part: Part, data: bytes | memoryview) -> None:
        """Add a part with these records; damaged records change nothing."""
        counts: dict[int, int] = defaultdict(int)
        known = []
        for opcode, start, end in records(data):
            if opcode == Opcode.MESSAGE:
                channel, _, time_ns, _ = MESSAGE.unpack_from(data, start)
                part.add(channel, time_ns)
                counts[channel] += 1
            elif opcode in (Opcode.SCHEMA, Opcode.CHANNEL):
                known.append((opcode, bytes(data[start:end])))
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


def records(data: bytes | memoryview) -> Iterator[tuple[int, int, int]]:
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
            raise ValueError(f'a message has only {length} bytes')
        yield opcode, start, end


def read_part(file: BinaryIO, part: Part) -> bytes | memoryview:
    """Read a part; return its records.

    Raises:
        Exception: It is damaged: ValueError, or any type of the decompressors.
    """
    head = RECORD.size if part.is_chunk else 0
    file.seek(part.offset + head)
    data = file.read(part.length - head)
    if len(data) < part.length - head:
        raise ValueError(f'only {len(data)} of {part.length - head} bytes are present')
    return unpack_chunk(data) if part.is_chunk else data


def unpack_chunk(body: bytes) -> memoryview:
    """Unpack and check a chunk record, without copying its records; raises as `read_part`."""
    *_, size, checksum, length = _CHUNK.unpack_from(body)
    start = _CHUNK.size + length
    compression = body[_CHUNK.size : start].decode(errors='replace')
    if compression not in _UNPACKERS:
        raise ValueError(f'unknown compression {compression!r}; allowed: lz4, zstd, none')
    (packed,) = _LENGTH.unpack_from(body, start)
    start += _LENGTH.size
    if start + packed > len(body):
        raise ValueError(f'only {len(body) - start} of its {packed} bytes are present')
    data = memoryview(_UNPACKERS[compression](memoryview(body)[start : start + packed], size))
    if len(data) != size:
        raise ValueError(f'{len(data)} bytes instead of {size}')
    if checksum and crc32(data) != checksum:
        raise ValueError('its checksum is wrong')
    return data


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
        raise ValueError('it is cut off in its first record')
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
