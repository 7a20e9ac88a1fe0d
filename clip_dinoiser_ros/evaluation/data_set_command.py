# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""`clip-dinoiser evaluate DATASET|folder|bag`: quality of a method, measured by true labels."""

from __future__ import annotations

import argparse
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from clip_dinoiser_ros.arguments import DAMAGED, say
from clip_dinoiser_ros.evaluation import page
from clip_dinoiser_ros.evaluation.data_set_arguments import check, on_cluster, settings
from clip_dinoiser_ros.evaluation.data_set_model import LoadedModel, evaluate_here, load_model
from clip_dinoiser_ros.evaluation.items import Source
from clip_dinoiser_ros.evaluation.journal import Journal
from clip_dinoiser_ros.evaluation.outcome import markdown, result, shown, write
from clip_dinoiser_ros.evaluation.running import (
    Outcome,
    Predictor,
    evaluate,
    predict_again,
)
from clip_dinoiser_ros.evaluation.tasks import Task, open_task
from clip_dinoiser_ros.fleet.cluster_arguments import set_up_ray
from clip_dinoiser_ros.training.record import versions

if TYPE_CHECKING:  # Ray is an extra
    from clip_dinoiser_ros.evaluation.actors import Actors

MOST_SHOWN = 20  # images named in the summary


def run(args: argparse.Namespace) -> int:
    """Evaluate; return the exit code."""
    # cheap checks first; loading takes minutes
    check(args)
    task = open_task(args)
    with _actors(args) as actors:
        loaded = load_model(args, task)
        chosen = {
            **settings(args),
            'method': loaded.row.method,
            'background': loaded.row.background,
            'precision': loaded.precision,
            'prompts': list(task.prompts),
        }
        inputs = {'weights': loaded.weights, 'data': task.source.about}
        classes = len(loaded.names)
        with Journal(args.out, {**chosen, **inputs}, classes, args.resume) as journal:
            try:
                results = partial(evaluate_here, args, task.source, loaded)
                if actors is not None:
                    results = partial(actors.evaluate, task, loaded)
                outcome = evaluate(results, task.source.total, journal, classes, args.what)
            except KeyboardInterrupt:
                if args.out is not None:
                    say(f'stopped; the results so far are in {args.out}, --resume continues')
                raise
            about = {**inputs, 'settings': chosen, **_circumstances(loaded)}
            if actors is not None:
                about |= actors.circumstances()
            _write(args, task, loaded, outcome, about)
    return _sum_up(args, task, outcome)


@contextmanager
def _actors(args: argparse.Namespace) -> Iterator[Actors | None]:
    """Start or join a cluster if the arguments say so; else None."""
    if not on_cluster(args):
        yield None
        return
    set_up_ray(args.address)
    from clip_dinoiser_ros.evaluation.actors import Actors
    from clip_dinoiser_ros.fleet.cluster import cluster

    with cluster(args.address, args.dashboard):
        yield Actors(args)


def _circumstances(loaded: LoadedModel) -> dict[str, Any]:
    return {
        'device': loaded.device_name,
        'threads': torch.get_num_threads(),
        'finished': datetime.now(timezone.utc).isoformat(timespec='seconds'),
        'versions': {'python': platform.python_version(), **versions()},
    }


def _write(
    args: argparse.Namespace,
    task: Task,
    loaded: LoadedModel,
    outcome: Outcome,
    about: Mapping[str, Any],
) -> None:
    """Print the table, and write all files."""
    row = loaded.row
    content = result(outcome, loaded.names, row.method, row.background, about)
    table = markdown(content, outcome.counts)
    print(table)  # noqa: T201
    if args.out is not None:
        write(args.out, content, table)
        _draw(args.out, outcome, loaded.names, task.source, loaded.predictor, content)


def _draw(
    folder: Path,
    outcome: Outcome,
    names: Sequence[str],
    source: Source,
    predictor: Predictor,
    content: Mapping[str, Any],
) -> None:
    """Write the HTML page of example images."""
    facts = {
        'data': f'{content["data"]["name"]}, {outcome.images} images',
        'method': f'{content["method"]}, background {content["background"]}',
        'mIoU': shown(content['miou']),
        'pixel accuracy': shown(content['accuracy']),
    }
    if content['settings'].get('smoothing'):
        facts['pictures'] = 'segmented again, without earlier frames'

    def show(numbers: Sequence[int]) -> Mapping[int, Any]:
        return predict_again(source, predictor, numbers)

    page.write_page(folder / page.FILE, outcome.scores, names, show, facts)


def _sum_up(args: argparse.Namespace, task: Task, outcome: Outcome) -> int:
    """Print what went wrong; return the exit code."""
    damage = task.source.damage
    unknown = 'images have unknown labels'
    if getattr(args, 'classes', None):  # one's own images
        unknown += ' (a row of --classes without a prompt ignores a value)'
    for what, lines in (
        ('images were left out', outcome.left_out),
        (unknown, outcome.odd),
        ('parts of the recording could not be read', damage),
    ):
        if lines:
            say(f'{len(lines)} {what}:')
            for line in lines[:MOST_SHOWN]:
                say(f'  {line}')
            if len(lines) > MOST_SHOWN:
                say(f'  and {len(lines) - MOST_SHOWN} more')
    if args.out is not None:
        say(f'wrote {args.out}')
    return DAMAGED if outcome.left_out or outcome.odd or damage else 0
