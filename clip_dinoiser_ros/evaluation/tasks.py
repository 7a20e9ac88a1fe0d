# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What to evaluate: a benchmark, a folder of the user's own images, or a recording."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from clip_dinoiser_ros.core.vocabulary import join_prompts, parse_prompts
from clip_dinoiser_ros.evaluation.benchmarks import open_benchmark
from clip_dinoiser_ros.evaluation.folder import (
    ids_table,
    open_folder,
    prompts_for,
    read_classes,
    table_meaning,
)
from clip_dinoiser_ros.evaluation.items import FileSource, Source
from clip_dinoiser_ros.evaluation.samples import Colours, DataError

READ_AHEAD = 16  # images read ahead, beside those that threads are reading


@dataclass(frozen=True)
class Task:
    """What is evaluated.

    Attributes:
        source: The images.
        prompts: Prompts of the true labels.
        background: Index of the prompt to which a background filter may apply; None: there is none.
        filtered: Whether the filter applies by default.
        negatives: Negative prompts, for the protocol of the node.
    """

    source: Source
    prompts: Sequence[str]
    background: int | None
    filtered: bool
    negatives: Sequence[str] = ()


def open_task(args: argparse.Namespace) -> Task:
    """Open what the arguments name.

    Raises:
        DataError: It does not exist or cannot be used. The message names the first bad path.
        PromptError: A prompt is invalid.
        BagError: A recording cannot be used.
    """
    if args.what == 'bag':
        return _bag_task(args)
    if args.what == 'folder':
        data = open_folder(
            args.images,
            args.labels,
            args.classes,
            args.label_suffix,
            args.background_class,
            args.limit,
        )
        join_prompts(data.prompts, args.negative_prompts)
    else:
        data = open_benchmark(args.what, args.data, args.limit)
    source = FileSource(data, args.workers, args.workers + READ_AHEAD)
    negatives = getattr(args, 'negative_prompts', ())
    return Task(source, data.prompts, data.background, data.filtered, negatives)


def _bag_task(args: argparse.Namespace) -> Task:
    try:
        from clip_dinoiser_ros.bag.recording import Recording
        from clip_dinoiser_ros.evaluation import bag_source
    except ModuleNotFoundError as error:
        raise DataError(
            f'the Python package {error.name} is missing: install it, or everything that '
            "recordings need: pip install '.[bags]'"
        ) from error
    if args.classes is not None and args.prompts:
        raise DataError('--classes already names the prompts; leave out --prompts')
    with Recording(args.input) as recording:
        truth, image = bag_source.choose_topics(recording, args.truth, args.topic)
        if args.classes is not None:
            prompts, meaning = table_meaning(args.classes, read_classes(args.classes))
            if isinstance(meaning, Colours):
                raise DataError(f'{args.classes} has colours; label images of a recording have ids')
            join_prompts(prompts, args.negative_prompts)
        else:
            names = bag_source.truth_names(recording, truth)
            prompts = args.prompts or list(dict.fromkeys(names[i] for i in sorted(names)))
            join_prompts(prompts, args.negative_prompts)
            meaning = ids_table(prompts_for(parse_prompts(prompts), names, args.background_class))
    known = [prompt.name for prompt in parse_prompts(prompts)]
    background = known.index(args.background_class) if args.background_class in known else None
    source = bag_source.BagSource(
        args.input, image, truth, meaning, args.limit, every=args.smoothing > 0
    )
    return Task(source, prompts, background, background is not None, args.negative_prompts)
