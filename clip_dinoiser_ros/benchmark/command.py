# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""`clip-dinoiser benchmark`: speed of each stage, compared with the limits of the machine."""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from clip_dinoiser_ros import arguments
from clip_dinoiser_ros.benchmark import report
from clip_dinoiser_ros.benchmark.agreement import measure_agreement
from clip_dinoiser_ros.benchmark.authors import Authors
from clip_dinoiser_ros.benchmark.limits import Limits, measure_limits
from clip_dinoiser_ros.benchmark.machine import describe_machine
from clip_dinoiser_ros.benchmark.measuring import BenchmarkRow, camera_image, measure_row
from clip_dinoiser_ros.benchmark.node_start import measure_node_start
from clip_dinoiser_ros.benchmark.objects import time_objects
from clip_dinoiser_ros.benchmark.prompts import fresh_words, time_change
from clip_dinoiser_ros.benchmark.publishing import LabelPublisher
from clip_dinoiser_ros.benchmark.questions import time_questions
from clip_dinoiser_ros.benchmark.random_weights import write_random_weights
from clip_dinoiser_ros.benchmark.start import measure_start
from clip_dinoiser_ros.benchmark.turns import Labels, TurnRow, measure_turns
from clip_dinoiser_ros.core import Segmenter
from clip_dinoiser_ros.core.embedding_cache import SWITCH
from clip_dinoiser_ros.core.segmenter import DTYPES, find_device, find_precision

PROMPTS = ('background', 'person', 'car', 'tree', 'building', 'road', 'grass', 'sky')
CHANGES = 5
AUTHORS_CHANGES = 1  # the authors' take ten seconds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument(
        '--sizes',
        nargs='+',
        type=arguments.image_size,
        default=[(448, 448), (480, 640), (1080, 1920)],
        metavar='WxH',
        help='sizes of the camera images (448x448 640x480 1920x1080)',
    )
    parser.add_argument(
        '--batches', nargs='+', type=int, default=[1, 2, 4, 8], help='batch sizes (1 2 4 8)'
    )
    parser.add_argument(
        '--precisions',
        nargs='+',
        choices=['auto', *(name for name in DTYPES if name != 'int8')],
        help='several precisions in one run, instead of --precision',
    )
    parser.add_argument(
        '--seconds', type=float, default=6.0, help='seconds for each size and batch (%(default)s)'
    )
    parser.add_argument(
        '--classes', type=int, default=len(PROMPTS), help='number of classes (%(default)s)'
    )
    parser.add_argument('--threads', type=int, help='number of CPU threads (chosen by torch)')
    parser.add_argument(
        '--cpu-time',
        action='store_true',
        help='measure CPU time of all threads instead of elapsed time; with --threads 1, other '
        'processes then have little influence',
    )
    parser.add_argument(
        '--random-weights',
        action='store_true',
        help='use random weights and download nothing; speed does not depend on the weights',
    )
    parser.add_argument(
        '--compare',
        type=Path,
        metavar='PATH',
        help="checkout of wysoczanska/clip_dinoiser: measure the authors' code too",
    )
    parser.add_argument(
        '--turns',
        action='store_true',
        help='on a CPU: measure every available engine and precision in turn; implied by --compare',
    )
    parser.add_argument(
        '--scenes',
        type=int,
        default=0,
        metavar='N',
        help='compare each precision with fp32 on N generated scenes, with the demo model',
    )
    parser.add_argument(
        '--no-start', action='store_true', help='do not measure the start of a process'
    )
    parser.add_argument(
        '--only-start',
        action='store_true',
        help='only measure and print the start: of a process, and of the node if ROS is available',
    )
    parser.add_argument(
        '--only-objects',
        action='store_true',
        help='only measure and print the CPU time of objects, and of questions about a frame',
    )
    parser.add_argument(
        '--output',
        type=Path,
        default=Path('benchmark_out'),
        metavar='DIR',
        help='folder for benchmark.json, benchmark.md and benchmark.svg (%(default)s)',
    )
    arguments.add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Measure, print the tables, write the files; return the exit code."""
    if min(args.batches) < 1 or args.seconds < 0 or args.classes < 1:
        raise ValueError('--batches and --classes must be at least 1, --seconds at least 0')
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.only_objects:
        for size in args.sizes:
            print(report.objects(size, *time_objects(size, clock=time.thread_time)))  # noqa: T201
            print(report.questions(size, time_questions(size, clock=time.thread_time)))  # noqa: T201
        return 0
    with ExitStack() as stack:
        publisher = stack.enter_context(LabelPublisher())
        weights = {'model': args.model, 'pretrained': args.pretrained, 'heads': args.heads}
        if args.random_weights:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            weights = write_random_weights(args.model, folder)
        if args.only_start:
            print(report.starts(_starts(args, weights, publisher.ros)))  # noqa: T201
            return 0
        result, rows = _measure(args, weights, publisher)
    text = report.text(result, rows)
    print(text)  # noqa: T201
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / 'benchmark.md').write_text(text + '\n')
    turns = {image: [asdict(row) for row in own] for image, own in result['turns'].items()}
    content = {**result, 'turns': turns, 'rows': [asdict(row) for row in rows]}
    (args.output / 'benchmark.json').write_text(json.dumps(content, indent=1) + '\n')
    (args.output / 'benchmark.svg').write_text(report.drawing(rows))
    return 0


def _measure(
    args: argparse.Namespace, weights: Mapping[str, str], publisher: LabelPublisher
) -> tuple[dict[str, Any], list[BenchmarkRow]]:
    device = find_device(args.device)
    clock = time.process_time if args.cpu_time else time.perf_counter
    prompts = [*PROMPTS, *(f'thing {i}' for i in range(args.classes))][: args.classes]
    authors = None
    if args.compare:
        _say("loading the authors' code")
        authors = Authors(args.compare, weights, prompts, device)
    limits: dict[str, Limits] = {}
    rows: list[BenchmarkRow] = []
    for precision in args.precisions or [args.precision]:
        _say(f'loading {weights["model"]} in precision {precision}')
        segmenter = _load(args, weights, precision)
        vocabulary = segmenter.encode(prompts)
        limit = measure_limits(device, DTYPES[segmenter.precision], clock)
        limits[segmenter.precision] = limit
        for size in args.sizes:
            for batch in args.batches:
                _say(f'{size[1]}x{size[0]}, batch {batch}, {segmenter.precision}')
                rows.append(
                    measure_row(
                        segmenter,
                        vocabulary,
                        size,
                        batch,
                        args.seconds,
                        limit,
                        publisher,
                        authors if device.type == 'cuda' else None,
                        clock,
                    )
                )
    turns = {}
    if device.type == 'cpu' and (authors is not None or args.turns):
        forms = _forms(args, weights)
        for size in args.sizes:
            name = f'{size[1]}x{size[0]}'
            _say(f'{name}, in turn: {", ".join(forms)}')
            turns[name] = _in_turn(authors, forms, prompts, size, args.seconds, args.cpu_time)
        del forms
    _say('prompt changes')
    changes = _prompt_changes(segmenter, authors, clock)
    del segmenter, authors  # their memory is not to be in the way of the process to be timed
    start = {} if args.no_start else _starts(args, weights, publisher.ros)
    agreements = []
    for precision in (args.precisions or [args.precision]) if args.scenes else []:
        _say(f'{args.scenes} scenes in precision {precision}')
        agreements.append(
            asdict(measure_agreement(precision, args.scenes, args.device, args.engine))
        )
    result = {
        'date': date.today().isoformat(),
        'machine': describe_machine(device),
        'clock': 'of the CPU, all threads' if args.cpu_time else 'of the wall',
        'model': weights['model'] + (', random weights' if args.random_weights else ''),
        'published': 'over DDS' if publisher.ros else 'not: no ROS here, messages were made only',
        'limits': {name: asdict(limit) for name, limit in limits.items()},
        'turns': turns,
        'prompts': changes,
        'start': start,
        'agreement': agreements,
    }
    return result, rows


def _forms(args: argparse.Namespace, weights: Mapping[str, str]) -> dict[str, Segmenter]:
    """Load the model with every engine and precision that this CPU supports in hardware."""
    best = find_precision('auto', torch.device('cpu'))
    precisions = list(dict.fromkeys(args.precisions or ['fp32', best]))
    forms = {'torch fp32, weights not packed': _load(args, weights, 'fp32', 'torch', pack=False)}
    for precision in precisions:
        forms[f'torch {precision}'] = _load(args, weights, precision, 'torch')
        if find_spec('openvino') is not None:
            forms[f'OpenVINO {precision}'] = _load(args, weights, precision, 'openvino')
    if args.quantized:
        forms['OpenVINO int8'] = _load(args, weights, 'int8', 'openvino')
    return forms


def _in_turn(
    authors: Authors | None,
    forms: Mapping[str, Segmenter],
    prompts: Sequence[str],
    size: tuple[int, int],
    seconds: float,
    cpu_time: bool,
) -> list[TurnRow]:
    """Measure the authors' code and ours in turn on an image of size (H, W).

    With CPU time no turn is repeated, since other processes have little influence on it.
    """
    any_form = next(iter(forms.values()))
    image = camera_image(any_form, size)
    vocabulary = any_form.encode(prompts)

    def ours(segmenter: Segmenter) -> Callable[[], Labels]:
        return lambda: segmenter.segment(image, vocabulary).labels

    calls = {name: ours(segmenter) for name, segmenter in forms.items()}
    if authors is not None:
        calls = {"the authors' code": functools.partial(authors.segment, image), **calls}
    if cpu_time:
        return measure_turns(calls, seconds, lambda: None, time.process_time)
    return measure_turns(calls, seconds)


def _load(
    args: argparse.Namespace,
    weights: Mapping[str, str],
    precision: Any,
    engine: Any = None,
    pack: bool = True,
) -> Segmenter:
    """Load the model without the embedding cache, which has the prompts of earlier runs."""
    switch = os.environ.get(SWITCH)
    os.environ[SWITCH] = 'off'
    try:
        return Segmenter.load(
            **weights,
            device=args.device,
            precision=precision,
            short_side=args.short_side or None,
            pack=pack,
            engine=engine or args.engine,
            quantized=args.quantized if precision == 'int8' else None,
        )
    finally:
        os.environ.pop(SWITCH)
        if switch is not None:
            os.environ[SWITCH] = switch


def _prompt_changes(
    segmenter: Segmenter, authors: Authors | None, clock: Callable[[], float]
) -> dict[str, float]:
    """Return the median milliseconds of changes to new prompts and back to known ones."""
    new, known, theirs = [], [], []
    for change in range(CHANGES):
        words, device = fresh_words(change), segmenter.device
        new.append(time_change(segmenter.encode, words, device, clock))
        known.append(time_change(segmenter.encode, words, device, clock))
        if authors is not None and change < AUTHORS_CHANGES:
            theirs.append(time_change(authors.change_prompts, words, device, clock))
    changes = {
        'three new prompts': statistics.median(new),
        'three known prompts': statistics.median(known),
    }
    if theirs:
        changes["three new prompts, the authors' code"] = statistics.median(theirs)
        changes['ratio'] = statistics.median(theirs) / statistics.median(new)
    return changes


def _starts(
    args: argparse.Namespace, weights: Mapping[str, str], ros: bool
) -> dict[str, dict[str, float]]:
    """Return the seconds to each step of a process, and of the node if ROS is available."""
    precision = (args.precisions or [args.precision])[0]
    values = {
        **weights,
        'device': args.device,
        'precision': precision,
        'short_side': args.short_side,
        'engine': args.engine,
        **({'quantized': args.quantized} if precision == 'int8' else {}),
    }
    options = [
        text
        for name, value in values.items()
        for text in (f'--{name.replace("_", "-")}', str(value))
    ]
    found = {}
    for _ in range(2):  # the first one fills the caches
        _say('start of a process')
        found['a process'] = measure_start([*options, '--prompts', *PROMPTS], args.cpu_time)
        if ros:
            _say('start of the node')
            found['the node'] = measure_node_start(
                {**values, 'prompts': list(PROMPTS)}, args.cpu_time
            )
    return found


def _say(what: str) -> None:
    print(f'benchmark: {what}', file=sys.stderr, flush=True)  # noqa: T201
