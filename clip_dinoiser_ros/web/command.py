# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""`clip-dinoiser web`: a page to choose words on, with images or a recording, without ROS."""

from __future__ import annotations

import argparse
from pathlib import Path

from clip_dinoiser_ros import arguments
from clip_dinoiser_ros.arguments import say
from clip_dinoiser_ros.frames.settings import DEFAULT_PROMPTS, Settings
from clip_dinoiser_ros.web import server
from clip_dinoiser_ros.web.desk import Desk
from clip_dinoiser_ros.web.pictures import ImageFolder, NoPictures, Pictures, PlayedBag


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument('--images', type=Path, metavar='DIR', help='folder of images to look at')
    shown.add_argument('--bag', type=Path, metavar='BAG', help='recording to look at')
    group = arguments.add_prompts_argument(parser, DEFAULT_PROMPTS)
    group.add_argument(
        '--background',
        default='',
        metavar='NAME',
        help="class given to pixels that do not look like an object; '': filter off (%(default)r)",
    )
    arguments.add_templates_argument(group)
    arguments.add_model_arguments(parser)
    arguments.add_threshold_arguments(parser)
    server.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Serve the page until Ctrl+C; return the exit code."""
    pictures: Pictures = NoPictures()
    if args.images is not None:
        pictures = ImageFolder(args.images)
    elif args.bag is not None:
        pictures = PlayedBag(args.bag)
    say('loading the model ...')
    segmenter = arguments.load_segmenter(args)
    server.serve(Desk(segmenter, pictures, _settings(args)), args)
    return 0


def _settings(args: argparse.Namespace) -> Settings:
    """Return the settings as the node's parameters of the same names."""
    return Settings(
        prompts=tuple(args.prompts),
        negative_prompts=(),
        background=args.background,
        templates=args.templates,
        gamma=arguments.gamma(args),
        delta=args.delta,
        min_confidence=0.0,
        confidence_encoding='32FC1',
        max_rate=0.0,
        output_scale=1.0,
        cloud='compact',
        sync_tolerance_ms=0.0,
        temporal_smoothing=0.0,
        edges=args.edges,
        stale_after=0.0,
    )
