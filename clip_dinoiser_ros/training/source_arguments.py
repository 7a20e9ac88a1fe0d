# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Arguments that select the source of images, and opening that source."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clip_dinoiser_ros.training.image_sources import FolderImages, ImageSource

if TYPE_CHECKING:
    from clip_dinoiser_ros.training.bag_images import BagImages


def add_source_arguments(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add --folder, --bag and --world, one of which is required, and --topic; return the group."""
    group = parser.add_argument_group('images (one of these)')
    source = group.add_mutually_exclusive_group(required=True)
    source.add_argument('--folder', metavar='DIR', help='.jpg and .png files, also in subfolders')
    source.add_argument('--bag', help='rosbag2: its folder, or one .mcap or .db3 file')
    source.add_argument('--world', action='store_true', help='generated scenes, with their truth')
    group.add_argument(
        '--topic',
        action='append',
        default=[],
        help='image topic of the bag; repeatable (every topic with colour images)',
    )
    return group


def open_source(args: argparse.Namespace, count: int, seed: int = 0) -> ImageSource:
    """Open the source that the arguments name.

    Args:
        args: Parsed arguments of `add_source_arguments`.
        count: Maximum number of images.
        seed: Seed of the choice of images or scenes.

    Raises:
        SourceError: The source cannot be used.
    """
    if args.folder:
        return FolderImages(args.folder, count, seed)
    if args.bag:
        return open_bag(args.bag, args.topic, count)
    from clip_dinoiser_ros.training.world_images import WorldImages

    return WorldImages(count, seed)


def open_bag(bag: str | Path, topics: Sequence[str], count: int) -> BagImages:
    """Open a recording; print what is left out or damaged to stderr.

    Args:
        bag: Folder or file.
        topics: Image topics; none: every topic with colour images.
        count: Maximum number of images.

    Raises:
        SourceError: The recording cannot be used.
    """
    from clip_dinoiser_ros.training.bag_images import BagImages

    images = BagImages(bag, topics, count)
    for line in images.about['left_out']:
        print(f'clip-dinoiser: {line}', file=sys.stderr)  # noqa: T201
    for line in images.about['damage']:
        print(f'clip-dinoiser: {line}; continuing with what is readable', file=sys.stderr)  # noqa: T201
    return images
