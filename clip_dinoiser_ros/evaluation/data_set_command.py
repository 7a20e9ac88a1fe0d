# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""`clip-dinoiser evaluate DATASET|folder|bag`: how good a method is, by true labels."""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from clip_dinoiser_ros import arguments
from clip_dinoiser_ros.core.dinoiser import GAMMA
from clip_dinoiser_ros.core.edges import STEPS
from clip_dinoiser_ros.core.segmenter import find_device, find_precision
from clip_dinoiser_ros.core.vocabulary import TEMPLATES, Vocabulary
from clip_dinoiser_ros.core.weights import DEMO_GAMMA
from clip_dinoiser_ros.evaluation import loading, page
from clip_dinoiser_ros.evaluation.items import Source
from clip_dinoiser_ros.evaluation.journal import Journal, check_folder
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
from clip_dinoiser_ros.evaluation.table_models import BACKGROUNDS, METHODS, Background, Row
from clip_dinoiser_ros.evaluation.tasks import Task, open_task
from clip_dinoiser_ros.frames.class_ids import ClassIds
from clip_dinoiser_ros.frames.settings import Active, Settings
from clip_dinoiser_ros.training.record import versions

DAMAGED = 3  # exit code: there is a result, but images were left out or have odd labels
CUDA_BATCH = 16
MOST_SHOWN = 20  # images that are named at the end


def add_benchmark_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the eight benchmarks."""
    parser.add_argument(
        '--data', type=Path, required=True, metavar='DIR', help='folder of all data sets'
    )
    _add_shared_arguments(parser)


def add_folder_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `evaluate folder`."""
    parser.add_argument('--images', type=Path, required=True, metavar='DIR', help='at any depth')
    parser.add_argument(
        '--labels',
        type=Path,
        required=True,
        metavar='DIR',
        help='PNG of each image, under the same relative path: ids, palette indices or colours',
    )
    parser.add_argument(
        '--classes',
        type=Path,
        required=True,
        metavar='FILE',
        help='CSV with the columns prompt and id, or prompt, red, green and blue; pixels of rows '
        'without a prompt do not count',
    )
    parser.add_argument(
        '--label-suffix',
        default='.png',
        metavar='TEXT',
        help='what the name of a label image has behind the stem of its image (%(default)s)',
    )
    _add_node_arguments(parser)
    _add_shared_arguments(parser)


def add_bag_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `evaluate bag`."""
    parser.add_argument('input', type=Path, metavar='BAG', help='bag folder, .mcap or .db3 file')
    parser.add_argument('--truth', required=True, metavar='TOPIC', help='label images')
    parser.add_argument('--topic', metavar='TOPIC', help='images; without it the only camera')
    parser.add_argument(
        '--classes',
        type=Path,
        metavar='FILE',
        help='CSV with the columns prompt and id; without it, the LabelInfo beside the truth says '
        'what ids mean',
    )
    parser.add_argument(
        '--prompts',
        nargs='+',
        metavar='TEXT',
        help='classes; true labels of others are background where that is a prompt, else they do '
        'not count; without it, all names of the LabelInfo',
    )
    group = _add_node_arguments(parser)
    group.add_argument(
        '--smoothing', type=float, default=0.0, metavar='S', help='temporal_smoothing (%(default)s)'
    )
    _add_shared_arguments(parser)


def _add_node_arguments(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    parser.add_argument(
        '--protocol',
        default='paper',
        choices=['paper', 'node'],
        help='paper: its windows of 448 pixels; node: what a robot runs (%(default)s)',
    )
    parser.add_argument(
        '--background-class',
        default='background',
        metavar='NAME',
        help='class that a background filter applies to (%(default)s)',
    )
    group = parser.add_argument_group('protocol node, as the parameters of the node')
    group.add_argument(
        '--short-side', type=int, default=448, help='in pixels; 0: as they come (%(default)s)'
    )
    group.add_argument('--min-confidence', type=float, default=0.0, help='%(default)s')
    group.add_argument('--negative-prompts', nargs='+', default=[], metavar='TEXT')
    group.add_argument('--edges', default='off', choices=list(STEPS), help='%(default)s')
    return group


def _add_shared_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--limit', type=int, metavar='N', help='only the first N images')
    group = parser.add_argument_group('results')
    group.add_argument(
        '--out', type=Path, metavar='DIR', help='gets result.json, table.md, classes.csv, page.html'
    )
    group.add_argument(
        '--save-labels', action='store_true', help='and labels/NAME.png, class indices'
    )
    group.add_argument('--resume', action='store_true', help='go on with the evaluation in DIR')
    group.add_argument('--force', action='store_true', help='replace what is in DIR')
    group = parser.add_argument_group('method: a row of the Table 2 of the paper')
    group.add_argument('--method', default='dinoiser', choices=METHODS, help='%(default)s')
    group.add_argument(
        '--background',
        choices=BACKGROUNDS,
        help='filter; by default learned for voc, coco_object and wherever background is a class '
        'of your own, else none',
    )
    group.add_argument(
        '--gamma',
        type=float,
        help=f'threshold of affinities ({GAMMA}; with the demo model {DEMO_GAMMA})',
    )
    group.add_argument(
        '--delta', type=float, default=Row.delta, help='surer patches keep a class (%(default)s)'
    )
    group.add_argument(
        '--denoising',
        type=float,
        default=0.0,
        metavar='P',
        help='of maskclip-keys: leave out classes that no patch of a window shows with this '
        'probability (%(default)s)',
    )
    group.add_argument(
        '--projected-keys',
        action='store_true',
        help='of clip-keys: keys behind the output projection, as maskclip-keys reads them',
    )
    group.add_argument('--templates', default='imagenet', choices=TEMPLATES, help='%(default)s')
    group = arguments.add_weights_arguments(parser)
    group.add_argument('--dino-base', metavar='FILE', help='DINO ViT-B/16; without: timm downloads')
    group.add_argument('--dino-small', metavar='FILE', help='DINO ViT-S/8; without: timm downloads')
    group.add_argument('--found', metavar='FILE', help="FOUND's decoder_weights.pt")
    group = parser.add_argument_group('running')
    arguments.add_device_arguments(group)
    parser.set_defaults(precision='fp32', engine='torch')
    group.add_argument(
        '--batch', type=int, metavar='N', help=f'windows at once (cpu: 1, cuda: {CUDA_BATCH})'
    )
    group.add_argument(
        '--workers', type=int, default=2, metavar='N', help='threads that read (%(default)s)'
    )


def run(args: argparse.Namespace) -> int:
    """Evaluate; return the exit code."""
    # in this order: what is cheap to check comes before what takes minutes to load
    _check(args)
    task = open_task(args)
    row = _row(args, task)
    files = loading.Files(
        args.model, args.pretrained, args.heads, args.dino_base, args.dino_small, args.found
    )
    loading.check(files, row)
    device = find_device(args.device)
    precision = find_precision(args.precision, device)
    if args.batch is None:
        args.batch = CUDA_BATCH if device.type == 'cuda' else 1
    read = loading.read_weights(files)
    predictor, vocabulary = _predictor(args, task, row, read, files)
    names = [prompt.name for prompt in vocabulary.prompts[: len(task.prompts)]]
    settings = {
        **_settings(args),
        'method': row.method,
        'background': row.background,
        'precision': precision,
        'prompts': list(task.prompts),
    }
    inputs = {'weights': read.digests, 'data': task.source.about}
    save = None
    if args.save_labels:
        save = save_labels(args.out / 'labels', len(names))
    with Journal(args.out, {**settings, **inputs}, len(names), args.resume) as journal:
        outcome = evaluate(task.source, predictor, journal, len(names), save, args.what)
        about = {**inputs, 'settings': settings, **_circumstances(device)}
        content = result(outcome, names, row.method, row.background, about)
        table = markdown(content, outcome.counts)
        print(table)  # noqa: T201
        if args.out is not None:
            write(args.out, content, table)
            _draw(args.out, outcome, names, task.source, predictor, content)
    return _sum_up(args, task, outcome)


def _check(args: argparse.Namespace) -> None:
    for name, least in (('batch', 1), ('workers', 1), ('limit', 1)):
        value = getattr(args, name)
        if value is not None and value < least:
            raise DataError(f'--{name} is {value}; at least {least}')
    limits = {'gamma': 0.99, 'delta': 1.0, 'denoising': 1.0}
    if args.what in ('folder', 'bag'):
        limits |= {'min_confidence': 1.0}
    if args.what == 'bag':
        limits |= {'smoothing': 0.99}
    args.gamma = arguments.gamma(args)
    for name, most in limits.items():
        if not 0.0 <= getattr(args, name) <= most:
            option = name.replace('_', '-')
            raise DataError(f'--{option} is {getattr(args, name)}; allowed is 0 to {most:g}')
    if args.denoising and args.method != 'maskclip-keys':
        raise DataError('--denoising is of --method maskclip-keys')
    if args.projected_keys and args.method != 'clip-keys':
        raise DataError('--projected-keys is of --method clip-keys')
    if args.save_labels and args.out is None:
        raise DataError('--save-labels needs --out DIR')
    if _protocol(args) == 'paper':
        of_node = {'min_confidence': 0.0, 'negative_prompts': [], 'edges': 'off', 'smoothing': 0.0}
        for name, unset in of_node.items():
            if getattr(args, name, unset) != unset:
                option = name.replace('_', '-')
                raise DataError(f'--{option} is of --protocol node')
    if getattr(args, 'smoothing', 0.0) and args.resume:
        raise DataError(
            '--resume with --smoothing: the average needs all frames before; --force begins again'
        )
    check_folder(args.out, args.resume, args.force)


def _protocol(args: argparse.Namespace) -> str:
    return str(getattr(args, 'protocol', 'paper'))


def _row(args: argparse.Namespace, task: Task) -> Row:
    """Return the row that the arguments name; the filter by default as in the paper's Table 1."""
    background: Background = args.background or ('learned' if task.filtered else 'none')
    if background != 'none' and task.background is None:
        raise DataError(f'--background {background}: background is none of the classes')
    return Row(args.method, background, args.gamma, args.delta, args.denoising, args.projected_keys)


def _predictor(
    args: argparse.Namespace, task: Task, row: Row, read: loading.Weights, files: loading.Files
) -> tuple[Predictor, Vocabulary]:
    """Load the model; return it and the classes, negative ones at their end."""
    if _protocol(args) == 'paper':
        model, texts, device = loading.load_table_model(
            read, files, row, args.device, args.precision, args.engine
        )
        vocabulary = texts.encode(task.prompts, None, args.templates)
        segmenter = WindowSegmenter(model, vocabulary, task.background, device, args.batch)
        return PaperPredictor(segmenter, model.patch_size, args.batch), vocabulary
    live = loading.load_segmenter(
        read, row, args.device, args.precision, args.engine, args.short_side or None
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


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    """Return all arguments that decide over the result."""
    keys = 'gamma delta denoising projected_keys templates limit model pretrained heads engine'
    if args.what in ('folder', 'bag'):
        keys += ' protocol background_class'
        if args.protocol == 'node':
            keys += ' short_side min_confidence negative_prompts edges'
            keys += ' smoothing' if args.what == 'bag' else ''
    return {'what': args.what, **{key: getattr(args, key) for key in keys.split()}}


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
    """Write the page of pictures."""
    facts = {
        'data': f'{content["data"]["name"]}, {outcome.images} images',
        'method': f'{content["method"]}, background {content["background"]}',
        'mIoU': shown(content['miou']),
        'pixel accuracy': shown(content['accuracy']),
    }
    if content['settings'].get('smoothing'):
        facts['pictures'] = 'segmented once more, without the frames before'

    def show(numbers: Sequence[int]) -> Mapping[int, Any]:
        return predict_again(source, predictor, numbers)

    page.write_page(folder / page.FILE, outcome.scores, names, show, facts)


def _sum_up(args: argparse.Namespace, task: Task, outcome: Outcome) -> int:
    """Say what was odd; return the exit code."""
    damage = task.source.damage
    for what, lines in (
        ('images were left out', outcome.left_out),
        ('images have labels of no class', outcome.odd),
        ('parts of the recording could not be read', damage),
    ):
        if lines:
            _say(f'{len(lines)} {what}:')
            for line in lines[:MOST_SHOWN]:
                _say(f'  {line}')
            if len(lines) > MOST_SHOWN:
                _say(f'  and {len(lines) - MOST_SHOWN} more')
    if args.out is not None:
        _say(f'wrote {args.out}')
    return DAMAGED if outcome.left_out or outcome.odd or damage else 0


def _say(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201
