# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""`clip-dinoiser export-labels`: labels for annotators and for training, out of recordings."""

from __future__ import annotations

import argparse
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from clip_dinoiser_ros.arguments import DAMAGED, say
from clip_dinoiser_ros.bag import camera_options
from clip_dinoiser_ros.bag.label_formats import (
    FORMATS,
    LabelFormat,
    Labels,
    open_format,
    pack,
    safe_name,
    write_image,
)
from clip_dinoiser_ros.bag.labelled import LabelSource, open_labels
from clip_dinoiser_ros.bag.output_files import refuse_link, refuse_overlap
from clip_dinoiser_ros.bag.playback import Shown
from clip_dinoiser_ros.bag.recording import BagError

_SPLITS = ('train', 'val', 'test')
_SMALL = (64, 48)  # width and height at which images are compared


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument(
        'sources',
        nargs='+',
        type=Path,
        metavar='SOURCE',
        help='recording with labels, of clip-dinoiser bag or of the node, or folder of '
        'clip-dinoiser image; several make up the split train',
    )
    parser.add_argument('output', type=Path, metavar='OUT', help='new folder; cvat: a new .zip')
    parser.add_argument('--format', required=True, choices=list(FORMATS))
    for split in _SPLITS[1:]:
        parser.add_argument(
            f'--{split}',
            nargs='+',
            type=Path,
            default=[],
            metavar='SOURCE',
            help=f'sources of the split {split}',
        )
    parser.add_argument(
        '--images',
        nargs='+',
        type=Path,
        default=[],
        metavar='IN',
        help='recording or folder that was segmented, if the images are not in SOURCE: as many as '
        'there are sources, in their order (train, val, test)',
    )
    parser.add_argument(
        '--topic', action='append', default=[], metavar='T', help='image topic, repeatable'
    )
    parser.add_argument(
        '--name',
        action='append',
        default=[],
        metavar='TOPIC=NAME',
        help='name of the camera of an image topic, as in clip-dinoiser bag',
    )
    group = parser.add_argument_group('which images')
    group.add_argument(
        '--every',
        type=int,
        default=1,
        metavar='N',
        help='every N-th labelled image of a camera (%(default)s)',
    )
    group.add_argument(
        '--min-change',
        type=float,
        default=0.0,
        metavar='C',
        help='leave out images that differ less from the last one taken: mean difference, 0 to 1 '
        '(%(default)s: none)',
    )
    group.add_argument(
        '--min-confidence',
        type=float,
        default=0.0,
        help='pixels whose class is less probable are unlabelled, 0 to 1 (%(default)s)',
    )
    group.add_argument(
        '--image-format',
        default='png',
        choices=('png', 'jpg', 'none'),
        help='of the images beside the labels; none: they are only referred to (%(default)s)',
    )


def run(args: argparse.Namespace) -> int:
    """Write the labels of all sources in one format."""
    _check(args)
    sources = _open(args, camera_options.camera_names(args))
    classes = list(
        dict.fromkeys(
            name for _, _, source in sources for known in source.classes for name in known.names
        )
    )
    folder = args.output.with_name(f'{args.output.name}.partial')
    packed = args.output.with_name(f'{args.output.name}.packed')
    for path in (folder, packed):
        refuse_link(path)
        if path.exists():
            raise BagError(f'{path} is there, of an interrupted run: remove it')
    made = open_format(args.format, folder, classes, args.output.name)
    folder.mkdir(parents=True)
    try:
        counts = [
            _write(args, made, folder, classes, split, name, source)
            for split, name, source in sources
        ]
        if not sum(counts):
            lines = [line for _, _, source in sources for line in source.damage]
            raise BagError('\n'.join(['no image has labels; nothing is written', *lines]))
        made.finish()
        if args.format == 'cvat':
            pack(folder, packed)
            packed.replace(args.output)
        else:
            folder.rename(args.output)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        packed.unlink(missing_ok=True)
    return _sum_up(args, sources, counts)


def _check(args: argparse.Namespace) -> None:
    """Refuse arguments that cannot be used."""
    if args.every < 1:
        raise BagError(f'--every is {args.every}; must be at least 1')
    for option in ('min_change', 'min_confidence'):
        value = getattr(args, option)
        if not 0.0 <= value <= 1.0:
            raise BagError(f'--{option.replace("_", "-")} is {value}; must be between 0 and 1')
    refuse_link(args.output)
    if args.output.exists():
        raise BagError(f'{args.output} exists; name a new one')
    if args.format == 'cvat' and args.output.suffix != '.zip':
        raise BagError(f'{args.output}: cvat is one file; give a name that ends in .zip')
    sources = [*args.sources, *args.val, *args.test]
    if len(args.images) not in (0, len(sources)):
        raise BagError(
            f'--images names {len(args.images)} for {len(sources)} sources; give as many'
        )
    for path in (*sources, *args.images):
        refuse_overlap(args.output, path)
    twice = [str(p) for p, n in Counter(p.resolve() for p in sources).items() if n > 1]
    if twice:
        raise BagError(f'{twice[0]} is named twice: a recording belongs to one split')


def _open(args: argparse.Namespace, names: dict[str, str]) -> list[tuple[str, str, LabelSource]]:
    """Open all sources; return split, name (unique) and source."""
    named = [(split, path) for split in _SPLITS for path in _of_split(args, split)]
    images = args.images or [None] * len(named)
    opened, met = [], Counter[str]()
    for (split, path), where in zip(named, images, strict=True):
        source = open_labels(path, where, args.topic, names)
        name = safe_name(path.resolve().name.removesuffix('.zstd').removesuffix(path.suffix))
        met[name] += 1
        opened.append((split, name if met[name] == 1 else f'{name}_{met[name]}', source))
    return opened


def _of_split(args: argparse.Namespace, split: str) -> list[Path]:
    paths: list[Path] = args.sources if split == 'train' else getattr(args, split)
    return paths


def _write(
    args: argparse.Namespace,
    made: LabelFormat,
    folder: Path,
    classes: Sequence[str],
    split: str,
    name: str,
    source: LabelSource,
) -> int:
    """Write the images of a source; return their number."""
    suffix = 'jpg' if args.image_format == 'jpg' else 'png'
    count = 0
    for image, shown in _chosen(source, args.every, args.min_change):
        labels = _labels(shown, classes, args.min_confidence, source)
        file = f'{name}_{safe_name(image)}.{suffix}'
        made.add(split, file, labels)
        if args.image_format != 'none':
            write_image(folder / made.images.format(split=split) / file, shown.image)
        count += 1
    return count


def _chosen(source: LabelSource, every: int, min_change: float) -> Iterator[tuple[str, Shown]]:
    """Iterate over every N-th image of each camera that differs from the last one taken."""
    met: Counter[str] = Counter()
    last: dict[str, npt.NDArray[np.float32]] = {}
    for name, shown in source.images():
        camera = shown.camera.name
        met[camera] += 1
        if (met[camera] - 1) % every:
            continue
        if min_change > 0:
            small = cv2.resize(shown.image, _SMALL, interpolation=cv2.INTER_AREA)
            small = small.astype(np.float32) / 255
            if camera in last and float(np.abs(small - last[camera]).mean()) < min_change:
                continue
            last[camera] = small
        yield name, shown


def _labels(
    shown: Shown, classes: Sequence[str], min_confidence: float, source: LabelSource
) -> Labels:
    """Return the labels of an image as indices into all classes."""
    known, labelled = shown.classes, shown.labelled
    if min_confidence > 0:
        if shown.confidence is None:
            raise BagError(f'--min-confidence: {source.path} has no confidence')
        # the confidence of the background is no probability of a class
        kept = shown.confidence >= min_confidence
        if known.background:
            kept |= shown.labels == known.names.index(known.background)
        labelled = labelled & kept
    table = np.array([classes.index(name) for name in known.names], np.uint16)
    return Labels(table[shown.labels], labelled, shown.confidence)


def _sum_up(
    args: argparse.Namespace, sources: Sequence[tuple[str, str, LabelSource]], counts: Sequence[int]
) -> int:
    """Print a summary; return the exit code."""
    damage = []
    for (split, _, source), count in zip(sources, counts, strict=True):
        say(f'{split}: {count} images of {source.path}')
        damage += [f'{source.path}: {line}' for line in dict.fromkeys(source.damage)]
    for line in damage:
        say(f'  {line}')
    say(f'wrote {args.output}')
    return DAMAGED if damage else 0
