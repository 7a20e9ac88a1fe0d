# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""`clip-dinoiser download`: download and check all weights, for robots without a network."""

from __future__ import annotations

import argparse
import shlex
import shutil
from pathlib import Path

from clip_dinoiser_ros.core.sources import AUTHORS, MODEL, PRETRAINED, authors_heads, checked_clip
from clip_dinoiser_ros.core.transfer import digest_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument(
        'folder',
        metavar='DIR',
        nargs='?',
        type=Path,
        help='also copy the files to DIR, for another machine; default: only into the caches of '
        'this one, where the node looks for them',
    )
    parser.add_argument(
        '--heads', default=AUTHORS, metavar='URL', help="a mirror of the authors' heads"
    )


def run(args: argparse.Namespace) -> int:
    """Download CLIP and the heads, load them, print how to use them; return the exit code."""
    from clip_dinoiser_ros.core import Segmenter

    clip, heads = checked_clip(MODEL, PRETRAINED), authors_heads(args.heads)
    if args.folder is not None:
        clip, heads = (_copy(path, args.folder.absolute()) for path in (clip, heads))
    Segmenter.load(MODEL, str(clip), heads, 'cpu', 'fp32', pack=False, engine='torch')
    for name, path in (('CLIP', clip), ('heads', heads)):
        size = path.stat().st_size
        print(f'{name}: {path}\n  {size / 1e6:.0f} MB, SHA-256 {digest_of(path, 64)}')  # noqa: T201
    print(_use(clip, heads) if args.folder else _use_caches())  # noqa: T201
    return 0


def _copy(source: Path, folder: Path) -> Path:
    """Copy a file into a folder unless it is already there; return the copy."""
    target = folder / source.name
    if target.is_file() and digest_of(target, 64) == digest_of(source, 64):
        return target
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f'{source.name}.part'
    try:
        shutil.copyfile(source, part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return target


def _use(clip: Path, heads: Path) -> str:
    """Return how to start a node with these files."""
    arguments = (f'pretrained:={clip}', f'heads:={heads}')
    return (
        'Both load. On a machine that has these files at this place, no network is needed:\n\n'
        f'  ros2 launch clip_dinoiser_ros segment.launch.py {shlex.join(arguments)}\n\n'
        'or in a parameter file:\n\n'
        f"    pretrained: '{clip}'\n"
        f"    heads: '{heads}'"
    )


def _use_caches() -> str:
    return (
        'Both load. The node finds them there by itself, without a network; HF_HUB_OFFLINE=1 keeps '
        'it from asking for one.'
    )
