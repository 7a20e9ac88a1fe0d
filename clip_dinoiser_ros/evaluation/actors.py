# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""An evaluation on several processes or machines of a Ray cluster, with the same sums."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import ray
import torch

from clip_dinoiser_ros.arguments import say
from clip_dinoiser_ros.evaluation.data_set_model import load_model
from clip_dinoiser_ros.evaluation.items import FileSource
from clip_dinoiser_ros.evaluation.journal import FILE as JOURNAL
from clip_dinoiser_ros.evaluation.journal import Evaluated
from clip_dinoiser_ros.evaluation.running import evaluated_images, save_labels
from clip_dinoiser_ros.evaluation.samples import DataError
from clip_dinoiser_ros.evaluation.tasks import open_task
from clip_dinoiser_ros.fleet.cluster import check_nodes, cluster, resources
from clip_dinoiser_ros.fleet.cluster_arguments import with_absolute_paths
from clip_dinoiser_ros.fleet.dispatch import Dispatcher

IMAGES = 16  # for an actor at once, or a batch; their results are lost when it dies
_PATHS = (
    'data images labels classes out model pretrained heads templates quantized dino_base '
    'dino_small found'
)


@dataclass(frozen=True)
class Part:
    """The images of the indices from `first` up to, but not including, `last`."""

    first: int
    last: int

    @property
    def size(self) -> int:
        """Number of images."""
        return self.last - self.first

    @property
    def text(self) -> str:
        """Name for the user."""
        return f'images {self.first} to {self.last - 1}'


class Evaluator:
    """What an actor does: it holds data set and model, and evaluates some images.

    Args:
        args: Those of `clip-dinoiser evaluate`, with absolute paths.
        threads: Of torch.
    """

    def __init__(self, args: argparse.Namespace, threads: int) -> None:
        torch.set_num_threads(threads)
        self._args = args

    def start(self) -> dict[str, Any]:
        """Load the model; return digests of the weights, and the description of the images."""
        task = open_task(self._args)
        assert isinstance(task.source, FileSource)
        self._source, self._model = task.source, load_model(self._args, task)
        return {'weights': self._model.weights, 'data': self._source.about}

    def run(self, part: Part, _: str) -> list[Evaluated]:
        """Evaluate some images."""
        source, classes = self._source.part(part.first, part.last), len(self._model.names)
        save = save_labels(self._args.out / 'labels', classes) if self._args.save_labels else None
        return list(evaluated_images(source, self._model.predictor, classes, save=save))


def evaluate_on_actors(
    args: argparse.Namespace, total: int, batch: int, inputs: Mapping[str, Any], first: int
) -> Iterator[Evaluated]:
    """Evaluate on a cluster that is started or joined.

    Args:
        args: Of the command.
        total: Number of images.
        batch: Images that the model takes at once.
        inputs: What `Evaluator.start` of each actor must return.
        first: Index of the first image.

    Yields:
        The result of each image, in order.

    Raises:
        ValueError: The cluster cannot be used, an actor has other weights or images, or some images
            cannot be evaluated on three actors.
    """
    given = with_absolute_paths(args, *_PATHS.split())
    step = math.ceil(IMAGES / batch) * batch  # so that no batch is divided
    parts = [Part(at, min(at + step, total)) for at in range(first, total, step)]
    if not parts:
        return
    with cluster(args.address, args.dashboard):
        if args.address is not None:
            check_nodes(given.images if args.what == 'folder' else given.data)
            if args.save_labels:
                check_nodes(given.out, JOURNAL)
        cpus, gpus, count = resources(args)
        count = min(count, len(parts))
        make = ray.remote(Evaluator).options(num_cpus=cpus, num_gpus=gpus)
        say(f'{total - first} images, {count} actors of {cpus} CPUs and {gpus:g} GPUs')

        def check(there: dict[str, Any]) -> str:
            if there != inputs:
                raise DataError(f'an actor has {there}, this process has {dict(inputs)}')
            return 'the same'

        def failed(part: Part, reason: str) -> None:
            raise DataError(f'{part.text} cannot be evaluated: {reason}')

        work = Dispatcher[Part](lambda: make.remote(given, cpus), count, check, failed)
        work.add(parts)
        yield from _in_order(work.results(), first)


def _in_order(results: Iterator[tuple[Part, list[Evaluated]]], first: int) -> Iterator[Evaluated]:
    """Yield the results of the images in order, with the time of all actors, start included."""
    waiting: dict[int, list[Evaluated]] = {}
    start = time.perf_counter()
    for part, found in results:
        waiting[part.first] = found
        ready: list[Evaluated] = []
        while following := waiting.pop(first + len(ready), None):
            ready += following
        if ready:
            now = time.perf_counter()
            share, start = (now - start) / len(ready), now
            first += len(ready)
            for evaluated in ready:
                yield replace(evaluated, seconds=share)
