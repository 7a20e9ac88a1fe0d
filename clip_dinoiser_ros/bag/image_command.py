# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""`clip-dinoiser image`: image files in; label PNG, confidence PNG and overlay of each out."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from clip_dinoiser_ros import arguments
from clip_dinoiser_ros.arguments import DAMAGED
from clip_dinoiser_ros.bag.output_files import refuse_link, replace_file
from clip_dinoiser_ros.core import Segmentation, Vocabulary
from clip_dinoiser_ros.frames import image_files
from clip_dinoiser_ros.frames.class_ids import published_classes, unlabelled_id
from clip_dinoiser_ros.frames.images import ImageError
from clip_dinoiser_ros.frames.outputs import frame_images
from clip_dinoiser_ros.frames.overlay import draw_overlay

_MOST_NAMED = 20  # number of files that are named
_OUTPUTS = ('labels', 'confidence', 'overlay')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument(
        'input',
        nargs='+',
        type=Path,
        metavar='IMG',
        help='PNG, JPEG, BMP, TIFF or WebP, or a folder of them',
    )
    parser.add_argument(
        '--output',
        type=Path,
        required=True,
        metavar='DIR',
        help='folder for NAME_labels.png (pixel = class id), NAME_confidence.png (255 = certain), '
        'NAME_overlay.png, and classes.json with the ids',
    )
    parser.add_argument('--force', action='store_true', help='replace existing files')
    arguments.add_prompt_arguments(parser)
    arguments.add_model_arguments(parser)
    arguments.add_threshold_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Segment files and print their classes."""
    targets = _targets(_files(args.input), args.output)
    classes = args.output / image_files.CLASSES_FILE
    paths = [classes, *(_path(t, o) for t in targets for o in _OUTPUTS)]
    for path in paths:
        refuse_link(path)
    there = [path for path in paths if path.exists()]
    if there and not args.force:
        raise ValueError(f'{there[0]} exists; --force replaces it (and {len(there) - 1} others)')
    inputs = {file.resolve() for file in targets.values()}
    for path in there:
        if path.resolve() in inputs:
            raise ValueError(f'{path} is an input image; choose another folder for --output')
    segmenter = arguments.load_segmenter(args)
    vocabulary, table = arguments.encode_prompts(segmenter, args)
    args.output.mkdir(parents=True, exist_ok=True)
    _write_classes(classes, vocabulary, table)
    damaged = 0
    for target, file in targets.items():
        try:
            image = image_files.decode(file.read_bytes())
            result = segmenter.segment(
                image, vocabulary, arguments.gamma(args), args.delta, args.edges
            )
        except (ImageError, ValueError) as error:
            print(f'{file}: passed over: {error}', file=sys.stderr)  # noqa: T201
            damaged += 1
            continue
        _print_table(file, _write_files(image, result, table, args.min_confidence, target))
    if damaged == len(targets):
        raise ValueError('no image could be segmented')
    return DAMAGED if damaged else 0


def _files(inputs: Sequence[Path]) -> list[Path]:
    """List the images, those in folders sorted by name.

    Raises:
        ValueError: A path without images.
    """
    files: list[Path] = []
    for path in inputs:
        if path.is_dir():
            files += _files_of(path)
        elif path.is_file():
            files.append(path)
        else:
            raise FileNotFoundError(f'{path} does not exist; give an image file or a folder')
    return list(dict.fromkeys(files))


def _files_of(folder: Path) -> list[Path]:
    """List the images of a folder; print which files are left out."""
    there = sorted(path for path in folder.iterdir() if path.is_file())
    found = [path for path in there if path.suffix.lower() in image_files.SUFFIXES]
    others = [path.name for path in there if path.suffix.lower() not in image_files.SUFFIXES]
    suffixes = ', '.join(image_files.SUFFIXES)
    if others:
        named = ', '.join(others[:_MOST_NAMED])
        more = f' and {len(others) - _MOST_NAMED} more' if len(others) > _MOST_NAMED else ''
        print(  # noqa: T201
            f'{folder}: left out: {named}{more}; read are {suffixes}: convert other images',
            file=sys.stderr,
        )
    if not found:
        raise ValueError(f'{folder} contains no images ({suffixes})')
    return found


def _targets(files: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """Name the outputs of every file: by its stem, or by its whole name if stems are equal."""
    stems = Counter(file.stem for file in files)
    names = [file.stem if stems[file.stem] == 1 else file.name for file in files]
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        both = ' and '.join(str(f) for f, name in zip(files, names, strict=True) if name == twice)
        raise ValueError(f'{both} would be written under the same name; segment them separately')
    return {folder / name: file for name, file in zip(names, files, strict=True)}


def _path(target: Path, output: str) -> Path:
    return target.with_name(f'{target.name}_{output}.png')


def _write_files(
    image: npt.NDArray[np.uint8],
    result: Segmentation,
    table: npt.NDArray[np.unsignedinteger],
    min_confidence: float,
    target: Path,
) -> list[tuple[str, float]]:
    """Write the three files of an image; return names and shares, the largest first."""
    names, ids = result.vocabulary.names, [int(class_id) for class_id in table]
    frame = frame_images(result, table, min_confidence)
    background = result.vocabulary.background
    overlay = draw_overlay(
        image, result.labels, names, ids, frame.labelled, background, result.confidence
    )
    _write(_path(target, 'labels'), frame.labels)
    _write(_path(target, 'confidence'), frame.confidence)
    _write(_path(target, 'overlay'), cv2.cvtColor(overlay, cv2.COLOR_RGB2BGR))
    labels = result.labels if frame.labelled is None else result.labels[frame.labelled]
    shares = np.bincount(labels.ravel(), minlength=len(names)) / result.labels.size
    order = np.argsort(-shares, kind='stable')
    found = [(names[index], float(shares[index])) for index in order if shares[index] > 0]
    return [*found, ('(unlabelled)', 1 - labels.size / result.labels.size)]


def _write(path: Path, pixels: npt.NDArray[np.generic]) -> None:
    _, data = cv2.imencode('.png', pixels)
    replace_file(path, data.tobytes())


def _write_classes(
    path: Path, vocabulary: Vocabulary, table: npt.NDArray[np.unsignedinteger]
) -> None:
    count = published_classes(table)
    classes = [
        {'id': int(class_id), 'name': prompt.name, 'prompt': prompt.text}
        for class_id, prompt in zip(table[:count], vocabulary.prompts[:count], strict=True)
    ]
    content = {'classes': classes, 'unlabelled_id': unlabelled_id(table)}
    text = json.dumps(content, indent=2, ensure_ascii=False) + '\n'
    replace_file(path, text.encode())


def _print_table(file: Path, shares: Sequence[tuple[str, float]]) -> None:
    print(file)  # noqa: T201
    for name, share in shares:
        if share > 0:
            print(f'  {share:6.1%}  {name}')  # noqa: T201
