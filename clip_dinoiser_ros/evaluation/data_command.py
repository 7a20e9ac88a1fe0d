# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""`clip-dinoiser data`: make the label images of the benchmarks from the official ones."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from clip_dinoiser_ros.arguments import DAMAGED, say
from clip_dinoiser_ros.evaluation.conversion import CONVERSIONS, convert_all, find_sources

MOST_SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument('what', choices=list(CONVERSIONS), help='the benchmark')
    parser.add_argument(
        'data',
        type=Path,
        metavar='DIR',
        help='folder of all data sets, as for evaluate --data; the new images are written beside '
        'the official ones, nothing else is changed or downloaded',
    )
    parser.add_argument('--workers', type=int, default=4, metavar='N', help='threads (%(default)s)')


def run(args: argparse.Namespace) -> int:
    """Convert the images; return the exit code."""
    if args.workers < 1:
        raise ValueError(f'--workers is {args.workers}; it must be at least 1')
    conversion = CONVERSIONS[args.what]
    sources = find_sources(conversion, args.data)
    made = convert_all(conversion, sources, args.workers)
    bar = tqdm(made, args.what, len(sources), unit='image', disable=None, file=sys.stderr)
    wrong = [line for line in bar if line]
    for line in wrong[:MOST_SHOWN]:
        say(f'left out: {line}')
    if len(wrong) > MOST_SHOWN:
        say(f'and {len(wrong) - MOST_SHOWN} more')
    say(f'{len(sources) - len(wrong)} of {len(sources)} label images made: *{conversion.target}')
    return DAMAGED if wrong else 0
