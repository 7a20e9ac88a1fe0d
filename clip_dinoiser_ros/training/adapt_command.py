# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""`clip-dinoiser adapt`: templates for each prompt, chosen on a robot's own recording."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from tqdm import tqdm

from clip_dinoiser_ros import arguments
from clip_dinoiser_ros.arguments import DAMAGED
from clip_dinoiser_ros.bag.output_files import partial_file, refuse_link
from clip_dinoiser_ros.core.templates import MOST_TEMPLATES, SUFFIX, common_templates
from clip_dinoiser_ros.core.vocabulary import parse_prompts
from clip_dinoiser_ros.training.source_arguments import open_bag
from clip_dinoiser_ros.training.template_choice import (
    KEPT,
    as_templates,
    measure_entropies,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument('input', type=Path, metavar='BAG', help='bag folder, .mcap or .db3 file')
    parser.add_argument(
        '--output',
        type=Path,
        required=True,
        metavar='FILE',
        help=f'file for the parameter `templates` and for --templates; must end in {SUFFIX}',
    )
    parser.add_argument('--force', action='store_true', help='replace OUT')
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
    """Choose templates and write them; return the exit code."""
    _check(args)
    templates = common_templates('imagenet')
    source = open_bag(args.input, args.topic, args.images)
    segmenter = arguments.load_segmenter(args)
    images = (source.read(index).image for index in range(len(source.names)))
    entropies = measure_entropies(
        segmenter,
        tqdm(images, 'adapt', len(source.names), unit='image', disable=None),
        args.prompts,
        templates,
        arguments.gamma(args),
    )
    chosen = entropies.choose(args.keep)
    content = {
        'templates': as_templates(args.prompts, templates, chosen),
        'about': {
            'prompts': list(args.prompts),
            'model': args.model,
            'pretrained': args.pretrained,
            'images': source.about,
        },
    }
    part = partial_file(args.output)
    part.write_text(json.dumps(content, indent=2, ensure_ascii=False) + '\n', encoding='utf-8')
    part.replace(args.output)
    for prompt, indices in zip(parse_prompts(args.prompts), chosen, strict=True):
        shown = '; '.join(templates[index] for index in indices)
        print(f'{prompt.name}: {shown or "not seen, all templates"}')  # noqa: T201
    print(f'wrote {args.output}')  # noqa: T201
    return DAMAGED if source.about['damage'] or source.about['unreadable'] else 0


def _check(args: argparse.Namespace) -> None:
    """Check the arguments before anything is read."""
    parse_prompts(args.prompts)
    if len(args.prompts) < 2:
        raise ValueError(
            '--prompts has only one class, so templates cannot be compared; give all classes'
        )
    if not 1 <= args.keep <= MOST_TEMPLATES:
        raise ValueError(f'--keep is {args.keep}; must be between 1 and {MOST_TEMPLATES}')
    if args.output.suffix != SUFFIX:
        raise ValueError(f'--output {args.output}: the name must end in {SUFFIX}')
    if not args.output.parent.is_dir():
        raise ValueError(f'--output {args.output}: {args.output.parent} is not a folder')
    refuse_link(args.output)
    if args.output.exists() and not args.force:
        raise ValueError(f'{args.output} exists; --force replaces it')
