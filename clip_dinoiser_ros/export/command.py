# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""`clip-dinoiser export`: an ONNX file of the image path, and the embeddings of the prompts."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from clip_dinoiser_ros import arguments
from clip_dinoiser_ros.bag.output_files import partial_file, refuse_link
from clip_dinoiser_ros.core import Segmenter, Vocabulary
from clip_dinoiser_ros.core.segmenter import MAX_PATCHES
from clip_dinoiser_ros.export.onnx_file import OPSET, ImagePath, check_onnx, write_onnx

NEEDED = ('onnx', 'onnxscript')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument(
        'output',
        type=Path,
        metavar='OUT.onnx',
        help='file to write; names and embeddings of the prompts are written to OUT.npz',
    )
    parser.add_argument(
        '--size',
        type=arguments.image_size,
        default=(448, 448),
        metavar='WxH',
        help='size of its input images, multiples of the patch size (448x448)',
    )
    parser.add_argument('--force', action='store_true', help='replace the files')
    arguments.add_gamma_argument(parser)
    arguments.add_vocabulary_arguments(parser)
    arguments.add_weights_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Write both files and check the ONNX file; return the exit code."""
    words = args.output.with_suffix('.npz')
    _check(args.output, words, args.force)
    weights = (args.model, args.pretrained, args.heads)
    segmenter = Segmenter.load(
        *weights, device='cpu', precision='fp32', short_side=None, pack=False, engine='torch'
    )
    _check_size(args.size, segmenter.patch_size)
    vocabulary = segmenter.encode(args.prompts, args.background or None, args.templates)
    parts = partial_file(args.output), partial_file(words)
    try:
        embeddings = vocabulary.embeddings.clone()  # inference tensors, which export refuses
        model = ImagePath(segmenter, arguments.gamma(args))
        expected = write_onnx(parts[0], model, args.size, embeddings)
        checked = 'not checked: onnxruntime is not installed'
        if find_spec('onnxruntime') is not None:
            differences = check_onnx(parts[0], args.size, embeddings, expected)
            checked = (
                'ONNX Runtime agrees with torch: probabilities differ by {:.1g} at most, '
                'objectness by {:.1g}'
            ).format(*differences)
        _write_words(parts[1], vocabulary)
        parts[1].replace(words)
        parts[0].replace(args.output)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)
    height, width = args.size
    megabytes = args.output.stat().st_size / 1e6
    print(f'{args.output}: {megabytes:.0f} MB, opset {OPSET}, images of {width}x{height}')  # noqa: T201
    print(f'{words}: {len(vocabulary)} classes')  # noqa: T201
    print(checked)  # noqa: T201
    return 0


def _check(output: Path, words: Path, force: bool) -> None:
    """Check the arguments before the model is loaded."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ValueError(f'needs {" and ".join(missing)}: pip install {" ".join(NEEDED)}')
    if output.suffix != '.onnx':
        raise ValueError(f'{output} must end in .onnx')
    if not output.parent.is_dir():
        raise ValueError(f'{output.parent} is not a folder')
    for path in (output, words):
        refuse_link(path)
        if path.is_dir():
            raise ValueError(f'{path} is a folder')
        if path.exists() and not force:
            raise ValueError(f'{path} exists; --force replaces it')
    partial_file(output).touch()  # raises if the file cannot be written
    partial_file(output)


def _check_size(size: tuple[int, int], patch: int) -> None:
    height, width = size
    patches = height * width // patch**2
    if height % patch or width % patch or not 0 < patches <= MAX_PATCHES:
        raise ValueError(
            f'--size is {width}x{height}; both must be multiples of {patch}, with at most '
            f'{MAX_PATCHES} patches of {patch}x{patch} in total'
        )


def _write_words(path: Path, vocabulary: Vocabulary) -> None:
    background = -1 if vocabulary.background is None else vocabulary.background
    with path.open('wb') as file:
        np.savez(
            file,
            names=np.array(vocabulary.names),
            embeddings=vocabulary.embeddings.numpy(),
            background=np.int64(background),
        )
