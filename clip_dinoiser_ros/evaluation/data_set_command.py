# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""`clip-dinoiser evaluate DATASET|folder|bag`: quality of a method, measured by true labels."""

from __future__ import annotations

import argparse
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from clip_dinoiser_ros.arguments import DAMAGED, say
from clip_dinoiser_ros.core.segmenter import find_device, find_precision
from clip_dinoiser_ros.core.vocabulary import Vocabulary
from clip_dinoiser_ros.evaluation import loading, page
from clip_dinoiser_ros.evaluation.data_set_arguments import CUDA_BATCH, check, protocol, settings
from clip_dinoiser_ros.evaluation.items import Source
from clip_dinoiser_ros.evaluation.journal import Journal
from clip_dinoiser_ros.evaluation.outcome import markdown, result, shown, write
from clip_dinoiser_ros.evaluation.predictors import NodePredictor, PaperPredictor
from clip_dinoiser_ros.evaluation.running import (
    Outcome,
    Predictor,
    evaluate,
    predict_again,
    save_labels,
)
from clip_dinoiser_ros.evaluation.samples import DataError
from clip_dinoiser_ros.evaluation.segmenting import WindowSegmenter
from clip_dinoiser_ros.evaluation.table_models import Background, TableRow
from clip_dinoiser_ros.evaluation.tasks import Task, open_task
from clip_dinoiser_ros.frames.class_ids import ClassIds
from clip_dinoiser_ros.frames.settings import Active, Settings
from clip_dinoiser_ros.training.record import versions

MOST_SHOWN = 20  # images named in the summary


def run(args: argparse.Namespace) -> int:
    """Evaluate; return the exit code."""
    # cheap checks first; loading takes minutes
    check(args)
    task = open_task(args)
    row = _row(args, task)
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
    if args.batch is None:
        args.batch = CUDA_BATCH if device.type == 'cuda' else 1
    read = loading.read_weights(files)
    predictor, vocabulary = _predictor(args, task, row, read, files)
    names = [prompt.name for prompt in vocabulary.prompts[: len(task.prompts)]]
    chosen = {
        **settings(args),
        'method': row.method,
        'background': row.background,
        'precision': precision,
        'prompts': list(task.prompts),
    }
    inputs = {'weights': read.digests, 'data': task.source.about}
    save = None
    if args.save_labels:
        save = save_labels(args.out / 'labels', len(names))
    with Journal(args.out, {**chosen, **inputs}, len(names), args.resume) as journal:
        try:
            outcome = evaluate(task.source, predictor, journal, len(names), save, args.what)
        except KeyboardInterrupt:
            if args.out is not None:
                say(f'stopped; the results so far are in {args.out}, --resume continues')
            raise
        about = {**inputs, 'settings': chosen, **_circumstances(device)}
        content = result(outcome, names, row.method, row.background, about)
        table = markdown(content, outcome.counts)
        print(table)  # noqa: T201
        if args.out is not None:
            write(args.out, content, table)
            _draw(args.out, outcome, names, task.source, predictor, content)
    return _sum_up(args, task, outcome)


def _row(args: argparse.Namespace, task: Task) -> TableRow:
    """Return the row that the arguments name; the default filter is that of the paper's Table 1."""
    background: Background = args.background or ('learned' if task.filtered else 'none')
    if background != 'none' and task.background is None:
        raise DataError(f'--background {background} needs a class background, and there is none')
    return TableRow(
        args.method, background, args.gamma, args.delta, args.denoising, args.projected_keys
    )


def _predictor(
    args: argparse.Namespace, task: Task, row: TableRow, read: loading.Weights, files: loading.Files
) -> tuple[Predictor, Vocabulary]:
    """Load the model; return it and the classes, negative ones last."""
    if protocol(args) == 'paper':
        model, texts, device = loading.load_table_model(
            read, files, row, args.device, args.precision, args.engine
        )
        vocabulary = texts.encode(task.prompts, None, args.templates)
        segmenter = WindowSegmenter(model, vocabulary, task.background, device, args.batch)
        return PaperPredictor(segmenter, model.patch_size, args.batch), vocabulary
    live = loading.load_segmenter(
        read, files, row, args.device, args.precision, args.engine, args.short_side or None
    )
    filtered = args.background_class if row.background == 'learned' else None
    prompts = [*task.prompts, *task.negatives]
    vocabulary = live.encode(prompts, filtered, args.templates)
    names = vocabulary.names[: len(task.prompts)]
    table = ClassIds().with_names(names).table(names, len(task.negatives))
    active = Active(_node_settings(args, task, filtered), vocabulary, table, version=1)
    return NodePredictor(live, active, args.batch), vocabulary


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


def _circumstances(device: torch.device) -> dict[str, Any]:
    name = torch.cuda.get_device_name(device) if device.type == 'cuda' else platform.machine()
    return {
        'device': name,
        'threads': torch.get_num_threads(),
        'finished': datetime.now(timezone.utc).isoformat(timespec='seconds'),
        'versions': {'python': platform.python_version(), **versions()},
    }


def _draw(
    folder: Path,
    outcome: Outcome,
    names: Sequence[str],
    source: Source,
    predictor: Predictor,
    content: Mapping[str, Any],
) -> None:
    """Write the HTML page of example images."""
    facts = {
        'data': f'{content["data"]["name"]}, {outcome.images} images',
        'method': f'{content["method"]}, background {content["background"]}',
        'mIoU': shown(content['miou']),
        'pixel accuracy': shown(content['accuracy']),
    }
    if content['settings'].get('smoothing'):
        facts['pictures'] = 'segmented again, without earlier frames'

    def show(numbers: Sequence[int]) -> Mapping[int, Any]:
        return predict_again(source, predictor, numbers)

    page.write_page(folder / page.FILE, outcome.scores, names, show, facts)


def _sum_up(args: argparse.Namespace, task: Task, outcome: Outcome) -> int:
    """Print what went wrong; return the exit code."""
    damage = task.source.damage
    for what, lines in (
        ('images were left out', outcome.left_out),
        ('images have unknown labels', outcome.odd),
        ('parts of the recording could not be read', damage),
    ):
        if lines:
            say(f'{len(lines)} {what}:')
            for line in lines[:MOST_SHOWN]:
                say(f'  {line}')
            if len(lines) > MOST_SHOWN:
                say(f'  and {len(lines) - MOST_SHOWN} more')
    if args.out is not None:
        say(f'wrote {args.out}')
    return DAMAGED if outcome.left_out or outcome.odd or damage else 0
