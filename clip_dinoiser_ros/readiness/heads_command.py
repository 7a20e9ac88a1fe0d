# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""`clip-dinoiser heads`: convert the heads' weights to safetensors."""

from __future__ import annotations

import argparse

from clip_dinoiser_ros.core.weights import convert_heads


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument(
        'source',
        help="safetensors file, the authors' last.pt, authors to download that, or a mirror's URL",
    )
    parser.add_argument('target', help='safetensors file to write')


def run(args: argparse.Namespace) -> int:
    """Convert the weights; return the exit code."""
    convert_heads(args.source, args.target)
    return 0
