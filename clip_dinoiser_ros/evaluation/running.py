# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The evaluation itself: run images through a model and count the results."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from tqdm import tqdm

from clip_dinoiser_ros.bag.output_files import replace_file
from clip_dinoiser_ros.core.memory import is_out_of_memory
from clip_dinoiser_ros.evaluation.boundaries import WIDTHS, count_near_edges
from clip_dinoiser_ros.evaluation.items import Item, Rgb, Source, in_groups
from clip_dinoiser_ros.evaluation.journal import Evaluated, Journal
from clip_dinoiser_ros.evaluation.metric import Counts, Labels
from clip_dinoiser_ros.evaluation.samples import DataError


class Predictor(Protocol):
    """Segments images."""

    batch: int  # images at once

    def prepare(self, image: Rgb) -> Any:
        """Preprocess without the model; called from several threads, raises SampleError."""
        ...

    def predict(self, items: Sequence[Item]) -> Sequence[Labels | str]:
        """Return class indices or `NO_CLASS`, uint16 (H, W), or why the image was left out."""
        ...

    def reset(self) -> None:
        """Forget earlier images."""
        ...


@dataclass
class Outcome:
    """The result of all images so far.

    Attributes:
        counts: Counts of all pixels.
        edges: Counts of pixels near an edge, by the width of the band in pixels.
        scores: Index and mean IoU of each image that has one.
        left_out, odd: One line for each image that was left out, or has unknown labels.
        images: Number of images evaluated.
        seconds: Time spent on them, in all runs.
    """

    counts: Counts
    edges: dict[int, Counts]
    scores: list[tuple[float, int]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)
    images: int = 0
    seconds: float = 0.0

    @classmethod
    def empty(cls, classes: int) -> Outcome:
        """Return an outcome without images."""
        zero = Counts.zero(classes)
        return cls(zero, dict.fromkeys(WIDTHS, zero))

    @property
    def images_per_second(self) -> float:
        """Images per second, reading, model, merging and counting included."""
        return self.images / self.seconds if self.seconds else 0.0

    def add(self, number: int, evaluated: Evaluated) -> None:
        """Add one image."""
        self.seconds += evaluated.seconds
        if evaluated.damage:
            self.left_out.append(evaluated.damage)
        if evaluated.odd:
            self.odd.append(evaluated.odd)
        if evaluated.counts is None:
            return
        self.images += 1
        self.counts += evaluated.counts
        for width, counts in evaluated.edges.items():
            self.edges[width] += counts
        miou = evaluated.counts.miou
        if not math.isnan(miou):
            self.scores.append((miou, number))


def evaluate(
    results: Callable[[int], Iterator[Evaluated]],
    total: int,
    journal: Journal,
    classes: int,
    name: str = '',
) -> Outcome:
    """Evaluate all images that are not in the journal yet.

    Args:
        results: Evaluates the images from an index on, in order; see `evaluated_images`.
        total: Number of images.
        journal: Holds the results of earlier runs; each new image is appended.
        classes: K.
        name: Text of the progress bar.

    Raises:
        DataError: No image could be evaluated.
    """
    outcome = Outcome.empty(classes)
    first = 0
    for evaluated in journal.earlier():
        outcome.add(first, evaluated)
        first += 1
    with (
        tqdm(
            total=total, initial=first, desc=name, unit='image', disable=None, file=sys.stderr
        ) as bar,
        closing(results(first)) as found,  # type: ignore[type-var]
    ):
        for number, evaluated in enumerate(found, first):
            journal.add(evaluated)
            outcome.add(number, evaluated)
            bar.set_postfix_str(f'mIoU {100 * outcome.counts.miou:.2f} %', refresh=False)
            bar.update()
    if not outcome.images:
        raise DataError('\n'.join(['no image could be evaluated', *outcome.left_out[:20]]))
    return outcome


def evaluated_images(
    source: Source,
    predictor: Predictor,
    classes: int,
    first: int = 0,
    save: Callable[[str, Labels], None] | None = None,
) -> Iterator[Evaluated]:
    """Segment images one after another, and count the results.

    Args:
        source: The images.
        predictor: The model.
        classes: K.
        first: Index of the first image.
        save: Called with the name and the predicted labels of each image.

    Raises:
        ValueError: The device ran out of memory.
    """
    start = time.perf_counter()
    with (
        closing(source.items(first, predictor.prepare)) as items,  # type: ignore[type-var]
        ThreadPoolExecutor(1) as pool,
    ):
        counting = (
            pool.submit(_count_group, group, _predict(predictor, group), classes, save)
            for group in in_groups(items, predictor.batch)
        )
        # the next group is predicted before the result of this one is needed
        for counted, _ in pairwise(chain(counting, [None])):
            assert counted is not None
            results = counted.result()
            now = time.perf_counter()
            share, start = (now - start) / len(results), now
            yield from (replace(result, seconds=share) for result in results)


def _predict(predictor: Predictor, group: Sequence[Item]) -> Sequence[Labels | str]:
    """Segment the images of a group that are whole."""
    items = [item for item in group if not item.damage]
    try:
        return predictor.predict(items) if items else []
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise ValueError(
                f'out of memory with --batch {predictor.batch}; use a smaller batch ({error})'
            ) from error
        raise


def _count_group(
    group: Sequence[Item],
    found: Sequence[Labels | str],
    classes: int,
    save: Callable[[str, Labels], None] | None,
) -> list[Evaluated]:
    """Count and save the labels of a group; `found` are those of its whole images."""
    predicted, done = iter(found), []
    for item in group:
        labels = item.damage or next(predicted)
        if isinstance(labels, str):
            done.append(Evaluated(item.name, damage=labels))
        elif item.truth is None:
            done.append(Evaluated(item.name))
        else:
            if save is not None:
                save(item.name, labels)
            counts = Counts.of(item.truth, labels, classes)
            edges = count_near_edges(item.truth, labels, classes)
            done.append(Evaluated(item.name, counts, edges, odd=item.odd))
    return done


def predict_again(
    source: Source, predictor: Predictor, numbers: Sequence[int]
) -> dict[int, tuple[Item, Labels]]:
    """Segment the given images again, to draw them."""
    again: dict[int, tuple[Item, Labels]] = {}
    for number, item in zip(sorted(numbers), source.pick(numbers, predictor.prepare), strict=True):
        if not item.damage:
            predictor.reset()
            (labels,) = _predict(predictor, [item])
            if not isinstance(labels, str):
                again[number] = (item, labels)
    return again


def save_labels(folder: Path, classes: int) -> Callable[[str, Labels], None]:
    """Return a function that writes labels as PNG of 8 bits, or of 16 for more than 255 classes.

    Args:
        folder: Folder for NAME.png.
        classes: K. Pixels of no class are 255 or 65535.
    """
    dtype = np.uint8 if classes <= 255 else np.uint16
    top = np.iinfo(dtype).max

    def save(name: str, labels: Labels) -> None:
        path = folder / f'{name}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        small = np.where(labels < classes, labels, top).astype(dtype)
        _, content = cv2.imencode('.png', small)
        replace_file(path, content.tobytes())

    return save
