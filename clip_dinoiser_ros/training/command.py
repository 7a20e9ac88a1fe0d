# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""`clip-dinoiser train`: train the two heads on images or a recording, without labels."""

from __future__ import annotations

import argparse
from pathlib import Path

from clip_dinoiser_ros import arguments
from clip_dinoiser_ros.arguments import DAMAGED
from clip_dinoiser_ros.core.dinoiser import GAMMA
from clip_dinoiser_ros.core.segmenter import find_device
from clip_dinoiser_ros.core.weights import load_clip, load_heads
from clip_dinoiser_ros.training import record
from clip_dinoiser_ros.training.augment import Augmentation
from clip_dinoiser_ros.training.batches import Sampling
from clip_dinoiser_ros.training.image_sources import IMAGES
from clip_dinoiser_ros.training.precision import choose_precision
from clip_dinoiser_ros.training.recipe import Recipe
from clip_dinoiser_ros.training.source_arguments import add_source_arguments, open_source
from clip_dinoiser_ros.training.teachers import Teacher, TeacherError, WorldTeacher
from clip_dinoiser_ros.training.trainer import Running, train


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument('out', help=f'folder for {record.HEADS} and {record.RECORD}')
    add_source_arguments(parser).add_argument(
        '--images', type=int, default=IMAGES, metavar='N', help='number of images (%(default)s)'
    )
    _add_teacher_arguments(parser)
    _add_recipe_arguments(parser)
    group = parser.add_argument_group('model')
    group.add_argument(
        '--model', default='ViT-B-16', help='OpenCLIP architecture or JSON config (%(default)s)'
    )
    group.add_argument(
        '--pretrained', default='laion2b_s34b_b88k', help='OpenCLIP tag or file (%(default)s)'
    )
    group.add_argument(
        '--heads', help='initial heads: file, or authors; default: random, from the seed'
    )
    group = parser.add_argument_group('running')
    group.add_argument('--device', default='auto', help='auto, cpu, cuda, cuda:N (%(default)s)')
    group.add_argument(
        '--precision',
        default='auto',
        choices=['auto', 'fp32', 'bf16', 'fp16'],
        help='of the frozen networks; auto: fp32 on the CPU, half of it on a GPU (%(default)s)',
    )
    group.add_argument(
        '--workers', type=int, default=2, help='threads that prepare images (%(default)s)'
    )
    group.add_argument(
        '--checkpoint-every', type=int, default=500, metavar='N', help='iterations (%(default)s)'
    )
    group.add_argument('--resume', action='store_true', help='continue the training in OUT')
    group.add_argument('--force', action='store_true', help='overwrite the training in OUT')


def _add_teacher_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('teacher')
    group.add_argument(
        '--teacher',
        choices=['dino', 'world'],
        help='dino; world reads the masks of generated scenes (dino; with --world: world)',
    )
    arguments.add_teacher_files(group)
    group.add_argument(
        '--gamma', type=float, default=GAMMA, help="threshold on DINO's correlations (%(default)s)"
    )
    group.add_argument(
        '--together',
        default='class',
        choices=['class', 'instance'],
        help='things that belong together in generated scenes (%(default)s)',
    )


def _add_recipe_arguments(parser: argparse.ArgumentParser) -> None:
    recipe, how = Recipe(), Augmentation()
    group = parser.add_argument_group('recipe')
    group.add_argument('--iterations', type=int, default=recipe.iterations, help='%(default)s')
    group.add_argument('--batch', type=int, default=recipe.sampling.batch, help='%(default)s')
    group.add_argument(
        '--crop', type=int, default=recipe.sampling.crop, help='pixels (%(default)s)'
    )
    group.add_argument('--seed', type=int, default=recipe.sampling.seed, help='%(default)s')
    group.add_argument('--lr-affinity', type=float, default=recipe.lr_affinity, help='%(default)s')
    group.add_argument(
        '--lr-foreground', type=float, default=recipe.lr_foreground, help='%(default)s'
    )
    group.add_argument(
        '--lr-drop-after',
        type=int,
        default=recipe.lr_drop_after,
        metavar='N',
        help='iterations, then a tenth of both (%(default)s)',
    )
    group.add_argument(
        '--channels', type=int, default=recipe.channels, help='of obj_proj (%(default)s)'
    )
    group.add_argument(
        '--scale',
        type=float,
        nargs=2,
        default=how.scale,
        metavar=('LOW', 'HIGH'),
        help='short side, in crops (%(default)s)',
    )
    group.add_argument(
        '--flip', type=float, default=how.flip, help='probability of mirroring (%(default)s)'
    )
    group.add_argument(
        '--jitter',
        type=float,
        nargs=3,
        default=(how.brightness, how.contrast, how.saturation),
        metavar=('BRIGHTNESS', 'CONTRAST', 'SATURATION'),
        help='%(default)s',
    )


def run(args: argparse.Namespace) -> int:
    """Train; return the exit code."""
    # cheap checks first; reading and downloading take minutes
    recipe = _recipe(args)
    running = Running(
        args.device,
        args.precision,
        args.checkpoint_every,
        args.workers,
        args.resume,
        args.force,
    )
    record.check(Path(args.out), args.resume, args.force)
    find_device(args.device)
    _check_teacher(args)
    images = open_source(args, args.images, args.seed)
    teacher = _teacher(args)
    clip, _ = load_clip(args.model, args.pretrained)
    start = load_heads(args.heads) if args.heads else None
    about = {'model': args.model, 'pretrained': args.pretrained, 'start_heads': args.heads}
    train(clip, images, teacher, args.out, recipe, running, start, about)
    print(Path(args.out) / record.HEADS)  # noqa: T201 - what the next command needs
    return DAMAGED if images.about.get('damage') else 0


def _recipe(args: argparse.Namespace) -> Recipe:
    augmentation = Augmentation(tuple(args.scale), args.flip, *args.jitter)
    return Recipe(
        iterations=args.iterations,
        lr_affinity=args.lr_affinity,
        lr_foreground=args.lr_foreground,
        lr_drop_after=args.lr_drop_after,
        channels=args.channels,
        sampling=Sampling(args.batch, args.crop, args.seed, augmentation),
    )


def _check_teacher(args: argparse.Namespace) -> None:
    """Check the teacher's arguments before anything is read."""
    if args.teacher is None:
        args.teacher = 'world' if args.world else 'dino'
    if args.teacher == 'world' and not args.world:
        raise TeacherError('--teacher world needs the masks of generated scenes: --world')
    if args.teacher == 'dino' and not args.found:
        raise TeacherError(
            "--found FILE is missing: FOUND's decoder, data/weights/decoder_weights.pt of "
            'https://github.com/valeoai/FOUND'
        )
    for file in (args.dino_base, args.dino_small, args.found):
        if file and not Path(file).is_file():
            raise TeacherError(f'{file!r} is not a file')


def _teacher(args: argparse.Namespace) -> Teacher:
    """Build the teacher that the arguments name."""
    if args.teacher == 'world':
        return WorldTeacher(args.together)
    from clip_dinoiser_ros.training import dino

    device = find_device(args.device)
    return dino.DinoTeacher(
        dino.load_dino(dino.BASE, args.dino_base),
        dino.load_dino(dino.SMALL, args.dino_small),
        dino.load_found(args.found),
        args.gamma,
        device,
        choose_precision(args.precision, device),
    )
