# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""An mcap file that was cut off or damaged, read as far as it is whole.

A recorder that loses power leaves a file without its index, which readers refuse. What stands
before the cut is whole: chunks, one after the other. Here they are found again, and a new index is
put behind them, in memory; the file stays as it is.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO, RawIOBase
from pathlib import Path
from typing import Any, BinaryIO

from rosbags.rosbag2.storage_mcap import decompress

MAGIC = b'\x89MCAP0\r\n'
# opcodes of records: https://mcap.dev/spec
_FOOTER, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK = 2, 3, 4, 5, 6
_CHUNK_INDEX, _STATISTICS, _DATA_END = 8, 11, 15


@dataclass
class _Found:
    """What is whole in a file."""

    end: int = 0  # where the last whole record ends
    schemas: dict[bytes, bytes] = field(default_factory=dict)  # id -> record
    channels: dict[bytes, bytes] = field(default_factory=dict)
    chunks: list[bytes] = field(default_factory=list)  # index records
    unchunked: bool = False  # messages stand outside chunks, where no index leads to them
    counts: dict[int, int] = field(default_factory=lambda: defaultdict(int))  # per channel
    first_ns: int = 2**63 - 1
    last_ns: int = 0
    damaged: list[str] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)


class MendedFile:
    """Stands for the path of an mcap file where rosbags reads one.

    Attributes:
        damaged: One line for each place that cannot be read.
        cut: One line where the file ends before its data do; else empty.
    """

    suffix = '.mcap'

    def __init__(self, path: Path) -> None:
        self._path = path
        found = _find(path)
        self.damaged, self.cut = found.damaged, found.cut
        self._end = found.end
        self._tail = _tail(found)

    def __str__(self) -> str:
        return str(self._path)

    def exists(self) -> bool:
        """As of a path."""
        return True

    def is_dir(self) -> bool:
        """As of a path."""
        return False

    def open(self, mode: str = 'rb') -> Any:
        """Open the whole part of the file with the new index behind it."""
        return _Joined(self._path.open(mode), self._end, self._tail)


class _Joined(RawIOBase):
    """The first bytes of a file, followed by bytes in memory."""

    def __init__(self, file: Any, end: int, tail: bytes) -> None:
        self._file, self._end, self._tail = file, end, tail
        self._position = 0

    def read(self, size: int = -1) -> bytes:
        length = self._end + len(self._tail)
        stop = length if size < 0 else min(length, self._position + size)
        data = b''
        if self._position < self._end:
            self._file.seek(self._position)
            data = self._file.read(min(stop, self._end) - self._position)
        if stop > self._end:
            data += self._tail[max(0, self._position - self._end) : stop - self._end]
        self._position = max(self._position, stop)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        base = (0, self._position, self._end + len(self._tail))[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def close(self) -> None:
        self._file.close()
        super().close()


def _find(path: Path) -> _Found:
    """Look for whole chunks, from the start to the first record that is not there in full."""
    found = _Found()
    size = path.stat().st_size
    with path.open('rb') as file:
        if file.read(8) != MAGIC:
            raise ValueError(f'{path} is no mcap file: it begins with other bytes')
        found.end = 8
        while found.end + 9 <= size:
            start = found.end
            opcode, length = struct.unpack('<BQ', file.read(9))
            if start + 9 + length > size:
                break
            if opcode in (_DATA_END, _FOOTER):
                return found
            if opcode in (_CHUNK, _SCHEMA, _CHANNEL):
                record = file.read(length)
                if opcode == _CHUNK:
                    _read_chunk(record, start, found)
                else:
                    _remember(opcode, record, found)
            else:
                found.unchunked |= opcode == _MESSAGE
                file.seek(start + 9 + length)
            found.end = start + 9 + length
    missing = size - found.end
    found.cut.append(f'{path.name} is cut off: nothing readable after byte {found.end}')
    if missing:
        found.cut[-1] += f' ({missing} bytes of a record that is not whole)'
    return found


def _remember(opcode: int, record: bytes, found: _Found) -> None:
    (found.schemas if opcode == _SCHEMA else found.channels)[record[:2]] = record


def _read_chunk(record: bytes, offset: int, found: _Found) -> None:
    """Take a chunk into the index when its messages can be read."""
    try:
        first_ns, last_ns, size, crc = struct.unpack_from('<QQQI', record)
        (name_length,) = struct.unpack_from('<I', record, 28)
        compression = record[32 : 32 + name_length].decode()
        start = 40 + name_length
        (compressed,) = struct.unpack_from('<Q', record, start - 8)
        data = decompress(record[start : start + compressed], compression, size, crc)
        counts: dict[int, int] = defaultdict(int)
        for opcode, part in _records(data):
            if opcode == _MESSAGE:
                counts[int.from_bytes(part[:2], 'little')] += 1
            elif opcode in (_SCHEMA, _CHANNEL):
                _remember(opcode, part, found)
    except Exception as error:  # whatever a decompressor raises on damaged bytes
        found.damaged.append(f'chunk at byte {offset}: {error}')
        return
    for channel, count in counts.items():
        found.counts[channel] += count
    found.first_ns, found.last_ns = min(found.first_ns, first_ns), max(found.last_ns, last_ns)
    found.chunks.append(_chunk_index(record, offset, counts, compression, compressed, size))


def _chunk_index(
    record: bytes,
    offset: int,
    counts: dict[int, int],
    compression: str,
    compressed: int,
    size: int,
) -> bytes:
    """Make the index record of a chunk; a reader takes the counts from the offsets in it."""
    length = 9 + len(record)
    place, offsets = offset + length, b''
    for channel, count in sorted(counts.items()):
        offsets += struct.pack('<HQ', channel, place)
        place += 15 + 16 * count
    return (
        record[:16]
        + struct.pack('<QQ', offset, length)
        + struct.pack('<I', len(offsets))
        + offsets
        + struct.pack('<Q', place - offset - length)
        + struct.pack('<I', len(compression))
        + compression.encode()
        + struct.pack('<QQ', compressed, size)
    )


def _records(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Walk through the records in a chunk."""
    file: BinaryIO = BytesIO(data)
    while file.tell() < len(data):
        opcode, length = struct.unpack('<BQ', file.read(9))
        part = file.read(length)
        if len(part) != length:
            raise ValueError('a record runs over the end of its chunk')
        yield opcode, part


def _tail(found: _Found) -> bytes:
    """Make what closes an mcap file: end of data, summary, footer."""
    end = _record(_DATA_END, bytes(4))
    if found.unchunked:  # without a summary the reader scans the file
        return end + _record(_FOOTER, bytes(20)) + MAGIC
    statistics = struct.pack(
        '<QHIIIIQQ',
        sum(found.counts.values()),
        len(found.schemas),
        len(found.channels),
        0,
        0,
        len(found.chunks),
        found.first_ns,
        found.last_ns,
    )
    statistics += struct.pack('<I', 10 * len(found.counts))
    for channel, count in sorted(found.counts.items()):
        statistics += struct.pack('<HQ', channel, count)
    summary = b''.join(
        [
            *(_record(_SCHEMA, record) for record in found.schemas.values()),
            *(_record(_CHANNEL, record) for record in found.channels.values()),
            *(_record(_CHUNK_INDEX, record) for record in found.chunks),
            _record(_STATISTICS, statistics),
        ]
    )
    footer = struct.pack('<QQI', found.end + len(end), 0, 0)
    return end + summary + _record(_FOOTER, footer) + MAGIC


def _record(opcode: int, content: bytes) -> bytes:
    return struct.pack('<BQ', opcode, len(content)) + content
