# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Convert the official label images of three benchmarks into those used for evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from clip_dinoiser_ros.bag.output_files import partial_file
from clip_dinoiser_ros.evaluation.benchmarks import require
from clip_dinoiser_ros.evaluation.samples import DataError, SampleError, read_labels

IGNORED = 255
# COCO-Stuff numbers things 0 to 90 and stuff 91 to 181; these numbers are not used
_COCO_GAPS = (11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90)
_COCO_STUFF = 91
# Cityscapes' ids of the 19 classes that are evaluated, in their order; all others are ignored
_CITYSCAPES = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
_CITYSCAPES_IDS = 34


@dataclass(frozen=True)
class Conversion:
    """One conversion.

    Attributes:
        folder: Folder of the label images, relative to the folder of all data sets.
        source, target: Suffixes of the official and of the converted images.
        digits: Whether the rest of the name of an official image is digits only, which tells it
            from converted images in the same folder.
        table: uint8 (256,), new value of each official value; bool (256,), whether it is known.
    """

    folder: str
    source: str
    target: str
    digits: bool
    table: Callable[[], tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]]


def coco_stuff() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Number the 80 things and 91 stuff classes without gaps, 0 to 170."""
    used = [value for value in range(182) if value not in _COCO_GAPS]
    table = np.full(256, IGNORED, np.uint8)
    table[used] = range(len(used))
    known = np.zeros(256, bool)
    known[[*used, IGNORED]] = True
    return table, known


def coco_object() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Number the 80 things 1 to 80; everything else is background, 0."""
    stuff, known = coco_stuff()
    table = np.zeros(256, np.uint8)
    table[:_COCO_STUFF] = np.where(known[:_COCO_STUFF], stuff[:_COCO_STUFF] + 1, 0)
    return table, known


def cityscapes() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Number the 19 classes 0 to 18; everything else is ignored."""
    table = np.full(256, IGNORED, np.uint8)
    table[list(_CITYSCAPES)] = range(len(_CITYSCAPES))
    known = np.zeros(256, bool)
    known[:_CITYSCAPES_IDS] = True
    return table, known


_COCO = 'coco_stuff164k/annotations/val2017'
CONVERSIONS = {
    'coco-object': Conversion(_COCO, '.png', '_instanceTrainIds.png', True, coco_object),
    'coco-stuff': Conversion(_COCO, '.png', '_labelTrainIds.png', True, coco_stuff),
    'cityscapes': Conversion(
        'cityscapes/gtFine/val',
        '_gtFine_labelIds.png',
        '_gtFine_labelTrainIds.png',
        False,
        cityscapes,
    ),
}


def find_sources(conversion: Conversion, data: Path) -> list[Path]:
    """List the official label images.

    Args:
        conversion: The conversion.
        data: Folder of all data sets, or of this one.

    Raises:
        DataError: A folder is missing or has no such images. The message names it.
    """
    whole, inner = Path(conversion.folder), Path(*Path(conversion.folder).parts[1:])
    folder = data / (inner if (data / inner).is_dir() else whole)
    require(folder, '')
    found = sorted(folder.rglob(f'*{conversion.source}'))
    if conversion.digits:
        found = [path for path in found if path.stem.isdigit()]
    if not found:
        raise DataError(
            f'{folder} and its subfolders contain no official label images: their names end with '
            f'{"digits and " if conversion.digits else ""}{conversion.source}'
        )
    return found


def convert_all(conversion: Conversion, sources: list[Path], workers: int) -> Iterator[str]:
    """Convert the label images, replacing existing ones; yield an error or '' for each."""
    table, known = conversion.table()

    def convert(source: Path) -> str:
        try:
            raw = read_labels(source)
        except SampleError as error:
            return str(error)
        if raw.dtype != np.uint8:
            return f'{source} has 16 bits; the official label images have 8'
        strange = np.unique(raw[~known[raw]]).tolist()
        if strange:
            return f'{source} has unknown ids: {", ".join(map(str, strange[:5]))}'
        name = source.name.removesuffix(conversion.source) + conversion.target
        target = source.with_name(name)
        _, content = cv2.imencode('.png', table[raw])
        part = partial_file(target)
        part.write_bytes(content.tobytes())
        part.replace(target)
        return ''

    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(convert, sources)
