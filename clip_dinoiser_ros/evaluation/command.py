# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""`clip-dinoiser evaluate`: quality on data sets with true labels and on the generated world."""

from __future__ import annotations

import argparse
import tempfile
from itertools import islice
from pathlib import Path
from typing import Any

from clip_dinoiser_ros.benchmark.random_weights import write_random_weights
from clip_dinoiser_ros.core import Segmenter
from clip_dinoiser_ros.core.edges import STEPS
from clip_dinoiser_ros.evaluation import data_set_command, edge_figures, world_table
from clip_dinoiser_ros.evaluation.benchmarks import BENCHMARKS
from clip_dinoiser_ros.evaluation.data_set_arguments import (
    add_bag_arguments,
    add_benchmark_arguments,
    add_folder_arguments,
)
from clip_dinoiser_ros.evaluation.demo_model import TEST_SEED, Bench, measure, table
from clip_dinoiser_ros.evaluation.flicker import WEIGHTS, measure_smoothing
from clip_dinoiser_ros.evaluation.flicker import table as steadiness_table
from clip_dinoiser_ros.evaluation.overhead import BLOCKS, measure_overhead
from clip_dinoiser_ros.evaluation.overhead import table as overhead_table
from clip_dinoiser_ros.training.demo_model.files import CAPTIONS_TOWER, GAMMA
from clip_dinoiser_ros.world.drives import PROMPTS_AFTER, PROMPTS_BEFORE, demo_drive
from clip_dinoiser_ros.world.render import Scene

DRIVE_FRAMES = 200
TOWERS = ('demo', 'captions')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    kinds = parser.add_subparsers(dest='what', metavar='WHAT', required=True)
    for name in BENCHMARKS:
        add_benchmark_arguments(_kind(kinds, name, "a benchmark of the paper's Table 1"))
    add_folder_arguments(_kind(kinds, 'folder', 'your own labelled images'))
    add_bag_arguments(_kind(kinds, 'bag', 'a recording with true labels'))
    demo = _kind(kinds, 'demo', 'the demo model on scenes it has never seen')
    _add_gamma(demo)
    demo.add_argument('--scenes', type=int, default=300, help='of each kind (%(default)s)')
    demo.add_argument(
        '--start',
        type=int,
        nargs='+',
        default=[TEST_SEED],
        metavar='SEED',
        help='first seed of the scenes; one table for each seed given (%(default)s)',
    )
    demo.add_argument(
        '--tower',
        choices=TOWERS,
        nargs='+',
        help='that of the demo model, or the one trained by captions alone; by default demo, and '
        'captions with --captions',
    )
    demo.add_argument(
        '--captions',
        type=Path,
        metavar='DIR',
        help='folder of the tower trained by captions alone, which the package does not contain: '
        'test/evaluation/captions_tower in the repository, or made by `clip-dinoiser demo train`',
    )
    smoothing = _kind(kinds, 'smoothing', 'flicker and mIoU along the drive')
    _add_gamma(smoothing)
    smoothing.add_argument(
        '--frames', type=int, default=DRIVE_FRAMES, help='of the drive, at 10 Hz (%(default)s)'
    )
    smoothing.add_argument(
        '--weights',
        type=float,
        nargs='+',
        default=list(WEIGHTS),
        metavar='S',
        help='of temporal_smoothing, 0 to 0.99 (%(default)s)',
    )
    smoothing.add_argument(
        '--edges', choices=list(STEPS), default='off', help='as edges of the node (%(default)s)'
    )
    overhead = _kind(kinds, 'overhead', "time that an evaluation takes beyond the model's own")
    overhead.add_argument(
        '--images', type=int, default=100, metavar='N', help='generated, 640x480 (%(default)s)'
    )
    edges = _kind(kinds, 'edges', 'sharp edges on the drive, clean and as bad cameras show it')
    edges.add_argument(
        '--pairs', type=int, default=10, metavar='N', help='of consecutive frames (%(default)s)'
    )
    edges.add_argument(
        '--compare', action='store_true', help='with a guided filter and a joint bilateral one'
    )
    edges.add_argument('--picture', type=Path, metavar='FILE', help='PNG or JPEG, before and after')
    edges.add_argument(
        '--share-of',
        metavar='MODEL',
        help='only the share of a frame, with this OpenCLIP model and random weights',
    )
    rows = _kind(kinds, 'table', 'rows of the Table 2 of the paper, on generated scenes')
    rows.add_argument(
        '--captions',
        type=Path,
        required=True,
        metavar='DIR',
        help='as of `evaluate demo`: test/evaluation/captions_tower in the repository',
    )
    rows.add_argument(
        '--scenes', type=int, default=40, metavar='N', help='of each draw (%(default)s)'
    )
    rows.add_argument(
        '--start',
        type=int,
        nargs='+',
        default=list(world_table.STARTS),
        metavar='SEED',
        help='first seed of each draw of scenes (%(default)s)',
    )
    rows.add_argument(
        '--trainings',
        type=int,
        default=0,
        metavar='N',
        help='train the two convolutions N times; the deviation is then that of the trainings',
    )


def _kind(kinds: Any, name: str, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = kinds.add_parser(name, help=text, description=text)
    return parser


def _add_gamma(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--gamma', type=float, help='of the guided pooling; by default the one chosen for the tower'
    )


def run(args: argparse.Namespace) -> int:
    """Measure, print tables; return the exit code."""
    if args.what == 'demo':
        return _demo(args)
    if args.what == 'smoothing':
        return _smoothing(args)
    if args.what == 'overhead':
        return _overhead(args)
    if args.what == 'edges':
        return _edges(args)
    if args.what == 'table':
        return _table(args)
    return data_set_command.run(args)


def _demo(args: argparse.Namespace) -> int:
    if args.scenes < 1:
        raise ValueError(f'--scenes is {args.scenes}; must be at least 1')
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
        raise ValueError(f'--frames is {args.frames}; must be between 2 and {DRIVE_FRAMES}')
    for weight in args.weights:
        if not 0.0 <= weight <= 0.99:
            raise ValueError(f'--weights is {weight}; must be between 0 and 0.99')
    gamma = GAMMA if args.gamma is None else args.gamma
    segmenter = Segmenter.load('demo')
    for prompts in (PROMPTS_BEFORE, PROMPTS_AFTER):
        vocabulary = segmenter.encode(prompts)
        scenes = islice(demo_drive(), args.frames)
        rows = measure_smoothing(segmenter, vocabulary, scenes, args.weights, gamma, args.edges)
        print(  # noqa: T201
            f'{args.frames} frames, edges {args.edges}, {", ".join(prompts)}:\n\n'
            f'{steadiness_table(rows)}\n'
        )
    return 0


def _overhead(args: argparse.Namespace) -> int:
    if args.images < BLOCKS:
        raise ValueError(f'--images is {args.images}; must be at least {BLOCKS}')
    print(overhead_table(measure_overhead(args.images)))  # noqa: T201
    return 0


def _edges(args: argparse.Namespace) -> int:
    if not 1 <= args.pairs <= DRIVE_FRAMES // 2:
        raise ValueError(f'--pairs is {args.pairs}; must be between 1 and {DRIVE_FRAMES // 2}')
    if args.share_of is not None:
        return _edge_share(args)
    pairs = _pairs(args.pairs)
    segmenter = Segmenter.load('demo', device='cpu')
    for prompts in (PROMPTS_BEFORE, PROMPTS_AFTER):
        vocabulary = segmenter.encode(prompts)
        found = {
            condition: edge_figures.measure_edges(
                segmenter, vocabulary, pairs, condition, args.compare
            )
            for condition in edge_figures.CONDITIONS
        }
        print(f'{", ".join(prompts)}:\n\n{edge_figures.table(found)}\n')  # noqa: T201
    if args.picture is not None:
        shown = pairs[len(pairs) // 2][0]
        edge_figures.draw_pictures(args.picture, segmenter, vocabulary, shown)
    return 0


def _pairs(count: int) -> list[list[Scene]]:
    return list(edge_figures.frames_in_pairs(demo_drive(), count, DRIVE_FRAMES))


def _edge_share(args: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as folder:
        files = write_random_weights(args.share_of, Path(folder))
        segmenter = Segmenter.load(**files, device='cpu')
        vocabulary = segmenter.encode(PROMPTS_AFTER, templates='none')
        pairs = _pairs(args.pairs)
        figures = edge_figures.measure_edges(segmenter, vocabulary, pairs, 'clean', args.compare)
    print(edge_figures.share(figures))  # noqa: T201
    return 0


def _table(args: argparse.Namespace) -> int:
    if args.scenes < 1:
        raise ValueError(f'--scenes is {args.scenes}; must be at least 1')
    _check_captions(args.captions)
    if args.trainings < 0:
        raise ValueError(f'--trainings is {args.trainings}; must be at least 0')
    if args.trainings:
        found = world_table.measure_trainings(
            args.captions, args.scenes, args.start, args.trainings
        )
    else:
        found = world_table.measure_table(args.captions, args.scenes, args.start)
    print(world_table.table(found))  # noqa: T201
    return 0
