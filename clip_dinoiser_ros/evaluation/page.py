# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""An HTML page of the worst and the median images, with true labels, prediction and errors.

It is one file and needs no network and no scripts.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import jinja2
import numpy as np
import numpy.typing as npt

from clip_dinoiser_ros.evaluation.items import Item, Rgb
from clip_dinoiser_ros.evaluation.metric import IGNORED, Labels
from clip_dinoiser_ros.evaluation.outcome import put
from clip_dinoiser_ros.frames.overlay import colour

FILE = 'page.html'
PICTURES = 6  # of each kind
WIDTH = 480  # pixels, at most
MOST_CLASSES = 12  # in a legend
GREY, RED = (128, 128, 128), (220, 30, 30)
_TEMPLATE = Path(__file__).with_name('page.html.j2')


@dataclass(frozen=True)
class Example:
    """An image on the page.

    Attributes:
        name: Name of the image.
        miou: Mean IoU of this image, percent.
        pictures: Caption and data URI of each drawing of it.
        legend: Colour (#rrggbb), name, share of true and share of predicted pixels of each class
            in the image, largest first.
    """

    name: str
    miou: float
    pictures: Sequence[tuple[str, str]]
    legend: Sequence[tuple[str, str, str, str]]


def choose(scores: Sequence[tuple[float, int]]) -> tuple[list[int], list[int]]:
    """Choose images by their mean IoU: indices of the worst, and of those around the median.

    No image is chosen twice.
    """
    order = sorted(scores)
    worst = order[:PICTURES]
    rest = order[len(worst) :]
    middle = max(0, min(len(order) // 2 - PICTURES // 2 - len(worst), len(rest) - PICTURES))
    median = rest[middle : middle + PICTURES]
    return [number for _, number in worst], [number for _, number in median]


def write_page(
    path: Path,
    scores: Sequence[tuple[float, int]],
    names: Sequence[str],
    show: Callable[[Sequence[int]], Mapping[int, tuple[Item, Labels]]],
    facts: Mapping[str, str],
) -> None:
    """Write the page.

    Args:
        path: File to write.
        scores: Mean IoU and index of each image.
        names: Class names.
        show: Returns images by their indices, each with its predicted labels.
        facts: Rows of the table at the top.
    """
    by_number = {number: score for score, number in scores}
    worst, median = choose(scores)
    shown = show([*worst, *median])

    def examples(numbers: Sequence[int]) -> list[Example]:
        return [example(*shown[n], 100 * by_number[n], names) for n in numbers if n in shown]

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(_TEMPLATE.read_text(encoding='utf-8'))
    groups = [('Worst images', examples(worst)), ('Images around the median', examples(median))]
    put(path, template.render(facts=dict(facts), groups=groups))


def example(item: Item, labels: Labels, miou: float, names: Sequence[str]) -> Example:
    """Draw one image."""
    assert item.image is not None
    assert item.truth is not None
    wrong = (item.truth != IGNORED) & (item.truth != labels)
    errors = item.image.copy()
    errors[wrong] = errors[wrong] // 2 + np.array(RED, np.uint8) // 2
    errors[item.truth == IGNORED] = GREY
    pictures = [
        ('image', _jpeg(item.image)),
        ('truth', _png(_coloured(item.truth, len(names)))),
        ('prediction', _png(_coloured(labels, len(names)))),
        ('errors (red), ignored (grey)', _jpeg(errors)),
    ]
    return Example(item.name, miou, pictures, _legend(item.truth, labels, names))


def _legend(truth: Labels, labels: Labels, names: Sequence[str]) -> list[tuple[str, str, str, str]]:
    known = truth != IGNORED
    total = max(int(known.sum()), 1)
    true, found = (
        np.bincount(image[known & (image < len(names))], minlength=len(names)) / total
        for image in (truth, labels)
    )
    order = np.argsort(-np.maximum(true, found), kind='stable')[:MOST_CLASSES]
    return [
        (
            '#{:02x}{:02x}{:02x}'.format(*colour(int(i))),
            names[i],
            f'{true[i]:.1%}',
            f'{found[i]:.1%}',
        )
        for i in order
        if max(true[i], found[i]) > 0
    ]


def _coloured(labels: Labels, classes: int) -> Rgb:
    table = np.array([colour(index) for index in range(classes)] + [GREY], np.uint8)
    painted: Rgb = table[np.minimum(labels, classes)]
    return painted


def _small(image: Rgb, interpolation: int) -> Rgb:
    height, width = image.shape[:2]
    if width <= WIDTH:
        return image
    size = (WIDTH, max(1, round(height * WIDTH / width)))
    small: Any = cv2.resize(image, size, interpolation=interpolation)
    return small


def _jpeg(image: Rgb) -> str:
    return _address('jpeg', _encoded('.jpg', _small(image, cv2.INTER_AREA)))


def _png(image: Rgb) -> str:
    return _address('png', _encoded('.png', _small(image, cv2.INTER_NEAREST)))


def _encoded(suffix: str, image: Rgb) -> npt.NDArray[np.uint8]:
    _, content = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return np.asarray(content, np.uint8)


def _address(kind: str, content: npt.NDArray[np.uint8]) -> str:
    return f'data:image/{kind};base64,{base64.b64encode(content.tobytes()).decode()}'
