# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The eight benchmarks of the paper's Table 1: file layout and label values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from clip_dinoiser_ros.evaluation.metric import IGNORED, NO_CLASS
from clip_dinoiser_ros.evaluation.samples import DataError, DataSet, Sample

BACKGROUND = 'background'
_CLASSES = Path(__file__).with_name('benchmark_classes.json')


@dataclass(frozen=True)
class FileLayout:
    """File layout of a benchmark, relative to the folder of all data sets.

    Attributes:
        images: Folder of the images.
        image_suffix: Suffix of the image files.
        labels: Folder of the label images.
        label_suffix: Suffix of the label files, in place of `image_suffix`.
        split: File with one image name per line, without suffix; empty: all images, sorted.
        hint: Advice for the error message when label images are missing.
    """

    images: str
    image_suffix: str
    labels: str
    label_suffix: str
    split: str = ''
    hint: str = ''


@dataclass(frozen=True)
class Benchmark:
    """A benchmark.

    Attributes:
        layout: Its files.
        classes: Key of its class names in benchmark_classes.json.
        first: Label value of the first of these classes.
        background: Whether there is also a class 'background', before the others, with value 0.
        filtered: Whether the paper applies the background filter.
        ignored: Label values that are left out of the score.
    """

    layout: FileLayout
    classes: str
    first: int
    background: bool = False
    filtered: bool = False
    ignored: tuple[int, ...] = (255,)


_VOC = FileLayout(
    'VOCdevkit/VOC2012/JPEGImages',
    '.jpg',
    'VOCdevkit/VOC2012/SegmentationClass',
    '.png',
    'VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt',
)
_CONTEXT = FileLayout(
    'VOCdevkit/VOC2010/JPEGImages',
    '.jpg',
    'VOCdevkit/VOC2010/SegmentationClassContext',
    '.png',
    'VOCdevkit/VOC2010/ImageSets/SegmentationContext/val.txt',
)
_COCO = ('coco_stuff164k/images/val2017', '.jpg', 'coco_stuff164k/annotations/val2017')
_CITYSCAPES = FileLayout(
    'cityscapes/leftImg8bit/val',
    '_leftImg8bit.png',
    'cityscapes/gtFine/val',
    '_gtFine_labelTrainIds.png',
    hint='`clip-dinoiser data cityscapes DIR` makes it from the official labels',
)
_ADE20K = FileLayout(
    'ADEChallengeData2016/images/validation',
    '.jpg',
    'ADEChallengeData2016/annotations/validation',
    '.png',
)


def _coco(suffix: str, verb: str) -> FileLayout:
    hint = f'`clip-dinoiser data {verb} DIR` makes it from the official labels'
    return FileLayout(*_COCO, suffix, hint=hint)


BENCHMARKS = {
    'voc': Benchmark(_VOC, 'voc20', 1, background=True, filtered=True),
    'voc20': Benchmark(_VOC, 'voc20', 1, ignored=(0, 255)),
    'context': Benchmark(_CONTEXT, 'context59', 1, background=True),
    'context59': Benchmark(_CONTEXT, 'context59', 1, ignored=(0, 255)),
    # the conversion has turned unlabelled pixels into background
    'coco_object': Benchmark(
        _coco('_instanceTrainIds.png', 'coco-object'),
        'coco_object',
        1,
        background=True,
        filtered=True,
    ),
    'coco_stuff': Benchmark(_coco('_labelTrainIds.png', 'coco-stuff'), 'coco_stuff', 0),
    'cityscapes': Benchmark(_CITYSCAPES, 'cityscapes', 0),
    'ade20k': Benchmark(_ADE20K, 'ade20k', 1, ignored=(0, 255)),
}


def open_benchmark(name: str, data: Path, limit: int | None = None) -> DataSet:
    """Find the files of a benchmark.

    Args:
        name: Key of `BENCHMARKS`.
        data: Folder of all data sets.
        limit: Use only the first `limit` images; None: all.

    Raises:
        DataError: A path is missing. The message names the first one and what to do.
    """
    benchmark = BENCHMARKS[name]
    return DataSet(
        name=name,
        prompts=prompts(benchmark),
        background=0 if benchmark.background else None,
        filtered=benchmark.filtered,
        samples=find_samples(benchmark.layout, data)[:limit],
        meaning=meaning(benchmark),
    )


def prompts(benchmark: Benchmark) -> tuple[str, ...]:
    """Return the class names that serve as prompts."""
    names = json.loads(_CLASSES.read_text())[benchmark.classes]
    return (BACKGROUND, *names) if benchmark.background else tuple(names)


def meaning(benchmark: Benchmark) -> npt.NDArray[np.uint16]:
    """Return the class index of each label value; see `DataSet.meaning`."""
    table = np.full(1 << 16, NO_CLASS, np.uint16)
    first = 0 if benchmark.background else benchmark.first
    count = len(prompts(benchmark))
    table[first : first + count] = range(count)
    table[list(benchmark.ignored)] = IGNORED
    return table


def find_samples(layout: FileLayout, data: Path) -> Sequence[Sample]:
    """List the files of a benchmark; see `open_benchmark`."""
    images, labels = data / layout.images, data / layout.labels
    if layout.split:
        require(data / layout.split, '')
    require(images, '')
    require(labels, '')
    if layout.split:
        lines = (data / layout.split).read_text().splitlines()
        stems = [line.strip() for line in lines if line.strip()]
        if not stems:
            raise DataError(f'{data / layout.split} lists no images')
    else:
        found = sorted(
            p.relative_to(images).as_posix() for p in images.rglob(f'*{layout.image_suffix}')
        )
        stems = [name.removesuffix(layout.image_suffix) for name in found]
        if not stems:
            raise DataError(f'{images} and its subfolders contain no *{layout.image_suffix}')
    samples = []
    for stem in stems:
        image = images / f'{stem}{layout.image_suffix}'
        sample = Sample(image.stem, image, labels / f'{stem}{layout.label_suffix}')
        require(sample.image, '')
        require(sample.labels, layout.hint)
        samples.append(sample)
    return samples


def require(path: Path, hint: str) -> None:
    """Raise DataError if a path does not exist, naming the first part of it that is missing."""
    if path.exists():
        return
    missing = path
    while not missing.parent.exists():
        missing = missing.parent
    raise DataError(f'{missing} is missing{": " if hint else ""}{hint}')
