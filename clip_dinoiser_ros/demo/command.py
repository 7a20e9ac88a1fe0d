# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""`clip-dinoiser demo`: run the demo, record a generated drive, or train the demo model again."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verbs run, record, picture and train."""
    actions = parser.add_subparsers(dest='action', metavar='ACTION', required=True)
    show = actions.add_parser('run', help='play a drive to a real node; needs ROS')
    show.add_argument(
        '--output', type=Path, default=Path('demo_out'), help='output folder (%(default)s)'
    )
    record = actions.add_parser('record', help='write a generated drive as a recording')
    record.add_argument('output', type=Path, metavar='OUT', help='.mcap or .db3 file, or a folder')
    record.add_argument('--seed', type=int, help='seed of the place (that of `demo run`)')
    record.add_argument('--force', action='store_true', help='replace existing files')
    picture = actions.add_parser('picture', help='draw the outputs of one frame of the drive')
    picture.add_argument('output', type=Path, metavar='OUT', help='PNG file')
    for action in (show, record):
        action.add_argument('--seconds', type=float, default=20.0, help='%(default)s')
        action.add_argument('--rate', type=float, default=10.0, help='frames/s (%(default)s)')
    train = actions.add_parser('train', help='make the small model again, from nothing')
    train.add_argument('output', type=Path, metavar='OUT', help='folder for the model')
    train.add_argument('--seed', type=int, default=0, help='%(default)s')
    train.add_argument('--device', default='auto', help='auto, cpu, cuda, cuda:N (%(default)s)')


def run(args: argparse.Namespace) -> int:
    """Run the chosen verb; return the exit code."""
    if args.action == 'train':
        return _train(args)
    if args.action == 'picture':
        return _picture(args.output)
    if not (0 < args.seconds <= 3600 and 0 < args.rate <= 100):
        raise ValueError(
            f'--seconds is {args.seconds}, --rate is {args.rate}; allowed: up to 3600 and up to 100'
        )
    if args.action == 'record':
        return _record(args)
    from clip_dinoiser_ros.demo.run import run_demo

    print(_table(run_demo(args.output, args.seconds, args.rate)))  # noqa: T201
    print(f'see {args.output / "overview.png"} and {args.output / "drive.mp4"}')  # noqa: T201
    return 0


def _train(args: argparse.Namespace) -> int:
    """Train both image towers, their common text tower, and the heads of each."""
    from clip_dinoiser_ros.core.segmenter import find_device
    from clip_dinoiser_ros.evaluation.captions_tower import train as train_captions
    from clip_dinoiser_ros.training.demo_model import train

    device = str(find_device(args.device))
    train.train(args.output, args.seed, train.STAGES, device=device)
    train_captions.train(
        args.output,
        args.seed,
        train_captions.CAPTION_STAGES,
        train_captions.HEADS,
        device=device,
    )
    return 0


def _record(args: argparse.Namespace) -> int:
    from clip_dinoiser_ros.demo.record import write_drive
    from clip_dinoiser_ros.world.drives import demo_drive
    from clip_dinoiser_ros.world.scenes import drive

    if args.seed is None:
        scenes = demo_drive(args.seconds, args.rate)
    else:
        scenes = drive(args.seed, args.seconds, args.rate)
    count = write_drive(args.output, scenes, args.force)
    print(f'{args.output}: {count} frames')  # noqa: T201
    return 0


def _picture(path: Path) -> int:
    from itertools import islice

    import cv2

    from clip_dinoiser_ros import Segmenter
    from clip_dinoiser_ros.demo.gallery import FRAME, draw_gallery
    from clip_dinoiser_ros.world.drives import PROMPTS_AFTER, demo_drive

    scene = next(islice(demo_drive(), FRAME, None))
    picture = draw_gallery(scene, PROMPTS_AFTER, Segmenter.load('demo'))
    if not cv2.imwrite(str(path), picture[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9]):
        raise OSError(f'cannot write {path}')
    return 0


def _table(report: dict[str, Any]) -> str:
    """Return the report as a short table."""
    latency = report['latency_ms']
    rows = [
        ('frames in, segmented', f'{report["frames_in"]}, {report["frames_segmented"]}'),
        ('frames per second', f'{report["fps"]}'),
        ('message to labels', f'{latency["p50"]} ms median, {latency["p95"]} ms 95 %'),
        ('mIoU, first prompts', f'{report["miou"]:.3f}'),
        ('mIoU, new prompts', f'{report["miou_after_prompt_change"]:.3f}'),
        ('on', f'{report["device"]}, {report["precision"]}, ROS 2 {report["ros_distro"]}'),
    ]
    return '\n'.join(f'  {name:<22}{value}' for name, value in rows)
