# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Images with the labels that were found in them: of a recording, or of `clip-dinoiser image`."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from clip_dinoiser_ros.bag.cameras import Camera, choose_cameras
from clip_dinoiser_ros.bag.playback import Classes, Shown, announced_classes, shown_frames
from clip_dinoiser_ros.bag.recording import BagError, Recording
from clip_dinoiser_ros.bag.windows import Selection
from clip_dinoiser_ros.core.errors import one_line
from clip_dinoiser_ros.frames import image_files
from clip_dinoiser_ros.frames.class_ids import UNLABELLED_8, UNLABELLED_16
from clip_dinoiser_ros.frames.images import ImageError
from clip_dinoiser_ros.frames.outputs import NODE


class LabelSource(Protocol):
    """Labelled images, with all their classes known beforehand.

    Attributes:
        path: Of the labels.
        classes: The vocabularies, in the order of their use.
        damage: What could not be read, one line each; grows while images are read.
    """

    path: Path
    classes: Sequence[Classes]
    damage: list[str]

    def images(self) -> Iterator[tuple[str, Shown]]:
        """Iterate over names, unique in this source, and labelled images."""


def open_labels(
    path: Path, images: Path | None, topics: Sequence[str], names: Mapping[str, str]
) -> LabelSource:
    """Open labels.

    Args:
        path: A recording with the topics of the node, or a folder of `clip-dinoiser image`.
        images: Recording or folder with the images; None: they are in `path`.
        topics: Image topics; empty: those of all cameras that have labels.
        names: Names of cameras, by topic.

    Raises:
        FileNotFoundError: A path is missing.
        BagError: There are no labels, or not the images to them.
    """
    for one in (path, images):
        if one is not None and not one.exists():
            raise FileNotFoundError(f'{one} does not exist')
    if (path / image_files.CLASSES_FILE).exists():
        return LabelFolder(path, images)
    if path.is_dir() and not any(path.iterdir()):
        raise BagError(f'{path} is empty')
    return LabelledRecording(path, images, topics, names)


class LabelledRecording:
    """A recording of `clip-dinoiser bag` or of the node; see `LabelSource`."""

    def __init__(
        self, path: Path, images: Path | None, topics: Sequence[str], names: Mapping[str, str]
    ) -> None:
        self.path, self._images = path, images or path
        self.damage: list[str] = []
        with Recording(path) as made, Recording(self._images) as recording:
            labelled = _labelled(made)
            self._cameras = _match(recording, labelled, topics, names, path)
            announced = announced_classes(made, self._cameras, self.damage)
            for camera in self._cameras:
                if not announced[camera.name]:
                    line = (
                        f'{path} does not say what its labels mean: {camera.output("vocabulary")} '
                        'has no message that can be read'
                    )
                    raise BagError('\n'.join([line, *self.damage]))
        every = [one for of_camera in announced.values() for one in of_camera]
        self.classes = [one.classes for one in sorted(every, key=lambda one: one.time_ns)]

    def images(self) -> Iterator[tuple[str, Shown]]:
        """Iterate over CAMERA_TIME and labelled images, in the order of the recording."""
        selection = Selection({camera.topic: camera for camera in self._cameras})
        met: Counter[str] = Counter()
        with Recording(self._images) as recording:
            for shown in shown_frames(recording, selection, self.path, self.damage):
                name = f'{shown.camera.name}_{shown.time_ns}'
                met[name] += 1
                yield (name if met[name] == 1 else f'{name}_{met[name]}'), shown
            self.damage += recording.damage


def _labelled(made: Recording) -> list[str]:
    """Return the names of the cameras that have labels."""
    start, end = f'/{NODE}/', '/labels'
    names = [
        topic.name.removeprefix(start).removesuffix(end)
        for topic in made.topics.values()
        if topic.name.startswith(start) and topic.name.endswith(end) and topic.count
    ]
    if not names:
        raise BagError(
            f'{made.path} has no labels ({start}CAMERA{end}): clip-dinoiser bag makes a recording '
            'that has'
        )
    return sorted(names)


def _match(
    recording: Recording,
    labelled: Sequence[str],
    topics: Sequence[str],
    names: Mapping[str, str],
    path: Path,
) -> list[Camera]:
    """Find the image topics of the labels, by the names of their cameras."""
    try:
        cameras, _ = choose_cameras(recording, topics, names)
    except BagError as error:
        if topics or names or recording.path != path:
            raise
        raise BagError(
            f'{path} has labels and no images: name the recording with the images as --images, or '
            'segment with clip-dinoiser bag ... --copy IMAGE_TOPIC'
        ) from error
    chosen = [camera for camera in cameras if camera.name in labelled]
    if not chosen and len(cameras) == len(labelled) == 1:
        chosen = [dataclasses.replace(cameras[0], name=labelled[0])]
    if not chosen:
        images = ', '.join(f'{camera.topic} as {camera.name}' for camera in cameras)
        raise BagError(
            f'no image topic belongs to the labels of {", ".join(labelled)}; there are: {images}. '
            '--name TOPIC=NAME says which'
        )
    return chosen


class LabelFolder:
    """What `clip-dinoiser image` wrote; see `LabelSource`."""

    def __init__(self, path: Path, images: Path | None) -> None:
        self.path = path
        self.damage: list[str] = []
        if images is None or not images.is_dir():
            raise BagError(f'{path} holds labels of image files: name their folder as --images')
        content = _read_classes(path / image_files.CLASSES_FILE)
        self.classes = [content]
        self._pairs = _pair(path, images)

    def images(self) -> Iterator[tuple[str, Shown]]:
        """Iterate over names of files and labelled images."""
        for name, file, labels in self._pairs:
            try:
                yield name, self._read(name, file, labels)
            except (ImageError, OSError) as error:
                self.damage.append(f'{file}: {one_line(error)}')

    def _read(self, name: str, file: Path, labels: Path) -> Shown:
        (classes,) = self.classes
        image = image_files.decode(file.read_bytes())
        ids = cv2.imread(str(labels), cv2.IMREAD_UNCHANGED)
        if ids is None or ids.shape != image.shape[:2]:
            size = 'nothing' if ids is None else f'{ids.shape[1]}x{ids.shape[0]}'
            raise ImageError(f'{image.shape[1]}x{image.shape[0]} pixels, {labels.name} has {size}')
        lookup = np.full(np.iinfo(ids.dtype).max + 1, len(classes.ids), np.uint16)
        lookup[list(classes.ids)] = range(len(classes.ids))
        certainty = self.path / f'{name}_confidence.png'
        confidence = cv2.imread(str(certainty), cv2.IMREAD_UNCHANGED)
        return Shown(
            camera=Camera('', self.path.name),
            time_ns=0,
            image=image,
            labels=lookup[ids] % len(classes.ids),
            labelled=lookup[ids] < len(classes.ids),
            confidence=None if confidence is None else confidence.astype(np.float32) / 255,
            classes=classes,
        )


def _read_classes(path: Path) -> Classes:
    try:
        content: Any = json.loads(path.read_text(encoding='utf-8'))
        names = tuple(str(entry['name']) for entry in content['classes'])
        ids = tuple(int(entry['id']) for entry in content['classes'])
        unlabelled = int(content['unlabelled_id'])
        usable = bool(names) and unlabelled in (UNLABELLED_8, UNLABELLED_16)
        if not usable or not all(0 <= class_id < unlabelled for class_id in ids):
            raise ValueError(f'ids {ids}, unlabelled {unlabelled}')
    except (ValueError, KeyError, TypeError) as error:
        raise BagError(f'{path} is not of clip-dinoiser image: {one_line(error)}') from error
    background = 'background' if 'background' in names else ''
    return Classes(names, ids, unlabelled, background)


def _pair(path: Path, images: Path) -> list[tuple[str, Path, Path]]:
    """Find the image of each label image: by its stem, else by its whole name."""
    files = [f for f in sorted(images.iterdir()) if f.suffix.lower() in image_files.SUFFIXES]
    known = {file.stem: file for file in files} | {file.name: file for file in files}
    pairs, end = [], '_labels.png'
    for labels in sorted(path.glob(f'*{end}')):
        name = labels.name.removesuffix(end)
        if name not in known:
            raise BagError(f'{images} has no image {name}, to which {labels} belongs')
        pairs.append((name, known[name], labels))
    if not pairs:
        raise BagError(f'{path} has no label image: *{end}')
    return pairs
