# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""One row of the benchmark: a size, a batch, a precision."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from clip_dinoiser_ros.benchmark.arithmetic import Shape, authors_gflop, needed_gflop
from clip_dinoiser_ros.benchmark.authors import Authors
from clip_dinoiser_ros.benchmark.limits import Limits
from clip_dinoiser_ros.benchmark.machine import forget_peak_memory, peak_memory_mib
from clip_dinoiser_ros.benchmark.publishing import LabelPublisher, camera_message
from clip_dinoiser_ros.benchmark.stages import STAGES, Frames
from clip_dinoiser_ros.core import Segmenter, Vocabulary
from clip_dinoiser_ros.frames import images

LEAST_REPEATS = 3
MOST_REPEATS = 500


@dataclass(frozen=True)
class BenchmarkRow:
    """Measurements of one size and batch; times in milliseconds, for the whole batch.

    Attributes:
        size: Size (H, W) of the images.
        grid: Size (h, w) in patches.
        batch: Number of images segmented together.
        precision: fp32, bf16 or fp16.
        repeats: Number of repetitions.
        stages_ms: Median of each of `STAGES`, with synchronisation after each.
        frame_ms: Median and 95th percentile from camera message to label message.
        segment_ms: Median and 95th percentile of the segmentation alone.
        images_per_s: From the median of the whole frame.
        peak_memory_mib: Peak memory of the process, or of the GPU.
        gflop: Operations that the batch needs.
        shortest_ms: Shortest possible time for them, by the limits measured in this run.
        share: Share of the limit that the median of the segmentation reaches, 0 to 1.
        authors_ms: Median of the published code on the same images, one by one; None: not run.
        ratio: Median of the published code divided by ours; above 1: ours is faster; None: not run.
        same_labels: Share of pixels with the same label in the published code; None: not run.
    """

    size: tuple[int, int]
    grid: tuple[int, int]
    batch: int
    precision: str
    repeats: int
    stages_ms: dict[str, float]
    frame_ms: tuple[float, float]
    segment_ms: tuple[float, float]
    images_per_s: float
    peak_memory_mib: float
    gflop: float
    shortest_ms: float
    share: float
    authors_ms: float | None = None
    authors_gflop: float | None = None
    ratio: float | None = None
    same_labels: float | None = None


def measure_row(
    segmenter: Segmenter,
    vocabulary: Vocabulary,
    size: tuple[int, int],
    batch: int,
    seconds: float,
    limits: Limits,
    publisher: LabelPublisher,
    authors: Authors | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> BenchmarkRow:
    """Measure one size and batch, with the published code in turn with ours."""
    frames = Frames(segmenter, vocabulary, size, batch, publisher, clock)
    h, w = segmenter.grid(*size)
    patch = segmenter.patch_size
    # the published code does not resize: it gets the resized image, made before the clock starts
    resized = [_resize(image, (h * patch, w * patch)) for image in frames.rgb()]
    forget_peak_memory(segmenter.device)
    frames.whole()  # warms up
    frames.stage_by_stage()
    peak = peak_memory_mib(segmenter.device)
    if authors is not None:
        authors.segment(resized[0])
    frames.times.ms.clear()
    start, repeats = time.perf_counter(), 0
    while repeats < LEAST_REPEATS or time.perf_counter() - start < seconds:
        frames.whole()
        frames.stage_by_stage()
        if authors is not None:
            with frames.times.measure('authors', segmenter.device):
                for image in resized:
                    authors.segment(image)
        repeats += 1
        if repeats == MOST_REPEATS:
            break
    times, shape = frames.times, _shape(segmenter)
    gflop = batch * needed_gflop(h * w, len(vocabulary), shape)
    shortest_ms = limits.shortest_ms(gflop, _weight_bytes(segmenter) / 1e9)
    theirs: dict[str, Any] = {}
    if authors is not None:
        theirs = {
            'authors_ms': times.median('authors'),
            'authors_gflop': batch * authors_gflop(h * w, len(vocabulary), shape),
            'ratio': times.median('authors') / times.median('segment'),
            'same_labels': _same_labels(segmenter, vocabulary, authors, resized[0]),
        }
    return BenchmarkRow(
        size=size,
        grid=(h, w),
        batch=batch,
        precision=segmenter.precision,
        repeats=repeats,
        stages_ms={stage: times.median(stage) for stage in STAGES},
        frame_ms=(times.median('frame'), times.p95('frame')),
        segment_ms=(times.median('segment'), times.p95('segment')),
        images_per_s=1e3 * batch / times.median('frame'),
        peak_memory_mib=peak,
        gflop=gflop,
        shortest_ms=shortest_ms,
        share=shortest_ms / times.median('segment'),
        **theirs,
    )


def camera_image(segmenter: Segmenter, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Return a camera image of size (H, W), resized to the input of the image tower."""
    h, w = segmenter.grid(*size)
    patch = segmenter.patch_size
    return _resize(images.to_rgb(camera_message(*size, 0)), (h * patch, w * patch))


def _resize(image: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    resized = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
    return resized.astype(np.uint8, copy=False)


def _same_labels(
    segmenter: Segmenter, vocabulary: Vocabulary, authors: Authors, image: npt.NDArray[np.uint8]
) -> float:
    ours = segmenter.segment(image, vocabulary).labels
    return float((ours == authors.segment(image)).mean())


def _shape(segmenter: Segmenter) -> Shape:
    pipeline = segmenter.pipeline
    visual, heads = pipeline.backbone.visual, pipeline.heads
    return Shape(
        width=pipeline.backbone.width,
        blocks=len(visual.transformer.resblocks),
        patch=segmenter.patch_size,
        embedding=visual.proj.shape[1],
        affinity=heads.obj_proj.out_channels,
    )


def _weight_bytes(segmenter: Segmenter) -> int:
    """Bytes of the weights, which must be read at least once for each batch."""
    parts = (segmenter.pipeline.backbone, segmenter.pipeline.heads)
    return sum(p.numel() * p.element_size() for part in parts for p in part.parameters())
