# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""`clip-dinoiser adapt`: templates and shorter features from a robot's own recording."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from clip_dinoiser_ros import arguments
from clip_dinoiser_ros.arguments import DAMAGED
from clip_dinoiser_ros.bag.output_files import partial_file, refuse_link
from clip_dinoiser_ros.core.feature_space import save_components
from clip_dinoiser_ros.core.templates import MOST_TEMPLATES, SUFFIX, common_templates
from clip_dinoiser_ros.core.vocabulary import parse_prompts
from clip_dinoiser_ros.training.feature_pca import learn_components, measure_agreement
from clip_dinoiser_ros.training.source_arguments import open_bag
from clip_dinoiser_ros.training.template_choice import (
    KEPT,
    as_templates,
    measure_entropies,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from clip_dinoiser_ros.core import Segmenter
    from clip_dinoiser_ros.training.bag_images import BagImages

PCA_SUFFIX = '.safetensors'
DIMENSIONS = (64, 128, 256, 512)  # whose agreement is measured
HELD_OUT = 4  # one of so many images is not learned on


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument('input', type=Path, metavar='BAG', help='bag folder, .mcap or .db3 file')
    parser.add_argument(
        '--output',
        type=Path,
        metavar='FILE',
        help='choose templates; file for the parameter `templates` and for --templates; must end '
        f'in {SUFFIX}',
    )
    parser.add_argument(
        '--pca',
        type=Path,
        metavar='FILE',
        help='learn shorter features; file for the parameter `feature_pca` and for --feature-pca; '
        f'must end in {PCA_SUFFIX}',
    )
    parser.add_argument('--force', action='store_true', help='replace existing files')
    parser.add_argument(
        '--topic',
        nargs='+',
        default=[],
        metavar='TOPIC',
        help='image topic; repeatable (all topics with colour images)',
    )
    parser.add_argument(
        '--images',
        type=int,
        default=100,
        metavar='N',
        help='number of images, spread evenly over time (%(default)s)',
    )
    parser.add_argument(
        '--keep',
        type=int,
        default=KEPT,
        metavar='N',
        help='number of templates for each class (%(default)s)',
    )
    arguments.add_prompts_argument(parser)
    arguments.add_model_arguments(parser)
    parser.add_argument('--gamma', type=float, help='threshold of affinities (that of the model)')


def run(args: argparse.Namespace) -> int:
    """Write what was asked for; return the exit code."""
    _check(args)
    source = open_bag(args.input, args.topic, args.images)
    if args.pca is not None and len(source.names) < 2:
        raise ValueError('--pca needs at least 2 images: one to learn on and one to measure')
    segmenter = arguments.load_segmenter(args)
    if args.output is not None:
        _write_templates(args, source, segmenter)
    if args.pca is not None:
        _write_components(args, source, segmenter)
    return DAMAGED if source.about['damage'] or source.about['unreadable'] else 0


def _images(source: BagImages, doing: str, indices: range) -> Iterator[npt.NDArray[np.uint8]]:
    """Read images, with a progress bar."""
    for index in tqdm(indices, doing, unit='image', disable=None):
        yield source.read(index).image


def _write_templates(args: argparse.Namespace, source: BagImages, segmenter: Segmenter) -> None:
    templates = common_templates('imagenet')
    entropies = measure_entropies(
        segmenter,
        _images(source, 'adapt', range(len(source.names))),
        args.prompts,
        templates,
        arguments.gamma(args),
    )
    chosen = entropies.choose(args.keep)
    content = {
        'templates': as_templates(args.prompts, templates, chosen),
        'about': _about(args, source),
    }
    part = partial_file(args.output)
    part.write_text(json.dumps(content, indent=2, ensure_ascii=False) + '\n', encoding='utf-8')
    part.replace(args.output)
    for prompt, indices in zip(parse_prompts(args.prompts), chosen, strict=True):
        shown = '; '.join(templates[index] for index in indices)
        print(f'{prompt.name}: {shown or "not seen, all templates"}')  # noqa: T201
    print(f'wrote {args.output}')  # noqa: T201


def _write_components(args: argparse.Namespace, source: BagImages, segmenter: Segmenter) -> None:
    """Learn on the first images; measure on the last, which a robot sees somewhere else."""
    gamma, count = arguments.gamma(args), len(source.names)
    learned = count - max(1, count // HELD_OUT)
    components = learn_components(segmenter, _images(source, 'learn', range(learned)), gamma)
    width = len(components)
    dimensions = [d for d in DIMENSIONS if d < width] + [width]
    agreement = measure_agreement(
        segmenter,
        _images(source, 'measure', range(learned, count)),
        segmenter.encode(args.prompts),
        components,
        dimensions,
        gamma,
    )
    shares = dict(zip(map(str, dimensions), agreement, strict=True))
    about = {**_about(args, source), 'learned': learned, 'measured': count - learned}
    part = partial_file(args.pca)
    save_components(part, components, segmenter.probe(), {**about, 'agreement': shares})
    part.replace(args.pca)
    print(  # noqa: T201
        f'learned on the first {learned} images; pixels of the last {count - learned} with the '
        f'label that {width} numbers give:'
    )
    for dimension, share in shares.items():
        print(f'  feature_dim {dimension}: {share:.2%}')  # noqa: T201
    print(f'wrote {args.pca}')  # noqa: T201


def _about(args: argparse.Namespace, source: BagImages) -> dict[str, Any]:
    return {
        'prompts': list(args.prompts),
        'model': args.model,
        'pretrained': args.pretrained,
        'images': source.about,
    }


def _check(args: argparse.Namespace) -> None:
    """Check the arguments before anything is read."""
    parse_prompts(args.prompts)
    if args.output is None and args.pca is None:
        raise ValueError('nothing to do; give --output for templates, --pca for features, or both')
    if len(args.prompts) < 2:
        raise ValueError(
            '--prompts has only one class, so nothing can be compared; give all classes'
        )
    if not 1 <= args.keep <= MOST_TEMPLATES:
        raise ValueError(f'--keep is {args.keep}; must be between 1 and {MOST_TEMPLATES}')
    for option, path, suffix in (
        ('--output', args.output, SUFFIX),
        ('--pca', args.pca, PCA_SUFFIX),
    ):
        if path is not None:
            _check_file(option, path, suffix, args.force)


def _check_file(option: str, path: Path, suffix: str, force: bool) -> None:
    if path.suffix != suffix:
        raise ValueError(f'{option} {path}: the name must end in {suffix}')
    if not path.parent.is_dir():
        raise ValueError(f'{option} {path}: {path.parent} is not a folder')
    refuse_link(path)
    if path.exists() and not force:
        raise ValueError(f'{path} exists; --force replaces it')
