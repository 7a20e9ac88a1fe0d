# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What is known of a finished output: a small file for each, from which the report is made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from clip_dinoiser_ros.bag.output_files import partial_file, sync
from clip_dinoiser_ros.bag.playback import pixels
from clip_dinoiser_ros.bag.recording import Recording
from clip_dinoiser_ros.bag.types import typestore
from clip_dinoiser_ros.core.transfer import digest_of
from clip_dinoiser_ros.frames.outputs import NODE

FOLDER = '.fleet'  # in the folder of the outputs; has all that is not an output


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


def class_figures(bag: Path) -> dict[str, dict[str, dict[str, float | None]]]:
    """Read share and confidence of the classes out of a segmented recording; see `Record`."""
    names: dict[str, Mapping[int, str]] = {}
    pixels_of: dict[str, Any] = {}
    labels: dict[str, Any] = {}
    with Recording(bag) as made:
        wanted = {
            topic: (parts[2], parts[3])
            for topic in made.topics
            if len(parts := topic.split('/')) == 4 and parts[1] == NODE
        }
        for message in made.messages(wanted.keys()):
            camera, output = wanted[message.topic.name]
            if output == 'vocabulary':
                content: Any = typestore().deserialize_cdr(message.data, message.topic.type_name)
                names[camera] = dict(zip(map(int, content.ids), content.names, strict=True))
                pixels_of[camera] = np.zeros((2, max(names[camera], default=0) + 2))
            elif output == 'labels':
                ids = pixels(message)
                unlabelled = pixels_of[camera].shape[1] - 1
                labels[camera] = np.minimum(ids, unlabelled).ravel()
            elif output == 'confidence':
                certain = pixels(message)
                scale = 255 if certain.dtype == np.uint8 else 1
                sums = pixels_of[camera]
                sums[0] += np.bincount(labels[camera], minlength=sums.shape[1])
                sums[1] += np.bincount(labels[camera], certain.ravel(), sums.shape[1]) / scale
    return {
        camera: {
            name: {
                'share': float(count[number] / count.sum()),
                'confidence': float(certain[number] / count[number]) if count[number] else None,
            }
            for number, name in names[camera].items()
        }
        for camera, (count, certain) in pixels_of.items()
    }
