# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The summary at the end of an mcap file, where it can be trusted."""

from __future__ import annotations

import struct
from typing import BinaryIO
from zlib import crc32

from mcap.opcode import Opcode
from mcap.records import ChunkIndex, Statistics

from clip_dinoiser_ros.bag.mcap_parts import (
    MAGIC,
    MESSAGE,
    RECORD,
    Contents,
    Part,
    parse,
    read_part,
    records,
)

_FOOTER = struct.Struct('<BQQQI')  # opcode, length, start of the summary, ..., checksum
_CHUNK = struct.Struct('<BQQQ')  # start of a chunk: opcode, length, first and last time


def read_summary(file: BinaryIO, size: int) -> Contents | None:
    """Read the contents of a file from its summary.

    Args:
        file: Open, seekable.
        size: Bytes.

    Returns:
        None if there is no summary, or it is damaged or does not suffice to find the messages.
    """
    place = size - _FOOTER.size - len(MAGIC)
    if place < len(MAGIC):
        return None
    file.seek(place)
    footer = file.read(_FOOTER.size)
    opcode, length, start, _, checksum = _FOOTER.unpack(footer)
    if opcode != Opcode.FOOTER or length != _FOOTER.size - RECORD.size:
        return None
    if not len(MAGIC) < start <= place:
        return None
    file.seek(start)
    summary = file.read(place - start)
    try:
        contents = _parse(summary)
    except Exception:  # the library raises several types for damaged bytes
        return None
    if contents is None:
        return None
    if checksum:
        trusted = crc32(summary + footer[:-4]) == checksum
    else:  # some writers omit it: then every chunk must be where the index says
        trusted = all(_holds(file, size, part) for part in contents.parts)
    return contents if trusted else None


def _parse(summary: bytes) -> Contents | None:
    """Return the contents of the summary; None if it is incomplete."""
    contents = Contents()
    statistics: Statistics | None = None
    for opcode, start, end in records(summary):
        body = summary[start:end]
        if opcode == Opcode.CHUNK_INDEX:
            index = parse(ChunkIndex.read, body)
            channels = set(index.message_index_offsets)
            part = Part(
                index.chunk_start_offset,
                index.chunk_length,
                is_chunk=True,
                first_ns=index.message_start_time,
                last_ns=index.message_end_time,
                channels=channels,
            )
            contents.parts.append(part)
        elif opcode == Opcode.STATISTICS:
            statistics = parse(Statistics.read, body)
            contents.counts = statistics.channel_message_counts
        else:
            contents.remember(opcode, body)
    if statistics is None or not _complete(contents, statistics):
        return None
    return contents


def _complete(contents: Contents, statistics: Statistics) -> bool:
    """Return whether the summary suffices to find all messages."""
    counts = contents.counts
    filled = {channel for channel, count in counts.items() if count}
    return (
        statistics.chunk_count == len(contents.parts)
        and statistics.channel_count == len(contents.channels)
        and statistics.schema_count == len(contents.schemas)
        and statistics.message_count == sum(counts.values())
        # every chunk has an index of its messages, and no message is outside of chunks
        and (not filled or all(part.channels for part in contents.parts))
        and filled == set().union(*(part.channels for part in contents.parts))
    )


def _holds(file: BinaryIO, size: int, part: Part) -> bool:
    """Return whether a chunk is where the index says; correct its times and channels."""
    if part.offset + part.length > size:
        return False
    file.seek(part.offset)
    begins = file.read(_CHUNK.size)
    stated = _CHUNK.pack(Opcode.CHUNK, part.length - RECORD.size, part.first_ns, part.last_ns)
    if begins == stated:
        return True
    try:
        data = read_part(file, part)
        found = Part(part.offset, part.length, is_chunk=True)
        for opcode, start, _ in records(data):
            if opcode == Opcode.MESSAGE:
                channel, _, time_ns, _ = MESSAGE.unpack_from(data, start)
                found.add(channel, time_ns)
    except Exception:  # decompressors raise many types for damaged bytes
        return False
    part.first_ns, part.last_ns, part.channels = found.first_ns, found.last_ns, found.channels
    return True
