# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Time of every stage of a frame, and of whole frames as in the node."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from clip_dinoiser_ros.benchmark.limits import wait_for
from clip_dinoiser_ros.benchmark.publishing import LabelPublisher, camera_message
from clip_dinoiser_ros.core import Segmenter, Vocabulary
from clip_dinoiser_ros.core.dinoiser import DELTA, GAMMA
from clip_dinoiser_ros.core.pipeline import Query
from clip_dinoiser_ros.core.segmentation import Patches, enlarge_all
from clip_dinoiser_ros.frames import images
from clip_dinoiser_ros.frames.outputs import leaves_as_mono8

STAGES = (
    'decode',
    'upload',
    'preprocess',
    'backbone',
    'heads and pooling',
    'enlarge',
    'download',
    'publish',
)


@dataclass
class Times:
    """Collects the milliseconds of repeated work by name, from a clock in seconds."""

    clock: Callable[[], float] = time.perf_counter
    ms: dict[str, list[float]] = field(default_factory=dict)

    @contextmanager
    def measure(self, name: str, device: torch.device) -> Iterator[None]:
        """Time the `with` block, until the device has finished it."""
        start = self.clock()
        yield
        wait_for(device)
        self.ms.setdefault(name, []).append(1e3 * (self.clock() - start))

    def median(self, name: str) -> float:
        """Median of the times."""
        return float(np.median(self.ms[name]))

    def p95(self, name: str) -> float:
        """95th percentile of the times."""
        return float(np.percentile(self.ms[name], 95))


class Frames:
    """Frames of one size in a batch, as if from several cameras.

    Args:
        segmenter: The model.
        vocabulary: The classes.
        size: Size (H, W) of the images.
        batch: Number of images segmented together.
        publisher: Publishes labels and confidence.
        clock: Clock in seconds.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        vocabulary: Vocabulary,
        size: tuple[int, int],
        batch: int,
        publisher: LabelPublisher,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._segmenter = segmenter
        self._vocabulary = vocabulary
        self._size = size
        self._publisher = publisher
        self._messages = [camera_message(*size, seed) for seed in range(batch)]
        self._mono8 = leaves_as_mono8(segmenter.device.type, 'mono8', 0.0)
        self.times = Times(clock)

    def rgb(self) -> list[npt.NDArray[np.uint8]]:
        """Return the images, uint8 (H, W, 3)."""
        return [images.to_rgb(message) for message in self._messages]

    def whole(self) -> None:
        """Time a frame as in the node, message to message: 'frame', and within it 'segment'."""
        device = self._segmenter.device
        with self.times.measure('frame', device):
            rgb = self.rgb()
            with self.times.measure('segment', device):
                patches = self._segmenter.segment_patches(rgb, self._vocabulary)
                results = enlarge_all(patches, self._size, self._mono8)
            for result in results:
                self._publisher.publish(result)

    @torch.inference_mode()
    def stage_by_stage(self) -> None:
        """Time the same in stages, with synchronisation after each."""
        pipeline, device = self._segmenter.pipeline, self._segmenter.device
        vocabulary = self._vocabulary
        embeddings = vocabulary.embeddings.to(device)
        query = Query(embeddings, vocabulary.background, GAMMA, DELTA)
        measure = self.times.measure
        with measure('decode', device):
            rgb = self.rgb()
        with measure('upload', device):
            pixels = pipeline.preprocess.upload(rgb)
        with measure('preprocess', device):
            batches = [pipeline.preprocess(part) for part in pipeline.parts(pixels)]
        with measure('backbone', device):
            features = [pipeline.backbone(batch) for batch in batches]
        with measure('heads and pooling', device):
            found = [one for part in features for one in pipeline.classify(part, query).images()]
        extent = pipeline.preprocess.extent(*self._size)
        patches = [Patches(*one, extent, vocabulary) for one in found]
        with measure('enlarge', device):
            large = [one.enlarge_on_device(self._size) for one in patches]
        with measure('download', device):
            arriving = [
                one.begin_download(*both, self._mono8)
                for one, both in zip(patches, large, strict=True)
            ]
            results = [arrive() for arrive in arriving]
        with measure('publish', device):
            for result in results:
                self._publisher.publish(result)
