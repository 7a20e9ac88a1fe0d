# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The arguments of `clip-dinoiser evaluate DATASET|folder|bag`, and their validation."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from clip_dinoiser_ros import arguments
from clip_dinoiser_ros.core.dinoiser import GAMMA
from clip_dinoiser_ros.core.edges import STEPS
from clip_dinoiser_ros.core.weights import DEMO_GAMMA
from clip_dinoiser_ros.evaluation.journal import check_folder
from clip_dinoiser_ros.evaluation.samples import DataError
from clip_dinoiser_ros.evaluation.table_models import BACKGROUNDS, METHODS, TableRow
from clip_dinoiser_ros.fleet.cluster_arguments import (
    CPUS,
    add_cluster_arguments,
    check_cluster_arguments,
)

CUDA_BATCH = 16
# arguments of --protocol node, and their defaults
_OF_NODE: dict[str, Any] = {
    'min_confidence': 0.0,
    'negative_prompts': [],
    'edges': 'off',
    'smoothing': 0.0,
}
_SETTINGS = (
    'gamma delta denoising projected_keys templates limit model pretrained heads engine quantized '
    'protocol background_class short_side min_confidence negative_prompts edges smoothing'
)


def add_benchmark_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the eight benchmarks."""
    parser.add_argument(
        '--data', type=Path, required=True, metavar='DIR', help='folder of all data sets'
    )
    _add_shared_arguments(parser)
    _add_cluster(parser)


def add_folder_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `evaluate folder`."""
    parser.add_argument('--images', type=Path, required=True, metavar='DIR', help='at any depth')
    parser.add_argument(
        '--labels',
        type=Path,
        required=True,
        metavar='DIR',
        help='one PNG for each image, at the same relative path: ids, palette indices or colours',
    )
    parser.add_argument(
        '--classes',
        type=Path,
        required=True,
        metavar='FILE',
        help='CSV with the columns prompt and id, or prompt, red, green and blue; pixels of rows '
        'without a prompt are ignored',
    )
    parser.add_argument(
        '--label-suffix',
        default='.png',
        metavar='TEXT',
        help='ending of the name of a label image, after the stem of its image (%(default)s)',
    )
    _add_node_arguments(parser)
    _add_shared_arguments(parser)
    _add_cluster(parser)


def add_bag_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `evaluate bag`."""
    parser.add_argument('input', type=Path, metavar='BAG', help='bag folder, .mcap or .db3 file')
    parser.add_argument('--truth', required=True, metavar='TOPIC', help='label images')
    parser.add_argument(
        '--topic', metavar='TOPIC', help='image topic; may be left out if there is only one camera'
    )
    parser.add_argument(
        '--classes',
        type=Path,
        metavar='FILE',
        help='CSV with the columns prompt and id; default: the LabelInfo topic beside the true '
        'labels',
    )
    parser.add_argument(
        '--prompts',
        nargs='+',
        metavar='TEXT',
        help='classes; true labels of other classes count as background if that is a prompt, and '
        'are ignored if not; default: all names of the LabelInfo',
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
        help='paper: sliding windows of 448 pixels; node: what the node computes (%(default)s)',
    )
    parser.add_argument(
        '--background-class',
        default='background',
        metavar='NAME',
        help='class that a background filter applies to (%(default)s)',
    )
    group = parser.add_argument_group('--protocol node only, as the parameters of the node')
    group.add_argument(
        '--short-side',
        type=int,
        default=448,
        help='resize the short side to N pixels; 0: no resizing (%(default)s)',
    )
    group.add_argument('--min-confidence', type=float, default=0.0, help='%(default)s')
    group.add_argument('--negative-prompts', nargs='+', default=[], metavar='TEXT')
    group.add_argument('--edges', default='off', choices=list(STEPS), help='%(default)s')
    return group


def _add_shared_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--limit', type=int, metavar='N', help='use only the first N images')
    group = parser.add_argument_group('results')
    group.add_argument(
        '--out',
        type=Path,
        metavar='DIR',
        help='folder for result.json, table.md, classes.csv and page.html',
    )
    group.add_argument(
        '--save-labels',
        action='store_true',
        help='also write the predicted labels as labels/NAME.png, class indices',
    )
    group.add_argument('--resume', action='store_true', help='continue the evaluation in DIR')
    group.add_argument('--force', action='store_true', help='replace the results in DIR')
    group = parser.add_argument_group("method: a row of the paper's Table 2")
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
        help=f'threshold of affinities ({GAMMA}; demo model: {DEMO_GAMMA})',
    )
    group.add_argument(
        '--delta',
        type=float,
        default=TableRow.delta,
        help='surer patches keep a class (%(default)s)',
    )
    group.add_argument(
        '--denoising',
        type=float,
        default=0.0,
        metavar='P',
        help='--method maskclip-keys only: leave out classes that no patch of a window shows with '
        'this probability (%(default)s)',
    )
    group.add_argument(
        '--projected-keys',
        action='store_true',
        help='--method clip-keys only: keys after the output projection, as in maskclip-keys',
    )
    arguments.add_templates_argument(group)
    group = arguments.add_weights_arguments(parser)
    arguments.add_teacher_files(group)
    group = parser.add_argument_group('running')
    arguments.add_device_arguments(group, arguments.INT8_TOO)
    arguments.add_quantized_argument(group)
    parser.set_defaults(precision='fp32')
    group.add_argument(
        '--batch', type=int, metavar='N', help=f'windows at once (cpu: 1, cuda: {CUDA_BATCH})'
    )
    group.add_argument(
        '--workers', type=int, default=2, metavar='N', help='threads that read (%(default)s)'
    )


def _add_cluster(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('several processes or machines, by Ray')
    add_cluster_arguments(group, 'none: this process; with --address as many as fit')


def on_cluster(args: argparse.Namespace) -> bool:
    """Return whether actors of Ray evaluate."""
    return args.what != 'bag' and not (args.actors is None and args.address is None)


def check(args: argparse.Namespace) -> None:
    """Check the arguments before anything is read, and fill in --gamma.

    Raises:
        DataError, ClusterError: An option that is not allowed.
        JournalError: Results would be overwritten, or there are none to continue.
    """
    for name, least in (('batch', 1), ('workers', 1), ('limit', 1)):
        value = getattr(args, name)
        if value is not None and value < least:
            raise DataError(f'--{name} is {value}; must be at least {least}')
    if args.what != 'bag':
        check_cluster_arguments(args)
        if not on_cluster(args) and (args.cpus != CPUS or args.gpus is not None or args.dashboard):
            raise DataError('--cpus, --gpus and --dashboard need --actors N or --address HOST:PORT')
    args.gamma = arguments.gamma(args)
    limits = {'gamma': 0.99, 'delta': 1.0, 'denoising': 1.0, 'min_confidence': 1.0}
    for name, most in {**limits, 'smoothing': 0.99}.items():
        if not 0.0 <= getattr(args, name, 0.0) <= most:
            option = name.replace('_', '-')
            raise DataError(f'--{option} is {getattr(args, name)}; must be between 0 and {most:g}')
    if args.denoising and args.method != 'maskclip-keys':
        raise DataError('--denoising needs --method maskclip-keys')
    if args.projected_keys and args.method != 'clip-keys':
        raise DataError('--projected-keys needs --method clip-keys')
    if args.save_labels and args.out is None:
        raise DataError('--save-labels needs --out DIR')
    if protocol(args) == 'paper':
        for name, unset in _OF_NODE.items():
            if getattr(args, name, unset) != unset:
                option = name.replace('_', '-')
                raise DataError(f'--{option} needs --protocol node')
    if getattr(args, 'smoothing', 0.0) and args.resume:
        raise DataError(
            '--resume does not work with --smoothing, which needs all earlier frames; start again '
            'with --force'
        )
    check_folder(args.out, args.resume, args.force)


def protocol(args: argparse.Namespace) -> str:
    """Return 'paper' or 'node'."""
    return str(getattr(args, 'protocol', 'paper'))


def settings(args: argparse.Namespace) -> dict[str, Any]:
    """Return all arguments that affect the result."""
    given = {key: getattr(args, key) for key in _SETTINGS.split() if hasattr(args, key)}
    return {'what': args.what, **given}
