# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The arguments of verbs that run on Ray, and what Ray reads when it is imported; without Ray."""

from __future__ import annotations

import argparse
import copy
import math
import os
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

CPUS = 2  # of an actor


class ClusterError(ValueError):
    """A cluster that cannot be used, or arguments for one; says why, and what is allowed."""


def add_cluster_arguments(group: Any, actors: str) -> None:
    """Add the arguments of a cluster.

    Args:
        group: A parser or a group of arguments.
        actors: How many actors there are by default.
    """
    group.add_argument(
        '--address',
        metavar='HOST:PORT',
        help='head of the Ray cluster that this machine is part of (a new one, of this machine)',
    )
    group.add_argument('--actors', type=int, metavar='N', help=f'processes with a model ({actors})')
    group.add_argument(
        '--cpus', type=int, default=CPUS, metavar='N', help='CPUs and threads of one (%(default)s)'
    )
    group.add_argument(
        '--gpus', type=float, metavar='G', help='GPUs of one, such as 0.5 (1 if there are any)'
    )
    group.add_argument('--dashboard', action='store_true', help="start Ray's, on 127.0.0.1")


def check_cluster_arguments(args: argparse.Namespace) -> None:
    """Check them; raises ClusterError."""
    check_least(args, actors=1, cpus=1)
    if args.gpus is not None and not (
        0 <= args.gpus <= 1 or (args.gpus > 1 and args.gpus.is_integer())
    ):
        raise ClusterError(f'--gpus is {args.gpus}; must be 0 to 1, or a whole number')


def check_least(args: argparse.Namespace, **least: float) -> None:
    """Check that arguments are finite, and not smaller than given; raises ClusterError."""
    for name, value in least.items():
        given = getattr(args, name)
        if given is not None and not value <= given < math.inf:
            raise ClusterError(f'--{name.replace("_", "-")} is {given}; must be at least {value}')


def with_absolute_paths(
    args: argparse.Namespace, files: Iterable[str], folders: Iterable[str]
) -> argparse.Namespace:
    """Return a copy for actors, which run in another folder.

    Args:
        args: Of the command.
        files: Arguments that may name a file; other values stay as they are.
        folders: Arguments that may name a folder.
    """
    args = copy.copy(args)
    for names, is_there in ((files, Path.is_file), (folders, Path.is_dir)):
        for name in names:
            value = getattr(args, name, None)
            if value and is_there(Path(value)):
                setattr(args, name, type(value)(Path(value).absolute()))
    return args


def set_up_ray(address: str | None) -> None:
    """Set what Ray reads when it is imported.

    No usage statistics leave the machine. A cluster of its own is bound to loopback; without this
    it would listen on all addresses, whatever it is told.

    Args:
        address: Of the cluster to join; None: one is started.

    Raises:
        ClusterError: Ray is not installed.
    """
    if find_spec('ray') is None:
        raise ClusterError('this needs Ray: pip install ray, or the extra fleet of this package')
    os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')
    if address is None:
        os.environ['RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER'] = '0'
