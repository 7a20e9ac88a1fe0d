# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The command `clip-dinoiser VERB ...`; each verb is defined beside the code it runs."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence

# verb: (module with add_arguments(parser) and run(args) -> exit code, help)
VERBS = {
    'bag': (
        'clip_dinoiser_ros.bag.command',
        'segment a recording and write the result as a recording',
    ),
    'fleet': (
        'clip_dinoiser_ros.fleet.command',
        'segment many recordings, on the processors or GPUs of one machine or of a Ray cluster',
    ),
    'play': ('clip_dinoiser_ros.bag.play', 'publish a recording, as ros2 bag play does'),
    'image': ('clip_dinoiser_ros.bag.image_command', 'segment image files'),
    'export-labels': (
        'clip_dinoiser_ros.bag.labels_command',
        'write labels of recordings for annotation tools and for training',
    ),
    'web': (
        'clip_dinoiser_ros.web.command',
        'choose words on a page in the browser, with images or a recording',
    ),
    'demo': ('clip_dinoiser_ros.demo.command', 'run the demo on a generated world'),
    'evaluate': (
        'clip_dinoiser_ros.evaluation.command',
        'measure quality with true labels: benchmarks, your own images and recordings',
    ),
    'data': (
        'clip_dinoiser_ros.evaluation.data_command',
        'make the label images of the benchmarks from the official ones',
    ),
    'benchmark': (
        'clip_dinoiser_ros.benchmark.command',
        'measure the speed of each stage and compare it with the limits of the machine',
    ),
    'doctor': (
        'clip_dinoiser_ros.readiness.doctor_command',
        'check what is missing for the node, and what to do about it',
    ),
    'download': (
        'clip_dinoiser_ros.readiness.download_command',
        'download and check all weights, for a start without a network',
    ),
    'heads': (
        'clip_dinoiser_ros.readiness.heads_command',
        "convert the heads' weights to safetensors",
    ),
    'export': (
        'clip_dinoiser_ros.export.command',
        'write the image path as an ONNX file, for machines without torch',
    ),
    'adapt': (
        'clip_dinoiser_ros.training.adapt_command',
        "choose templates for each prompt on a robot's recording, without labels",
    ),
    'quantize': (
        'clip_dinoiser_ros.evaluation.quantize_command',
        'quantize the image tower to int8 on your own frames, and measure the agreement',
    ),
    'train': (
        'clip_dinoiser_ros.training.command',
        'train the two heads on images or recordings, without labels',
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; return its exit code, 2 for wrong usage, 1 for input that cannot be used."""
    arguments = sys.argv[1:] if arguments is None else arguments
    logging.basicConfig(format='%(message)s')
    logging.getLogger('clip_dinoiser_ros').setLevel(logging.INFO)  # show the progress of downloads
    parser = argparse.ArgumentParser(prog='clip-dinoiser', description=__doc__)
    verbs = parser.add_subparsers(dest='verb', metavar='VERB', required=True)
    # import only the given verb: others may need packages that are not installed
    asked = next((word for word in arguments if not word.startswith('-')), None)
    for verb, (module, text) in VERBS.items():
        verb_parser = verbs.add_parser(verb, help=text, description=text)
        if verb == asked:
            try:
                command = importlib.import_module(module)
            except ModuleNotFoundError as error:
                if (error.name or '').startswith('clip_dinoiser_ros'):
                    raise
                print(  # noqa: T201
                    f'clip-dinoiser {verb}: the Python package {error.name} is missing: '
                    'pip install it, or all: pip install -r requirements/core.txt '
                    '-r requirements/web.txt',
                    file=sys.stderr,
                )
                return 1
            command.add_arguments(verb_parser)
    args = parser.parse_args(arguments)
    try:
        return int(command.run(args))
    except (ValueError, OSError) as error:
        print(f'clip-dinoiser {args.verb}: {error}', file=sys.stderr)  # noqa: T201
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == '__main__':
    sys.exit(main())
