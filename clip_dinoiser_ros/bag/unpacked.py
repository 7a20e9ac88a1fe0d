# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Storage files prepared for their readers: decompressed, and merged with their logs."""

from __future__ import annotations

import shutil
import sqlite3
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import zstandard

from clip_dinoiser_ros.bag.files import LOGS

ZSTD = b'\x28\xb5\x2f\xfd'  # start of compressed data; CDR never starts so
_BLOCK = 2**14  # bytes that are decompressed at once: at most half a gigabyte results
_MAX_MESSAGE = 2**30  # bytes of a decompressed message
_WAL_HEADER, _WAL_FRAME = struct.Struct('>8I'), struct.Struct('>6I')


def unpack_message(data: bytes) -> bytes:
    """Decompress a single message.

    Raises:
        ValueError: It is damaged, or larger than 1 GiB.
    """
    blocks = (data[start : start + _BLOCK] for start in range(0, len(data), _BLOCK))
    parts, size = [], 0
    for part in _unpack(blocks):
        parts.append(part)
        size += len(part)
        if size > _MAX_MESSAGE:
            raise ValueError(f'a compressed message has more than {_MAX_MESSAGE} bytes')
    return b''.join(parts)


def _unpack(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Decompress zstd frames; raises ValueError after the last intact block."""
    frame = zstandard.ZstdDecompressor().decompressobj()
    for packed in blocks:
        rest = packed
        while rest:
            if frame.eof:
                frame = zstandard.ZstdDecompressor().decompressobj()
            try:
                part = frame.decompress(rest)
            except zstandard.ZstdError as error:
                raise ValueError(f'compressed data is damaged: {error}') from error
            yield part
            rest = frame.unused_data if frame.eof else b''
    if not frame.eof:
        raise ValueError('compressed data is cut off')


def readable(path: Path, folder: Callable[[], Path]) -> tuple[Path, list[str]]:
    """Return a file that a reader can open for a storage file.

    Args:
        path: .mcap or .db3, or that with .zstd; it is not changed.
        folder: Returns a folder for temporary files.

    Returns:
        `path` itself if possible, else a file in `folder`; and a line for each part that could not
        be read.
    """
    if path.suffix == '.zstd':
        return _unpacked(path, folder())
    if path.suffix == '.db3' and any(_log(path, end) for end in LOGS):
        return _with_log(path, folder())
    return path, []


def _unpacked(path: Path, folder: Path) -> tuple[Path, list[str]]:
    target = folder / path.stem
    with path.open('rb') as packed, target.open('wb') as file:
        try:
            for part in _unpack(iter(lambda: packed.read(_BLOCK), b'')):
                file.write(part)
        except ValueError as error:
            return target, [f'{path.name}: {error}; {file.tell()} bytes could be unpacked']
        return target, []


def _log(path: Path, end: str) -> Path | None:
    log = path.with_name(path.name + end)
    return log if log.is_file() and log.stat().st_size else None


def _with_log(path: Path, folder: Path) -> tuple[Path, list[str]]:
    """Copy a database and its log, and let sqlite merge them."""
    target = folder / path.name
    logs = [(end, log) for end in LOGS if (log := _log(path, end))]
    names = ' and '.join(log.name for _, log in logs)
    try:
        shutil.copyfile(path, target)
        for end, log in logs:
            shutil.copyfile(log, target.with_name(target.name + end))
        database = sqlite3.connect(target)
        try:
            database.execute('SELECT count(*) FROM sqlite_master').fetchone()
            _, pages, _ = database.execute('PRAGMA wal_checkpoint(FULL)').fetchone()
        finally:
            database.close()
    except (OSError, sqlite3.Error) as error:  # usually a full disk
        hint = 'TMPDIR names a folder with more room'
        return path, [f'{names} cannot be read along with {path.name}: {error} ({hint})']
    lost = max((_pages(log) for end, log in logs if end == '-wal'), default=0) - max(0, pages)
    if lost > 0:
        return target, [f'{lost} pages of {names} are damaged or were never committed']
    return target, []


def _pages(wal: Path) -> int:
    """Count the pages of the last run in a write-ahead log, intact or not."""
    with wal.open('rb') as file:
        header = file.read(_WAL_HEADER.size)
        if len(header) < _WAL_HEADER.size:
            return 1
        _, _, size, _, *salts = _WAL_HEADER.unpack(header)[:6]
        count = 0
        while len(frame := file.read(_WAL_FRAME.size)) == _WAL_FRAME.size:
            if [*_WAL_FRAME.unpack(frame)[2:4]] != salts:
                break
            count += 1
            file.seek(size, 1)
    return count
