# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The model of an evaluation, from the arguments of the command, and what it makes of images."""

from __future__ import annotations

import argparse
import platform
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from clip_dinoiser_ros.core.segmenter import Precision, find_device, find_precision
from clip_dinoiser_ros.core.vocabulary import Vocabulary
from clip_dinoiser_ros.evaluation import loading
from clip_dinoiser_ros.evaluation.data_set_arguments import CUDA_BATCH, protocol
from clip_dinoiser_ros.evaluation.items import Source
from clip_dinoiser_ros.evaluation.journal import Evaluated
from clip_dinoiser_ros.evaluation.predictors import NodePredictor, PaperPredictor
from clip_dinoiser_ros.evaluation.running import Predictor, evaluated_images, save_labels
from clip_dinoiser_ros.evaluation.samples import DataError
from clip_dinoiser_ros.evaluation.segmenting import WindowSegmenter
from clip_dinoiser_ros.evaluation.table_models import Background, TableRow
from clip_dinoiser_ros.evaluation.tasks import Task
from clip_dinoiser_ros.frames.class_ids import ClassIds
from clip_dinoiser_ros.frames.settings import Active, Settings


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready for images.

    Attributes:
        predictor: Segments images.
        row: The row of the paper's Table 2.
        names: Names of the classes.
        weights: Digest of each file of weights.
        device, precision: Those in use.
    """

    predictor: Predictor
    row: TableRow
    names: list[str]
    weights: dict[str, str]
    device: torch.device
    precision: Precision

    @property
    def device_name(self) -> str:
        """Name of the GPU, or the architecture of the CPU."""
        if self.device.type == 'cuda':
            return torch.cuda.get_device_name(self.device)
        return platform.machine()


def load_model(args: argparse.Namespace, task: Task) -> LoadedModel:
    """Load the model that the arguments name.

    Raises:
        DataError: The filter needs a class that is not there.
        ValueError: Arguments do not go together, or weights are missing; before anything is loaded.
    """
    row = _find_row(args, task)
    files = loading.Files(
        args.model,
        args.pretrained,
        args.heads,
        args.dino_base,
        args.dino_small,
        args.found,
        args.quantized,
    )
    loading.check(files, row)
    loading.check_engine(files, row, args.device, args.precision, args.engine)
    device = find_device(args.device)
    precision = find_precision(args.precision, device)
    batch = args.batch or (CUDA_BATCH if device.type == 'cuda' else 1)
    read = loading.read_weights(files)
    predictor, vocabulary = _predictor(args, task, row, read, files, batch)
    names = [prompt.name for prompt in vocabulary.prompts[: len(task.prompts)]]
    return LoadedModel(predictor, row, names, read.digests, device, precision)


def evaluate_here(
    args: argparse.Namespace, source: Source, loaded: LoadedModel, first: int = 0
) -> Iterator[Evaluated]:
    """Evaluate the images from an index on in this process; see `evaluated_images`."""
    classes = len(loaded.names)
    save = save_labels(args.out / 'labels', classes) if args.save_labels else None
    return evaluated_images(source, loaded.predictor, classes, first, save)


def _find_row(args: argparse.Namespace, task: Task) -> TableRow:
    """Return the row that the arguments name; the default filter is that of the paper's Table 1."""
    background: Background = args.background or ('learned' if task.filtered else 'none')
    if background != 'none' and task.background is None:
        raise DataError(f'--background {background} needs a class background, and there is none')
    return TableRow(
        args.method, background, args.gamma, args.delta, args.denoising, args.projected_keys
    )


def _predictor(
    args: argparse.Namespace,
    task: Task,
    row: TableRow,
    read: loading.Weights,
    files: loading.Files,
    batch: int,
) -> tuple[Predictor, Vocabulary]:
    """Load the model; return it and the classes, negative ones last."""
    if protocol(args) == 'paper':
        model, texts, device = loading.load_table_model(
            read, files, row, args.device, args.precision, args.engine
        )
        vocabulary = texts.encode(task.prompts, None, args.templates)
        segmenter = WindowSegmenter(model, vocabulary, task.background, device, batch)
        return PaperPredictor(segmenter, model.patch_size, batch), vocabulary
    live = loading.load_segmenter(
        read, files, row, args.device, args.precision, args.engine, args.short_side or None
    )
    filtered = args.background_class if row.background == 'learned' else None
    prompts = [*task.prompts, *task.negatives]
    vocabulary = live.encode(prompts, filtered, args.templates)
    names = vocabulary.names[: len(task.prompts)]
    table = ClassIds().with_names(names).table(names, len(task.negatives))
    active = Active(_node_settings(args, task, filtered), vocabulary, table, version=1)
    return NodePredictor(live, active, batch), vocabulary


def _node_settings(args: argparse.Namespace, task: Task, filtered: str | None) -> Settings:
    return Settings(
        prompts=tuple(task.prompts),
        negative_prompts=tuple(task.negatives),
        background=filtered or '',
        templates=args.templates,
        gamma=args.gamma,
        delta=args.delta,
        min_confidence=args.min_confidence,
        confidence_encoding='32FC1',
        max_rate=0.0,
        output_scale=1.0,
        cloud='organised',
        sync_tolerance_ms=0.0,
        temporal_smoothing=getattr(args, 'smoothing', 0.0),
        edges=args.edges,
        stale_after=0.0,
    )
