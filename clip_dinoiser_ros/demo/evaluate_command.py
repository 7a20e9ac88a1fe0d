"""`clip-dinoiser evaluate demo`: the rows of the paper's Table 2, for the generated world."""

from __future__ import annotations

import argparse

from clip_dinoiser_ros.demo.evaluate import TEST_SEED, Bench, measure, table
from clip_dinoiser_ros.demo.files import GAMMA


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument('what', choices=['demo'], help='the small model on generated scenes')
    parser.add_argument('--scenes', type=int, default=300, help='of each kind (%(default)s)')
    parser.add_argument(
        '--start',
        type=int,
        nargs='+',
        default=[TEST_SEED],
        metavar='SEED',
        help='first seed of the scenes; several make a table each (%(default)s)',
    )
    parser.add_argument(
        '--gamma', type=float, default=GAMMA, help='of the guided pooling (%(default)s)'
    )


def run(args: argparse.Namespace) -> int:
    """Measure and print a table of mean IoU for each seed; return the exit code."""
    if args.scenes < 1:
        raise ValueError(f'--scenes {args.scenes}: at least 1')
    bench = Bench()
    for start in args.start:
        rows = measure(bench, args.scenes, args.gamma, start)
        print(f'{args.scenes} scenes from seed {start}, gamma {args.gamma}:\n\n{table(rows)}\n')  # noqa: T201
    return 0
