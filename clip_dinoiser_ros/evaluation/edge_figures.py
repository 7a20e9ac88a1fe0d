# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Measure `edges` on the generated drive: clean, and degraded as by a bad camera."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from clip_dinoiser_ros.core import Segmenter, Vocabulary
from clip_dinoiser_ros.core.edges import STEPS, refine
from clip_dinoiser_ros.core.segmentation import Patches
from clip_dinoiser_ros.evaluation.boundaries import edge_distance
from clip_dinoiser_ros.evaluation.demo_model import IGNORED, Confusion, true_indices
from clip_dinoiser_ros.evaluation.edge_filters import FILTERS, refine_by
from clip_dinoiser_ros.evaluation.flicker import Steadiness
from clip_dinoiser_ros.frames.overlay import colour
from clip_dinoiser_ros.world.render import Scene

Rgb = npt.NDArray[np.uint8]
NEAR = 4  # pixels from an edge of the true labels
BLUR_SIGMA = 2.0  # pixels
NOISE_SIGMA = 15.0  # of 255
MOTION = 15  # pixels of motion during the exposure
LIGHT = 0.3  # remaining part of the light
READ_NOISE = 2.0  # of 255, in low light
ELECTRONS = 1.5  # per step of 255, for shot noise
JPEG_QUALITY = 50
PICTURE_QUALITY = 80
OTHER_TIME = 'depth of the next frame'  # the depth image is not of the same moment
SHOWN = ('clean', 'low light', 'JPEG 50')  # in the picture
CROP = np.s_[120:420, 160:560]  # of 640x480


def _noise(image: Rgb, chance: np.random.Generator) -> Rgb:
    return _as_image(image + chance.normal(0.0, NOISE_SIGMA, image.shape))


def _blur(image: Rgb, chance: np.random.Generator) -> Rgb:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), BLUR_SIGMA), np.uint8)


def _motion(image: Rgb, chance: np.random.Generator) -> Rgb:
    return np.asarray(cv2.blur(image, (MOTION, 1)), np.uint8)


def _low_light(image: Rgb, chance: np.random.Generator) -> Rgb:
    electrons = chance.poisson(ELECTRONS * LIGHT * image.astype(np.float64))
    return _as_image(electrons / ELECTRONS + chance.normal(0.0, READ_NOISE, image.shape))


def _jpeg(image: Rgb, chance: np.random.Generator) -> Rgb:
    _, content = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return np.asarray(cv2.imdecode(content, cv2.IMREAD_UNCHANGED), np.uint8)


def _as_image(values: npt.NDArray[np.float64]) -> Rgb:
    return values.round().clip(0, 255).astype(np.uint8)


CONDITIONS: dict[str, Callable[[Rgb, np.random.Generator], Rgb]] = {
    'clean': lambda image, chance: image,
    'noise': _noise,
    'blur': _blur,
    'low light': _low_light,
    'JPEG 50': _jpeg,
    'camera motion': _motion,
    OTHER_TIME: lambda image, chance: image,
}


@dataclass
class Figure:
    """Result of one way to sharpen under one condition.

    Attributes:
        steadiness: Counts of all pixels, and of pixels that flicker between consecutive frames.
        near, near_right: Pixels near an edge of the true labels, and how many of them are right.
        seconds: Processor time of the sharpening, all cores together.
        frame_seconds: Processor time of everything else: model and enlarging.
        frames: Number of frames.
    """

    steadiness: Steadiness
    near: int = 0
    near_right: int = 0
    seconds: float = 0.0
    frame_seconds: float = 0.0
    frames: int = 0


def frames_in_pairs(scenes: Iterable[Scene], pairs: int, total: int) -> Iterator[list[Scene]]:
    """Return pairs of consecutive frames, evenly spaced over `total` frames of a drive."""
    starts = {round(pair * (total - 2) / max(1, pairs - 1)) for pair in range(pairs)}
    last: Scene | None = None
    for number, shown in enumerate(scenes):
        if number - 1 in starts and last is not None:
            yield [last, shown]
        last = shown


def ways(compare: bool) -> dict[str, Callable[[Patches, Rgb], Patches]]:
    """Return the ways to sharpen: the modes of `edges`, and with `compare` also other filters."""
    found: dict[str, Callable[[Patches, Rgb], Patches]] = {
        mode: lambda patches, image, mode=mode: refine(patches, image, mode) for mode in STEPS
    }
    if compare:
        for name in FILTERS:
            found[name] = lambda patches, image, name=name: refine_by(patches, image, name)
    return found


def measure_edges(
    segmenter: Segmenter,
    vocabulary: Vocabulary,
    pairs: Sequence[Sequence[Scene]],
    condition: str,
    compare: bool = False,
) -> dict[str, Figure]:
    """Sharpen the frames in every way and measure the results.

    Args:
        segmenter: The model.
        vocabulary: The classes.
        pairs: From `frames_in_pairs`.
        condition: One of `CONDITIONS`, applied to the image before segmentation. With `OTHER_TIME`
            each frame of a pair gets the depth image of the other, as from a depth camera that is
            late. A point takes its label from the image and its place from the depth, so what is
            true is the class that the depth image saw in that pixel.
        compare: Also measure other filters.
    """
    chosen = ways(compare)
    figures = {name: Figure(Steadiness(0.0, Confusion(vocabulary.names))) for name in chosen}
    for number, pair in enumerate(pairs):
        for figure in figures.values():
            figure.steadiness.cut()
        for place, shown in enumerate(pair):
            chance = np.random.default_rng([number, place])
            image = CONDITIONS[condition](shown.image, chance)
            measured = pair[1 - place] if condition == OTHER_TIME else shown
            truth = true_indices(measured.labels, vocabulary.names)
            near = (edge_distance(truth) <= NEAR) & (truth != IGNORED)
            start = time.process_time()
            (patches,) = segmenter.segment_patches([image], vocabulary)
            model_s = time.process_time() - start
            for name, way in chosen.items():
                start = time.process_time()
                sharp = way(patches, image)
                middle = time.process_time()
                labels = sharp.enlarge(truth.shape).labels
                end = time.process_time()
                figure = figures[name]
                figure.seconds += middle - start
                figure.frame_seconds += model_s + end - middle
                figure.frames += 1
                figure.near += int(near.sum())
                figure.near_right += int((labels == truth)[near].sum())
                figure.steadiness.add(truth, labels)
    return figures


def table(found: dict[str, dict[str, Figure]]) -> str:
    """Write a Markdown table of conditions and ways."""
    lines = [
        f'| | | mIoU | right within {NEAR} pixels of an edge | flicker | share of CPU time |',
        '| --- | --- | --- | --- | --- | --- |',
    ]
    for condition, figures in found.items():
        for name, figure in figures.items():
            whole = figure.seconds + figure.frame_seconds
            steadiness = figure.steadiness
            lines.append(
                f'| {condition if name == "off" else ""} | {name} '
                f'| {100 * steadiness.confusion.miou():.1f} '
                f'| {figure.near_right / max(1, figure.near):.1%} | {steadiness.flicker:.2%} '
                f'| {figure.seconds / whole:.0%} |'
            )
    return '\n'.join(lines)


def draw_pictures(
    path: Path,
    segmenter: Segmenter,
    vocabulary: Vocabulary,
    shown: Scene,
) -> None:
    """Write an image with one row per condition: image, labels (off, fast), true labels.

    Args:
        path: PNG or JPEG file.
        segmenter: The model.
        vocabulary: The classes.
        shown: The frame.
    """
    truth = true_indices(shown.labels, vocabulary.names)
    rows = []
    for condition in SHOWN:
        image = CONDITIONS[condition](shown.image, np.random.default_rng(0))
        (patches,) = segmenter.segment_patches([image], vocabulary)
        columns = [image]
        for mode in ('off', 'fast'):
            labels = refine(patches, image, mode).enlarge(truth.shape).labels
            columns.append(_tinted(image, labels))
        columns.append(_tinted(shown.image, truth))
        rows.append(np.concatenate([column[CROP] for column in columns], axis=1))
    picture = np.concatenate(rows)
    bgr = np.ascontiguousarray(picture[..., ::-1])
    cv2.imwrite(str(path), bgr, [cv2.IMWRITE_JPEG_QUALITY, PICTURE_QUALITY])


def _tinted(image: Rgb, labels: npt.NDArray[Any]) -> Rgb:
    """Draw labels in colour over the grey image; unlabelled pixels stay grey."""
    colours = np.array([colour(index) for index in range(256)], np.float32)
    grey = image.mean(axis=2, keepdims=True)
    tint = np.where((labels == IGNORED)[..., None], grey, colours[labels])
    return _as_image((0.4 * grey + 0.6 * tint).astype(np.float64))


def share(figures: dict[str, Figure]) -> str:
    """Return each way's share of the time of a frame as a Markdown table."""
    lines = ['| | ms of processor time | share of the frame |', '| --- | --- | --- |']
    for name, figure in figures.items():
        frames = max(1, figure.frames)
        whole = figure.seconds + figure.frame_seconds
        lines.append(
            f'| {name} | {1e3 * figure.seconds / frames:.0f} | {figure.seconds / whole:.1%} |'
        )
    return '\n'.join(lines)
