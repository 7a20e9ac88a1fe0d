# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The rows of the paper's Table 2 on the generated world, over draws of scenes or trainings.

The image tower is the captions tower, which is the paper's setting: CLIP never saw a mask, and
the two convolutions learned from teachers. Rows with DINO and FOUND are missing, because their
weights cannot be trained here.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

import numpy as np

from clip_dinoiser_ros.core.manifest import write_manifest
from clip_dinoiser_ros.core.vocabulary import TextEncoder
from clip_dinoiser_ros.core.weights import check_shipped, load_heads
from clip_dinoiser_ros.evaluation import loading
from clip_dinoiser_ros.evaluation.captions_tower.tower import load_captions_clip
from clip_dinoiser_ros.evaluation.captions_tower.train import HEADS
from clip_dinoiser_ros.evaluation.captions_tower.train_heads import train_heads
from clip_dinoiser_ros.evaluation.demo_model import unseen_scenes
from clip_dinoiser_ros.evaluation.metric import Counts, Labels
from clip_dinoiser_ros.evaluation.segmenting import WindowSegmenter, resize
from clip_dinoiser_ros.evaluation.table_models import TableRow
from clip_dinoiser_ros.training.demo_model.files import (
    CAPTIONS_CONFIG,
    CAPTIONS_GAMMA,
    CAPTIONS_HEADS,
    CAPTIONS_TOWER,
)
from clip_dinoiser_ros.world.classes import BACKGROUND, CLASSES, STUFF, THING_CLASSES
from clip_dinoiser_ros.world.render import Scene

STARTS = (500_000, 600_000, 700_000)
KEYS_GAMMA = 0.85  # best on 8 validation scenes
ROWS = {
    'MaskCLIP': TableRow('maskclip'),
    'MaskCLIP with CLIP keys': TableRow('maskclip-keys'),
    'pooling with CLIP keys': TableRow('clip-keys', gamma=KEYS_GAMMA),
    'pooling with the trained affinity': TableRow('dinoiser', gamma=CAPTIONS_GAMMA),
    'trained affinity and objectness': TableRow('dinoiser', 'learned', gamma=CAPTIONS_GAMMA),
}


@dataclass(frozen=True)
class Column:
    """A column of the table: a set of prompts.

    Attributes:
        name: Name of the column.
        prompts: The classes.
        background: Index of the class of everything else; None: there is none.
        truth: Turns the labels of a scene into indices of the prompts.
    """

    name: str
    prompts: tuple[str, ...]
    background: int | None
    truth: Callable[[Scene], Labels]


def _every_class(scene: Scene) -> Labels:
    return scene.labels.astype(np.uint16)


def _things(scene: Scene) -> Labels:
    known = scene.labels.astype(np.uint16)
    return np.where(known < len(STUFF), 0, known - len(STUFF) + 1).astype(np.uint16)


COLUMNS = (
    Column(f'{len(CLASSES)} classes', CLASSES, None, _every_class),
    Column('things and background', (BACKGROUND, *THING_CLASSES), 0, _things),
)


def measure_table(
    captions: Path, scenes: int, starts: Sequence[int], rows: Sequence[str] | None = None
) -> dict[str, list[list[float]]]:
    """Evaluate rows on the same scenes with the paper's protocol.

    Args:
        captions: Folder of the captions tower.
        scenes: Number of scenes in each draw.
        starts: Seed of the first scene of each draw.
        rows: Names of the rows; None: all.

    Returns:
        Mean IoU of each draw in percent, for each row and column; NaN if the row has a background
        filter and the column has no background.
    """
    rows = list(ROWS) if rows is None else rows
    models = {name: _segmenters(captions, ROWS[name]) for name in rows}
    found: dict[str, list[list[float]]] = {name: [[] for _ in COLUMNS] for name in rows}
    for start in starts:
        counts = {name: [Counts.zero(len(column.prompts)) for column in COLUMNS] for name in rows}
        for shown in unseen_scenes(scenes, start=start):
            resized = [resize(shown.image)]
            truths = [column.truth(shown) for column in COLUMNS]
            for name, segmenters in models.items():
                for place, segmenter in segmenters.items():
                    (labels,) = segmenter.segment(resized, [shown.labels.shape])
                    counts[name][place] += Counts.of(
                        truths[place], labels.numpy().astype(np.uint16), len(COLUMNS[place].prompts)
                    )
        for name in rows:
            for place, of_draw in enumerate(counts[name]):
                found[name][place].append(100 * of_draw.miou)
    return found


def measure_trainings(
    captions: Path, scenes: int, starts: Sequence[int], trainings: int
) -> dict[str, list[list[float]]]:
    """Train the two convolutions several times, with seeds from 1, and evaluate each.

    The image tower stays as it is, as CLIP does in the paper.

    Args:
        captions: Folder of the captions tower.
        scenes: Number of scenes in each draw.
        starts: Seed of the first scene of each draw.
        trainings: How often.

    Returns:
        The mean of the draws for each training, for each row and column. Rows without the
        convolutions have one number, since nothing of theirs is trained.
    """
    learned = {name for name, row in ROWS.items() if row.method == 'dinoiser'}
    found: dict[str, list[list[float]]] = {name: [[] for _ in COLUMNS] for name in ROWS}
    for seed in range(1, trainings + 1):
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made)
            for file in (CAPTIONS_CONFIG, CAPTIONS_TOWER):
                shutil.copy(captions / file, folder)
            write_manifest(folder)
            train_heads(folder, seed, HEADS, lambda text: print(text, file=sys.stderr))  # noqa: T201
            rows = [name for name in ROWS if name in learned or seed == 1]
            for row, columns in measure_table(folder, scenes, starts, rows).items():
                for place, draws in enumerate(columns):
                    found[row][place].append(mean(draws))
    return found


def _segmenters(captions: Path, row: TableRow) -> dict[int, WindowSegmenter]:
    """Build a segmenter for each column that the row supports."""
    clip, tokenizer = load_captions_clip(captions)
    check_shipped(captions, [CAPTIONS_HEADS])
    read = loading.Weights(clip, tokenizer, load_heads(captions / CAPTIONS_HEADS))
    texts = TextEncoder(clip, tokenizer)
    vocabularies = [texts.encode(column.prompts, None) for column in COLUMNS]
    files = loading.Files('', '', '')
    model, _, device = loading.load_table_model(read, files, row, 'cpu', 'fp32', 'torch')
    return {
        place: WindowSegmenter(model, vocabulary, column.background, device, 1)
        for place, (column, vocabulary) in enumerate(zip(COLUMNS, vocabularies, strict=True))
        if row.background == 'none' or column.background is not None
    }


def table(found: dict[str, list[list[float]]]) -> str:
    """Return mean and standard deviation of the draws or trainings as a Markdown table."""
    lines = [
        f'| | {" | ".join(column.name for column in COLUMNS)} |',
        f'| --- |{" --- |" * len(COLUMNS)}',
    ]
    for name, columns in found.items():
        lines.append(f'| {name} | {" | ".join(map(_cell, columns))} |')
    return '\n'.join(lines)


def _cell(draws: Sequence[float]) -> str:
    if np.isnan(draws).any():
        return ''
    spread = f' ± {stdev(draws):.2f}' if len(draws) > 1 else ''
    return f'{mean(draws):.2f}{spread}'
