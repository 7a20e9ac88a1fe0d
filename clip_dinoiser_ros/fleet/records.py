# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What is known of a finished output: a small file for each, from which the report is made."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clip_dinoiser_ros.bag.cameras import Camera
from clip_dinoiser_ros.bag.output_files import partial_file, sync
from clip_dinoiser_ros.bag.playback import pixels
from clip_dinoiser_ros.bag.recording import Message
from clip_dinoiser_ros.bag.types import typestore
from clip_dinoiser_ros.core.transfer import digest_of
from clip_dinoiser_ros.frames.class_ids import UNLABELLED_16

FOLDER = '.fleet'  # in the folder of the outputs; has all that is not an output
_PARTS = ('vocabulary', 'labels', 'confidence')
_LEVELS = 256  # of the confidence


@dataclass(frozen=True)
class Record:
    """One output.

    Attributes:
        source: Path or URL of the recording.
        size: Bytes of the recording when it was read.
        run: Digest of settings and model.
        sha256: Of the output.
        frames: Segmented, by camera name.
        rejected: Damaged, by camera name.
        seconds: Length of the recording.
        classes: By camera and class: `share` of all pixels, and mean `confidence` of the class's
            pixels (None: it has none), both 0 to 1.
        damage: What could not be read, one line each.
        notes: What was left out, one line each.
    """

    source: str
    size: int
    run: str
    sha256: str
    frames: dict[str, int]
    rejected: dict[str, int]
    seconds: float
    classes: dict[str, dict[str, dict[str, float | None]]] = field(default_factory=dict)
    damage: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def write_json(path: Path, content: Any) -> None:
    """Write a file that appears when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = partial_file(path)
    part.write_text(json.dumps(content, indent=1, ensure_ascii=False) + '\n', encoding='utf-8')
    sync(part)
    part.replace(path)


def read_json(path: Path) -> Any:
    """Read a file of `write_json`; None: missing or damaged."""
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return None


def write_record(path: Path, record: Record) -> None:
    """Write a record; see `write_json`."""
    write_json(path, asdict(record))


def read_record(path: Path) -> Record | None:
    """Read a record; None: missing or damaged."""
    content = read_json(path)
    try:
        return Record(**content)
    except TypeError:
        return None


def is_finished(output: Path, record: Record | None, source: str, size: int, run: str) -> bool:
    """Return whether an output is complete, unchanged, and of this recording and run."""
    return (
        record is not None
        and (record.source, record.size, record.run) == (source, size, run)
        and output.is_file()
        and digest_of(output, 64) == record.sha256
    )


class ClassFigures:
    """Share and confidence of the classes, from the messages of a segmented recording.

    Args:
        cameras: Those that were segmented.
    """

    def __init__(self, cameras: Iterable[Camera]) -> None:
        self._outputs = {
            camera.output(part): (camera.name, part) for camera in cameras for part in _PARTS
        }
        self._names: dict[str, list[str]] = {}
        self._codes: dict[str, npt.NDArray[np.intp]] = {}  # of a label: _LEVELS times its row
        self._labels: dict[str, npt.NDArray[np.intp]] = {}  # the last ones, as codes
        self._counts: dict[str, npt.NDArray[np.int64]] = {}  # pixels, by code and confidence

    def add(self, message: Message) -> None:
        """Count the pixels of a message; the vocabulary of a camera starts its figures anew."""
        camera, part = self._outputs.get(message.topic.name, ('', ''))
        if part == 'vocabulary':
            content: Any = typestore().deserialize_cdr(message.data, message.topic.type_name)
            names = self._names[camera] = list(content.names)
            codes = np.full(UNLABELLED_16 + 1, len(names) * _LEVELS, np.intp)
            codes[content.ids] = np.arange(len(names)) * _LEVELS
            self._codes[camera] = codes
            self._counts[camera] = np.zeros((len(names) + 1) * _LEVELS, np.int64)
        elif part == 'labels':
            self._labels[camera] = self._codes[camera][pixels(message)]
        elif part == 'confidence':
            certain = pixels(message)
            if certain.dtype != np.uint8:
                certain = np.rint(certain * (_LEVELS - 1)).astype(np.uint8)
            codes = (self._labels[camera] + certain).ravel()
            self._counts[camera] += np.bincount(codes, minlength=self._counts[camera].size)

    def result(self) -> dict[str, dict[str, dict[str, float | None]]]:
        """Return the figures; see `Record`."""
        return {
            camera: _figures(names, self._counts[camera]) for camera, names in self._names.items()
        }


def _figures(
    names: Sequence[str], counts: npt.NDArray[np.int64]
) -> dict[str, dict[str, float | None]]:
    by_class = counts.reshape(-1, _LEVELS)
    pixels_of = by_class.sum(axis=1)
    certain = by_class @ np.linspace(0, 1, _LEVELS)
    return {
        name: {
            'share': float(count / pixels_of.sum()),
            'confidence': float(total / count) if count else None,
        }
        for name, count, total in zip(names, pixels_of, certain, strict=False)
    }
