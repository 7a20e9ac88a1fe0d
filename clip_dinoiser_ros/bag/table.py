# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The objects of a segmented recording as a table, one row each: CSV, or Parquet by pyarrow."""

from __future__ import annotations

import csv
import importlib
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from clip_dinoiser_ros.bag.cameras import Camera
from clip_dinoiser_ros.bag.output_files import partial_file
from clip_dinoiser_ros.bag.partial import check_target, put
from clip_dinoiser_ros.bag.recording import BagError, Recording
from clip_dinoiser_ros.bag.types import typestore
from clip_dinoiser_ros.frames.images import stamp_ns

COLUMNS = {
    'camera': str,
    'stamp_ns': int,
    'frame_id': str,
    'id': str,
    'class': str,
    'score': float,
    'left': float,
    'top': float,
    'width': float,
    'height': float,
    'x': float,
    'y': float,
    'z': float,
    'size_x': float,
    'size_y': float,
    'size_z': float,
}
ROWS_AT_ONCE = 10_000  # in memory
ObjectRow = dict[str, Any]


def check_table(path: Path, force: bool) -> None:
    """Refuse a table that cannot be written, before anything is segmented.

    Raises:
        BagError: Another ending, pyarrow is missing, or the file exists.
        OutputFileError: It is a link.
    """
    if path.suffix not in ('.csv', '.parquet'):
        raise BagError(f'{path}: the file name must end in .csv or .parquet')
    if path.suffix == '.parquet' and find_spec('pyarrow') is None:
        raise BagError(f'{path}: Parquet needs pyarrow; pip install pyarrow, or give a .csv')
    check_target(path, force)


def write_table(path: Path, bag: Path, cameras: Sequence[Camera], force: bool) -> int:
    """Write the objects in the detections of a bag.

    Args:
        path: Ends in .csv or .parquet.
        bag: Closed; has `detections`, and perhaps `detections_3d`.
        cameras: Whose objects.
        force: Replace an older file.

    Returns:
        The number of rows.
    """
    part = partial_file(path)
    writer: _Writer = _Csv(part) if path.suffix == '.csv' else _Parquet(part)
    count, rows = 0, []
    try:
        for row in _rows(bag, cameras):
            rows.append(row)
            count += 1
            if len(rows) == ROWS_AT_ONCE:
                writer.write(rows)
                rows = []
        writer.write(rows)
    finally:
        writer.close()
    put(part, path, force)
    return count


def _rows(bag: Path, cameras: Sequence[Camera]) -> Iterator[ObjectRow]:
    """Yield a row for each object, frame by frame."""
    flat = {camera.output('detections'): camera for camera in cameras}
    deep = {camera.output('detections_3d'): camera for camera in cameras}
    waiting: dict[str, tuple[int, dict[str, ObjectRow]]] = {}  # the last frame of each camera
    with Recording(bag) as recording:
        topics = frozenset(recording.topics) & {*flat, *deep}
        for message in recording.messages(topics):
            name = message.topic.name
            content = typestore().deserialize_cdr(message.data, message.topic.type_name)
            stamp = stamp_ns(content.header)
            if name in flat:
                camera = flat[name].name
                yield from _done(waiting.pop(camera, None))
                rows = {one.id: _row(camera, stamp, one) for one in content.detections}
                waiting[camera] = stamp, rows
            elif deep[name].name in waiting and waiting[deep[name].name][0] == stamp:
                rows = waiting[deep[name].name][1]
                for one in content.detections:
                    rows[one.id].update(_place(one.bbox))
    for frame in waiting.values():
        yield from _done(frame)


def _done(frame: tuple[int, dict[str, ObjectRow]] | None) -> Iterator[ObjectRow]:
    if frame is not None:
        yield from frame[1].values()


def _row(camera: str, stamp: int, detection: Any) -> ObjectRow:
    box, hypothesis = detection.bbox, detection.results[0].hypothesis
    centre = box.center.position
    known = {
        'camera': camera,
        'stamp_ns': stamp,
        'frame_id': detection.header.frame_id,
        'id': detection.id,
        'class': hypothesis.class_id,
        'score': hypothesis.score,
        'left': centre.x - (box.size_x - 1) / 2,
        'top': centre.y - (box.size_y - 1) / 2,
        'width': box.size_x,
        'height': box.size_y,
    }
    return {**dict.fromkeys(COLUMNS), **known}


def _place(box: Any) -> ObjectRow:
    centre, size = box.center.position, box.size
    return {
        'x': centre.x,
        'y': centre.y,
        'z': centre.z,
        'size_x': size.x,
        'size_y': size.y,
        'size_z': size.z,
    }


class _Writer(Protocol):
    """A table that is being written."""

    def write(self, rows: Sequence[ObjectRow]) -> None:
        """Append rows."""

    def close(self) -> None:
        """End the file."""


class _Csv:
    def __init__(self, path: Path) -> None:
        self._file = path.open('x', encoding='utf-8', newline='')
        self._writer = csv.DictWriter(self._file, COLUMNS)
        self._writer.writeheader()

    def write(self, rows: Sequence[ObjectRow]) -> None:
        self._writer.writerows(rows)

    def close(self) -> None:
        self._file.close()


class _Parquet:
    def __init__(self, path: Path) -> None:
        self._arrow: Any = importlib.import_module('pyarrow')
        kinds = {str: self._arrow.string(), int: self._arrow.int64(), float: self._arrow.float64()}
        self._schema = self._arrow.schema([(name, kinds[kind]) for name, kind in COLUMNS.items()])
        parquet: Any = importlib.import_module('pyarrow.parquet')
        self._writer = parquet.ParquetWriter(path, self._schema)

    def write(self, rows: Sequence[ObjectRow]) -> None:
        self._writer.write_table(self._arrow.Table.from_pylist(list(rows), self._schema))

    def close(self) -> None:
        self._writer.close()
