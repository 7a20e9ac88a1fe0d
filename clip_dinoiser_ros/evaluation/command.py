# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""`clip-dinoiser evaluate`: the model on the generated world, by the truth of every pixel."""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path

from clip_dinoiser_ros.core import Segmenter
from clip_dinoiser_ros.core.edges import STEPS
from clip_dinoiser_ros.evaluation.demo_model import TEST_SEED, Bench, measure, table
from clip_dinoiser_ros.evaluation.flicker import WEIGHTS, measure_smoothing
from clip_dinoiser_ros.evaluation.flicker import table as steadiness_table
from clip_dinoiser_ros.training.demo_model.files import CAPTIONS_TOWER, GAMMA
from clip_dinoiser_ros.world.drives import PROMPTS_AFTER, PROMPTS_BEFORE, tour

DRIVE_FRAMES = 200
TOWERS = ('demo', 'captions')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument(
        'what',
        choices=['demo', 'smoothing'],
        help="demo: the rows of the paper's Table 2; smoothing: flicker and mIoU along the drive",
    )
    parser.add_argument(
        '--gamma', type=float, help='of the guided pooling; by default the one chosen for the tower'
    )
    group = parser.add_argument_group('demo')
    group.add_argument('--scenes', type=int, default=300, help='of each kind (%(default)s)')
    group.add_argument(
        '--start',
        type=int,
        nargs='+',
        default=[TEST_SEED],
        metavar='SEED',
        help='first seed of the scenes; several make a table each (%(default)s)',
    )
    group.add_argument(
        '--tower',
        choices=TOWERS,
        nargs='+',
        help='that of the demo model, or the one trained by captions alone; by default demo, and '
        'captions with --captions',
    )
    group.add_argument(
        '--captions',
        type=Path,
        metavar='DIR',
        help='folder of the tower trained by captions alone, which the package does not contain: '
        'test/evaluation/captions_tower in the repository, or made by `clip-dinoiser demo train`',
    )
    group = parser.add_argument_group('smoothing')
    group.add_argument(
        '--frames', type=int, default=DRIVE_FRAMES, help='of the drive, at 10 Hz (%(default)s)'
    )
    group.add_argument(
        '--weights',
        type=float,
        nargs='+',
        default=list(WEIGHTS),
        metavar='S',
        help='of temporal_smoothing, 0 to 0.99 (%(default)s)',
    )
    group.add_argument(
        '--edges', choices=list(STEPS), default='off', help='as edges of the node (%(default)s)'
    )


def run(args: argparse.Namespace) -> int:
    """Measure, print a table for each seed or list of prompts; return the exit code."""
    return _smoothing(args) if args.what == 'smoothing' else _demo(args)


def _demo(args: argparse.Namespace) -> int:
    if args.scenes < 1:
        raise ValueError(f'--scenes {args.scenes}: at least 1')
    towers = args.tower or TOWERS[: 1 if args.captions is None else 2]
    if 'captions' in towers:
        _check_captions(args.captions)
    for tower in towers:
        bench = Bench(captions=args.captions if tower == 'captions' else None)
        gamma = bench.gamma if args.gamma is None else args.gamma
        for start in args.start:
            rows = measure(bench, args.scenes, gamma, start)
            print(  # noqa: T201
                f'{tower} tower, {args.scenes} scenes from seed {start}, gamma {gamma}:\n\n'
                f'{table(rows)}\n'
            )
    return 0


def _check_captions(folder: Path | None) -> None:
    if folder is None:
        raise ValueError('--tower captions needs --captions DIR, the folder of its weights')
    if not (folder / CAPTIONS_TOWER).is_file():
        raise ValueError(f'--captions {folder}: there is no {CAPTIONS_TOWER}')


def _smoothing(args: argparse.Namespace) -> int:
    if not 2 <= args.frames <= DRIVE_FRAMES:
        raise ValueError(f'--frames {args.frames}: 2 to {DRIVE_FRAMES} are allowed')
    for weight in args.weights:
        if not 0.0 <= weight <= 0.99:
            raise ValueError(f'--weights {weight}: 0 to 0.99 is allowed')
    gamma = GAMMA if args.gamma is None else args.gamma
    segmenter = Segmenter.load('demo')
    for prompts in (PROMPTS_BEFORE, PROMPTS_AFTER):
        vocabulary = segmenter.encode(prompts)
        scenes = islice(tour(), args.frames)
        rows = measure_smoothing(segmenter, vocabulary, scenes, args.weights, gamma, args.edges)
        print(  # noqa: T201
            f'{args.frames} frames, edges {args.edges}, {", ".join(prompts)}:\n\n'
            f'{steadiness_table(rows)}\n'
        )
    return 0
