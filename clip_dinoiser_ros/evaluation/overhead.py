# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Measure the time that an evaluation takes beyond the model's own, and its use of memory."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from PIL import Image

from clip_dinoiser_ros.evaluation import loading, windows
from clip_dinoiser_ros.evaluation.demo_model import unseen_scenes
from clip_dinoiser_ros.evaluation.folder import open_folder
from clip_dinoiser_ros.evaluation.items import FileSource
from clip_dinoiser_ros.evaluation.journal import Journal
from clip_dinoiser_ros.evaluation.predictors import PaperPredictor
from clip_dinoiser_ros.evaluation.running import evaluate, evaluated_images
from clip_dinoiser_ros.evaluation.samples import DataSet
from clip_dinoiser_ros.evaluation.segmenting import WindowSegmenter, resize
from clip_dinoiser_ros.evaluation.table_models import TableRow
from clip_dinoiser_ros.evaluation.tasks import READ_AHEAD
from clip_dinoiser_ros.training.demo_model.files import GAMMA
from clip_dinoiser_ros.world.classes import CLASSES

BLOCKS = 4  # turns of the model alone and of the evaluation
WORKERS = 2
JPEG_QUALITY = 95


@dataclass(frozen=True)
class Block:
    """Images that went through the model alone, and then through an evaluation.

    Attributes:
        images: Number of images.
        model_s: Time of the model alone: elapsed, and CPU time of all threads.
        all_s: The same of the evaluation, including the model.
        memory_mib: Memory of the process after the evaluation.
    """

    images: int
    model_s: tuple[float, float]
    all_s: tuple[float, float]
    memory_mib: float


def measure_overhead(images: int, width: int = 640, height: int = 480) -> list[Block]:
    """Evaluate generated scenes with the demo model, all classes of the world as prompts.

    Args:
        images: Number of images, at least `BLOCKS`.
        width: Width of the images in pixels.
        height: Height of the images in pixels.
    """
    read = loading.read_weights(loading.Files('demo', '', ''))
    row = TableRow(gamma=GAMMA)
    model, texts, device = loading.load_table_model(
        read, loading.Files('demo', '', ''), row, 'cpu', 'fp32', 'torch'
    )
    segmenter = WindowSegmenter(model, texts.encode(CLASSES, None), None, device, 1)
    predictor = PaperPredictor(segmenter, model.patch_size, 1)
    with tempfile.TemporaryDirectory() as folder:
        data = _write_scenes(Path(folder), images, width, height)
        parts = [replace(data, samples=data.samples[i::BLOCKS]) for i in range(BLOCKS)]
        warm = replace(data, samples=data.samples[:1])
        _model_alone(segmenter, warm)
        _evaluation(predictor, warm)
        return [
            Block(
                len(part.samples),
                _model_alone(segmenter, part),
                _evaluation(predictor, part),
                _memory_mib(),
            )
            for part in parts
        ]


def _write_scenes(folder: Path, images: int, width: int, height: int) -> DataSet:
    for kind in ('images', 'labels'):
        (folder / kind).mkdir()
    for number, shown in enumerate(unseen_scenes(images, width=width, height=height)):
        # as in seven of the eight benchmarks
        Image.fromarray(shown.image).save(folder / f'images/{number}.jpg', quality=JPEG_QUALITY)
        Image.fromarray(shown.labels).save(folder / f'labels/{number}.png')
    rows = ''.join(f'{number},{name}\n' for number, name in enumerate(CLASSES))
    (folder / 'classes.csv').write_text('id,prompt\n' + rows)
    return open_folder(folder / 'images', folder / 'labels', folder / 'classes.csv')


def _model_alone(segmenter: WindowSegmenter, data: DataSet) -> tuple[float, float]:
    """Time the model on windows that are already prepared."""
    elapsed = cpu = 0.0
    for sample in data.samples:
        resized = resize(data.read(sample)[0])
        crops = windows.window_grid(*resized.shape[:2]).crops(torch.from_numpy(resized))
        start = _now()
        segmenter.probabilities(crops)
        end = _now()
        elapsed, cpu = elapsed + end[0] - start[0], cpu + end[1] - start[1]
    return elapsed, cpu


def _evaluation(predictor: PaperPredictor, data: DataSet) -> tuple[float, float]:
    """Time everything that `clip-dinoiser evaluate folder` does with the images."""
    source = FileSource(data, WORKERS, WORKERS + READ_AHEAD)
    start = _now()
    with Journal(None, {}, len(CLASSES), resume=False) as journal:
        classes = len(CLASSES)
        results = partial(evaluated_images, source, predictor, classes)
        evaluate(results, source.total, journal, classes)
    end = _now()
    return end[0] - start[0], end[1] - start[1]


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _memory_mib() -> float:
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE') / 2**20


def table(blocks: Sequence[Block]) -> str:
    """Return the blocks and their sum as a Markdown table."""
    lines = [
        '| images | model, ms per image | evaluation | added | model, CPU ms | evaluation | added '
        '| MiB after |',
        '| --- | --- | --- | --- | --- | --- | --- | --- |',
    ]
    for number, block in enumerate(blocks, 1):
        lines.append(_line(f'{block.images}', blocks[number - 1 : number]))
    lines.append(_line('all', blocks))
    return '\n'.join(lines)


def _line(name: str, blocks: Sequence[Block]) -> str:
    images = sum(block.images for block in blocks)
    cells = []
    for clock in (0, 1):
        model = sum(block.model_s[clock] for block in blocks)
        whole = sum(block.all_s[clock] for block in blocks)
        cells += [f'{1e3 * model / images:.0f}', f'{1e3 * whole / images:.0f}']
        cells.append(f'{whole / model - 1:.1%}')
    return f'| {name} | {" | ".join(cells)} | {blocks[-1].memory_mib:.0f} |'
