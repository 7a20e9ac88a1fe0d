# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What several verbs share: arguments of model and prompts, messages, an exit code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # `clip-dinoiser doctor` reads these arguments where torch and numpy are missing
    import numpy as np
    import numpy.typing as npt

    from clip_dinoiser_ros.core import Segmenter, Vocabulary

DAMAGED = 3  # exit code: complete, but part of the input could not be read

PRECISIONS = ('auto', 'fp32', 'bf16', 'fp16')
INT8_TOO = (*PRECISIONS, 'int8')


def say(text: str) -> None:
    """Print a line for the user on stderr."""
    print(text, file=sys.stderr)  # noqa: T201


def image_size(text: str) -> tuple[int, int]:
    """Read WIDTHxHEIGHT, both above 0; return (H, W)."""
    try:
        width, height = (int(part) for part in text.split('x'))
    except ValueError:
        width = height = 0
    if min(width, height) < 1:
        raise argparse.ArgumentTypeError(
            f'{text!r} is no size; give width and height as in 640x480'
        )
    return height, width


def add_weights_arguments(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add --model, --pretrained, --heads; return their group."""
    group = parser.add_argument_group('model')
    group.add_argument(
        '--model',
        default='ViT-B-16',
        help='OpenCLIP architecture, JSON config, or demo (%(default)s)',
    )
    group.add_argument(
        '--pretrained', default='laion2b_s34b_b88k', help='OpenCLIP tag or file (%(default)s)'
    )
    group.add_argument(
        '--heads',
        default='authors',
        help='file, authors (those of the paper), or the URL of a mirror (%(default)s)',
    )
    return group


def add_teacher_files(group: argparse._ArgumentGroup) -> None:
    """Add --dino-base, --dino-small, --found: the weights of the paper's teachers."""
    group.add_argument(
        '--dino-base', metavar='FILE', help='weights of DINO ViT-B/16(downloaded by timm)'
    )
    group.add_argument(
        '--dino-small', metavar='FILE', help='weights of DINO ViT-S/8(downloaded by timm)'
    )
    group.add_argument('--found', metavar='FILE', help="FOUND's decoder_weights.pt")


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `add_weights_arguments` does, and all that `load_segmenter` reads."""
    group = add_weights_arguments(parser)
    add_device_arguments(group, INT8_TOO)
    add_quantized_argument(group)
    group.add_argument(
        '--short-side',
        type=int,
        default=448,
        help='resize the short side to N pixels; 0: no resizing (%(default)s)',
    )


def add_quantized_argument(group: argparse._ArgumentGroup) -> None:
    """Add --quantized."""
    group.add_argument(
        '--quantized',
        metavar='DIR',
        help='folder written by clip-dinoiser quantize, for --precision int8',
    )


def add_device_arguments(
    group: argparse._ArgumentGroup, precisions: Sequence[str] = PRECISIONS
) -> None:
    """Add --device, --precision, --engine."""
    group.add_argument(
        '--device',
        default='auto',
        help='auto, cpu, cuda, cuda:N, intel-gpu, intel-npu (%(default)s)',
    )
    group.add_argument(
        '--precision',
        default='auto',
        choices=precisions,
        help='%(default)s',
    )
    group.add_argument(
        '--engine',
        default='auto',
        choices=['auto', 'torch', 'openvino'],
        help='auto: openvino on Intel devices, for int8, and for bf16 on a CPU; else torch '
        '(%(default)s)',
    )


def load_segmenter(args: argparse.Namespace) -> Segmenter:
    """Load the model that the arguments name; raises as `Segmenter.load`."""
    from clip_dinoiser_ros.core import Segmenter

    return Segmenter.load(
        args.model,
        args.pretrained,
        args.heads,
        args.device,
        args.precision,
        args.short_side or None,
        engine=args.engine,
        quantized=args.quantized,
    )


class _Texts(argparse.Action):
    """Takes strings; splits a list given as one string with commas, and prints the result."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        alone = len(values) == 1 and ',' in values[0]
        if alone or any(text.endswith(',') for text in values):  # given without quotes
            given = ' '.join(values)
            values = [text.strip() for text in given.split(',')]
            print(  # noqa: T201
                f'{option_string} {given!r} is read as a list: {", ".join(map(repr, values))}',
                file=sys.stderr,
            )
        setattr(namespace, self.dest, values)


def add_prompts_argument(
    parser: argparse.ArgumentParser, default: Sequence[str] | None = None
) -> argparse._ArgumentGroup:
    """Add --prompts, required if there is no default; return its group."""
    group = parser.add_argument_group('prompts')
    group.add_argument(
        '--prompts',
        nargs='+',
        action=_Texts,
        required=default is None,
        default=default,
        metavar='TEXT',
        help="classes, or one string 'a, b, c'; 'a|b': synonyms",
    )
    return group


def add_vocabulary_arguments(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add --prompts, --background, --templates; return their group."""
    group = add_prompts_argument(parser)
    group.add_argument(
        '--background',
        default='background',
        metavar='NAME',
        help="class given to pixels that do not look like an object; '': filter off (%(default)s)",
    )
    add_templates_argument(group)
    return group


def add_templates_argument(group: argparse._ArgumentGroup) -> None:
    """Add --templates."""
    group.add_argument(
        '--templates',
        type=_templates,
        default='imagenet',
        metavar='NAME',
        help='imagenet, simple, none, or a file from `clip-dinoiser adapt` (%(default)s)',
    )


def _templates(text: str) -> str:
    from clip_dinoiser_ros.core.templates import find_sentences

    try:
        find_sentences(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def add_prompt_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `add_vocabulary_arguments` does, and --negative-prompts, --min-confidence."""
    group = add_vocabulary_arguments(parser)
    group.add_argument(
        '--negative-prompts',
        nargs='+',
        action=_Texts,
        default=[],
        metavar='TEXT',
        help='classes that compete with the prompts and are published as unlabelled',
    )
    group.add_argument(
        '--min-confidence',
        type=float,
        default=0.0,
        help='leave pixels with a lower class probability unlabelled, 0 to 1 (%(default)s)',
    )


def encode_prompts(
    segmenter: Segmenter, args: argparse.Namespace
) -> tuple[Vocabulary, npt.NDArray[np.unsignedinteger]]:
    """Encode the prompts of the arguments.

    Returns:
        The vocabulary with negative classes last, and the published id of each class; see
        `ClassIds.table`.

    Raises:
        PromptError: A prompt is invalid. The message says which and why.
    """
    from clip_dinoiser_ros.core.prompt_advice import advice
    from clip_dinoiser_ros.core.vocabulary import join_prompts
    from clip_dinoiser_ros.frames.class_ids import ClassIds

    prompts = join_prompts(args.prompts, args.negative_prompts)
    vocabulary = segmenter.encode(prompts, args.background or None, args.templates)
    unknown = segmenter.unknown_words(vocabulary)
    if unknown:
        print(f'the demo model does not know: {", ".join(unknown)}', file=sys.stderr)  # noqa: T201
    for warning in advice(vocabulary, len(args.prompts)):
        print(f'warning: {warning}', file=sys.stderr)  # noqa: T201
    names = vocabulary.names[: len(args.prompts)]
    return vocabulary, ClassIds().with_names(names).table(names, len(args.negative_prompts))


def add_gamma_argument(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add --gamma, as for `Segmenter.segment`; return its group."""
    from clip_dinoiser_ros.core.weights import DEMO, DEMO_GAMMA, default_gamma

    usual = default_gamma('ViT-B-16')
    group = parser.add_argument_group('method')
    group.add_argument(
        '--gamma',
        type=float,
        help='affinities below it are left out of the pooling, 0 to 0.99 (that of the model: '
        f'{usual}, {DEMO}: {DEMO_GAMMA})',
    )
    return group


def gamma(args: argparse.Namespace) -> float:
    """Return --gamma, or the model's own value if it is not given."""
    from clip_dinoiser_ros.core.weights import default_gamma

    given: float | None = args.gamma
    return default_gamma(args.model) if given is None else given


def add_threshold_arguments(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add --gamma, --delta and --edges, as for `Segmenter.segment`; return their group."""
    from clip_dinoiser_ros.core import dinoiser
    from clip_dinoiser_ros.core.edges import STEPS

    group = add_gamma_argument(parser)
    group.add_argument(
        '--delta',
        type=float,
        default=dinoiser.DELTA,
        help='patches below this probability may become background, 0 to 1 (%(default)s)',
    )
    group.add_argument(
        '--edges',
        default='off',
        choices=list(STEPS),
        help='sharpen labels along the edges of the image (%(default)s)',
    )
    return group
