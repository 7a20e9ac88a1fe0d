# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""An evaluation on several processes or machines of a Ray cluster, with the same sums."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
import torch

from clip_dinoiser_ros.arguments import say
from clip_dinoiser_ros.core.transfer import digest_of
from clip_dinoiser_ros.evaluation.data_set_model import LoadedModel, evaluate_here, load_model
from clip_dinoiser_ros.evaluation.items import FileSource
from clip_dinoiser_ros.evaluation.journal import FILE as JOURNAL
from clip_dinoiser_ros.evaluation.journal import Evaluated
from clip_dinoiser_ros.evaluation.samples import DataError
from clip_dinoiser_ros.evaluation.tasks import Task, open_task
from clip_dinoiser_ros.fleet.cluster import check_nodes, resources
from clip_dinoiser_ros.fleet.cluster_arguments import with_absolute_paths
from clip_dinoiser_ros.fleet.dispatch import Dispatcher

IMAGES = 16  # for an actor at once, or a batch; their results are lost when it dies
_FILES = (
    'classes',
    'model',
    'pretrained',
    'heads',
    'templates',
    'dino_base',
    'dino_small',
    'found',
)
_FOLDERS = ('data', 'images', 'labels', 'quantized')


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
        return f'images {self.first + 1} to {self.last}'


def _inputs(args: argparse.Namespace, task: Task, model: LoadedModel) -> dict[str, Any]:
    """Return what must be the same in all processes."""
    templates = Path(args.templates)
    return {
        'images': task.source.about,
        'classes': model.names,
        'weights': model.weights,
        'templates': digest_of(templates, 64) if templates.is_file() else args.templates,
        'precision': model.precision,
    }


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
        """Load the model; return its inputs and the name of its device."""
        task = open_task(self._args)
        assert isinstance(task.source, FileSource)
        self._source, self._model = task.source, load_model(self._args, task)
        inputs = _inputs(self._args, task, self._model)
        return {'inputs': inputs, 'device': self._model.device_name}

    def run(self, part: Part, _: str) -> list[Evaluated]:
        """Evaluate some images."""
        return list(
            evaluate_here(self._args, self._source.part(part.first, part.last), self._model)
        )


class Actors:
    """Actors of the cluster that this process has joined.

    Args:
        args: Of the command.

    Raises:
        ClusterError: No actor fits, or a node does not see the data set.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = with_absolute_paths(args, _FILES, _FOLDERS)
        if args.out is not None:  # it is made later
            self._args.out = args.out.absolute()
        self._cpus, self._gpus, self._count = resources(args)
        self._devices: set[str] = set()
        self._start_s = 0.0
        if args.address is not None:
            for name in ('data', 'images', 'labels', 'classes'):
                if hasattr(args, name):
                    check_nodes(getattr(self._args, name))

    def circumstances(self) -> dict[str, Any]:
        """Return where the images of this run were evaluated; empty if there were none."""
        if not self._devices:
            return {}
        return {
            'device': ', '.join(sorted(self._devices)),
            'threads': self._cpus,
            'actors': self._count,
        }

    def evaluate(self, task: Task, model: LoadedModel, first: int) -> Iterator[Evaluated]:
        """Evaluate images.

        Args:
            task: What is evaluated.
            model: The model of this process, to compare those of the actors with it.
            first: Index of the first image.

        Yields:
            The result of each image, in order.

        Raises:
            ValueError: A node does not see the outputs, an actor has other weights or images, or
                some images cannot be evaluated on three actors.
        """
        args, inputs = self._args, _inputs(self._args, task, model)
        if args.address is not None and args.save_labels:
            check_nodes(args.out, JOURNAL)
        batch, total = model.predictor.batch, task.source.total
        step = math.ceil(IMAGES / batch) * batch  # so that no batch is divided
        parts = [Part(at, min(at + step, total)) for at in range(first, total, step)]
        self._count = min(self._count, len(parts))
        make = ray.remote(Evaluator).options(num_cpus=self._cpus, num_gpus=self._gpus)
        say(
            f'{total - first} images, {self._count} actors of {self._cpus} CPUs and '
            f'{self._gpus:g} GPUs'
        )

        def check(there: dict[str, Any]) -> str:
            _compare(there['inputs'], inputs)
            if not self._devices:
                self._start_s = time.perf_counter()
            self._devices.add(there['device'])
            return 'the same'

        def failed(part: Part, reason: str) -> None:
            raise DataError(f'{part.text} cannot be evaluated: {reason}')

        work = Dispatcher[Part](lambda: make.remote(args, self._cpus), self._count, check, failed)
        work.add(parts)
        return self._in_order(work.results(), first)

    def _in_order(
        self, results: Iterator[tuple[Part, list[Evaluated]]], first: int
    ) -> Iterator[Evaluated]:
        """Yield the results of the images in order, with the time of all actors together."""
        waiting: dict[int, list[Evaluated]] = {}
        for part, found in results:
            waiting[part.first] = found
            ready: list[Evaluated] = []
            while following := waiting.pop(first + len(ready), None):
                ready += following
            if ready:
                now = time.perf_counter()
                share, self._start_s = (now - self._start_s) / len(ready), now
                first += len(ready)
                for evaluated in ready:
                    yield replace(evaluated, seconds=share)


def _compare(there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    for what, value in here.items():
        if there[what] != value:
            raise DataError(
                f'an actor has other {what}: {there[what]}; this process has {value}; every node '
                'needs the same files under the same paths'
            )
