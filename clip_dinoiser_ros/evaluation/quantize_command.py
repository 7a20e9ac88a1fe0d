# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""`clip-dinoiser quantize`: quantize the image tower to int8 on the user's own frames."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clip_dinoiser_ros import arguments
from clip_dinoiser_ros.core import Segmenter
from clip_dinoiser_ros.core.engines.quantized import RECORD, save_quantized
from clip_dinoiser_ros.training.image_sources import ImageSource
from clip_dinoiser_ros.training.source_arguments import add_source_arguments, open_source
from clip_dinoiser_ros.world.classes import CLASSES

if TYPE_CHECKING:
    from clip_dinoiser_ros.evaluation.quantization import Agreement

NEEDED = ('openvino', 'nncf')
PARTS = 3  # calibrate, find sensitive layers, judge
FRAMES = 36
REFUSED = 4  # exit code: the result does not agree with float32 well enough


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument(
        'output',
        type=Path,
        metavar='OUT',
        help='folder to write, for --quantized or the parameter quantized',
    )
    add_source_arguments(parser).add_argument(
        '--frames',
        type=int,
        default=FRAMES,
        metavar='N',
        help='number of frames: a third calibrates, a third finds sensitive layers, a third judges '
        '(%(default)s)',
    )
    parser.add_argument(
        '--prompts',
        nargs='+',
        metavar='TEXT',
        help='classes whose labels must agree; with --world: all of the world',
    )
    parser.add_argument(
        '--short-side', type=int, default=448, help='in pixels; 0: as they come (%(default)s)'
    )
    parser.add_argument('--force', action='store_true', help='replace the files in OUT')
    arguments.add_weights_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Quantize, judge, and write the result if it agrees; return the exit code."""
    _check(args)
    from clip_dinoiser_ros.evaluation import quantization  # imports packages that may be missing

    images = open_source(args, args.frames)
    total = len(images.names)
    if total < PARTS:
        raise ValueError(f'{total} frames found; at least {PARTS} are needed')
    segmenter = Segmenter.load(
        args.model,
        args.pretrained,
        args.heads,
        device='cpu',
        precision='fp32',
        short_side=args.short_side or None,
        pack=False,
        engine='torch',
    )
    prompts = list(CLASSES) if args.world else args.prompts
    vocabulary = segmenter.encode(prompts, None)
    labeller = quantization.Labeller(segmenter, vocabulary)
    visual = segmenter.pipeline.backbone.visual
    calibration, control, judged = (range(part, total, PARTS) for part in range(PARTS))
    model = quantization.quantize(
        labeller,
        visual,
        [images.read(index).image for index in calibration],
        [images.read(index).image for index in control],
    )
    found = quantization.measure(
        labeller,
        model,
        (quantization.ComparedImage(*_image_and_truth(images, index)) for index in judged),
        vocabulary.names,
    )
    print(_text(found))  # noqa: T201
    if found.same < quantization.LEAST_AGREEMENT:
        print(  # noqa: T201
            f'nothing written: at least {quantization.LEAST_AGREEMENT:.1%} of the labels must '
            'agree with fp32; more --frames may help'
        )
        return REFUSED
    report = {
        'agreement': found.as_dict(),
        'frames': {'source': images.about, 'calibration': len(calibration)},
        'prompts': list(prompts),
        'short_side': args.short_side,
    }
    save_quantized(args.output, model, visual, report)
    print(f'wrote {args.output}; use it with precision int8, quantized {args.output}')  # noqa: T201
    return 0


def _check(args: argparse.Namespace) -> None:
    """Check the arguments before anything is loaded."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ValueError(
            f'{" and ".join(missing)} missing: pip install {" ".join(missing)}, or the extra '
            '`quantize` of this package'
        )
    if not args.world and not args.prompts:
        raise ValueError('--prompts is missing: give the classes whose labels must agree')
    if args.world and args.prompts:
        raise ValueError('--world has its own prompts; leave out --prompts')
    if (
        args.output.exists()
        and not args.force
        and (not args.output.is_dir() or (args.output / RECORD).exists())
    ):
        raise ValueError(f'{args.output} exists; --force replaces it')


def _image_and_truth(images: ImageSource, index: int) -> tuple[Any, Any]:
    read = images.read(index)
    return read.image, None if read.truth is None else read.truth[..., 0]


def _text(found: Agreement) -> str:
    text = (
        f'int8 and fp32 agree on {found.same:.2%} of the pixels, on {found.least:.2%} in the worst '
        f'of {found.frames} frames that were used for nothing else'
    )
    if found.miou is not None:
        text += f'; mIoU {found.miou:.2%}, fp32 {found.miou_fp32:.2%}'
    return text
