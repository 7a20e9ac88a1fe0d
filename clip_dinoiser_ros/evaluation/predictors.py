# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The two protocols of an evaluation: the paper's windows, or what the node computes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import groupby
from types import SimpleNamespace
from typing import Any

import numpy as np

from clip_dinoiser_ros.core import Segmenter
from clip_dinoiser_ros.core.errors import one_line
from clip_dinoiser_ros.core.memory import is_out_of_memory
from clip_dinoiser_ros.evaluation.items import Item, Rgb
from clip_dinoiser_ros.evaluation.metric import NO_CLASS, Labels
from clip_dinoiser_ros.evaluation.samples import SampleError
from clip_dinoiser_ros.evaluation.segmenting import WindowSegmenter, resize
from clip_dinoiser_ros.frames.class_ids import unlabelled_id
from clip_dinoiser_ros.frames.process import DecodedFrame, Processor
from clip_dinoiser_ros.frames.settings import Active


class PaperPredictor:
    """The paper's protocol; see `Predictor`.

    Args:
        segmenter: Segments by windows.
        patch: Side of a patch in pixels.
        batch: Number of images whose windows are segmented together.
    """

    def __init__(self, segmenter: WindowSegmenter, patch: int, batch: int) -> None:
        self._segmenter, self._patch = segmenter, patch
        self.batch = batch

    def prepare(self, image: Rgb) -> Rgb:
        """Resize for the windows."""
        small = resize(image) if min(image.shape[:2]) else image
        if min(small.shape[:2]) < self._patch:
            raise SampleError(
                f'an image of {image.shape[1]}x{image.shape[0]} pixels is too narrow: resized, '
                f'its short side is less than a patch of {self._patch} pixels'
            )
        return small

    def predict(self, items: Sequence[Item]) -> Sequence[Labels | str]:
        """Segment images; see `Predictor`."""
        resized = [item.prepared for item in items]
        sizes = [item.image.shape[:2] for item in items if item.image is not None]
        found = self._segmenter.segment(resized, sizes)
        return [labels.cpu().numpy().astype(np.uint16) for labels in found]

    def reset(self) -> None:
        """Do nothing: images are segmented independently."""


class NodePredictor:
    """The processing of the node, with its settings; see `Predictor`.

    Args:
        segmenter: The model.
        active: Settings and vocabulary of the node.
        batch: Number of images of one size segmented together.
    """

    def __init__(self, segmenter: Segmenter, active: Active, batch: int) -> None:
        self._processor = Processor(segmenter, logging.getLogger(__name__))
        self._active = active
        self.batch = batch

    def prepare(self, image: Rgb) -> Any:
        """Do nothing: the node takes images as they are."""

    def predict(self, items: Sequence[Item]) -> Sequence[Labels | str]:
        """Segment images in order; see `Predictor`."""
        found: list[Labels | str] = []
        for _, same in groupby(items, key=_size):
            group = list(same)
            frames = [_frame(item) for item in group]
            for item, outcome in zip(
                group, self._processor.process(frames, self._active), strict=True
            ):
                if not isinstance(outcome, Exception):
                    ids = outcome.shown.labels
                    unlabelled = unlabelled_id(self._active.table)
                    found.append(np.where(ids == unlabelled, NO_CLASS, ids).astype(np.uint16))
                elif isinstance(outcome, ValueError) or is_out_of_memory(outcome):
                    found.append(f'{item.name}: {one_line(outcome)}')
                else:
                    raise outcome
        return found

    def reset(self) -> None:
        """Forget earlier images, for temporal smoothing."""
        self._processor.reset()


def _size(item: Item) -> tuple[int, ...]:
    return () if item.image is None else item.image.shape


def _frame(item: Item) -> DecodedFrame:
    assert item.image is not None
    seconds, nanoseconds = divmod(item.stamp_ns, 10**9)
    header = SimpleNamespace(stamp=SimpleNamespace(sec=seconds, nanosec=nanoseconds), frame_id='')
    return DecodedFrame('camera', header, item.image, 0.0)
