# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""From decoded frames to all their outputs, for node and recordings."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from clip_dinoiser_ros.core import Segmentation, Segmenter
from clip_dinoiser_ros.core.edges import refine
from clip_dinoiser_ros.core.objects import Objects, find_objects
from clip_dinoiser_ros.core.segmentation import Patches, enlarge_all
from clip_dinoiser_ros.core.smoothing import Smoothing
from clip_dinoiser_ros.core.tracking import Tracking
from clip_dinoiser_ros.frames.class_ids import published_classes
from clip_dinoiser_ros.frames.cloud_messages import CloudSource
from clip_dinoiser_ros.frames.guard import FinalErrors, Guard, computes
from clip_dinoiser_ros.frames.images import stamp_ns
from clip_dinoiser_ros.frames.located import ObjectSource
from clip_dinoiser_ros.frames.outputs import (
    MAX_CLASS_CONFIDENCES_BYTES,
    FrameImages,
    class_mask,
    encode_confidence,
    frame_images,
    leaves_as_mono8,
    scaled_size,
    shrink,
    within,
)
from clip_dinoiser_ros.frames.overlay import draw_overlay
from clip_dinoiser_ros.frames.region import region_mask
from clip_dinoiser_ros.frames.settings import Active

Pixels = tuple[npt.NDArray[Any], str]  # an array (H, W) or (H, W, k), and its image encoding


class OutputTooLargeError(ValueError):
    """An output needs too much memory; says how much, and what is allowed."""


@dataclass(frozen=True, eq=False)
class DecodedFrame:
    """One camera image, decoded.

    Attributes:
        camera: Name of the camera.
        header: std_msgs/Header of the image message, published unchanged.
        image: uint8 (H, W, 3) RGB.
        decode_ms: How long decoding took, in milliseconds.
        with_features: Its features are wanted.
    """

    camera: str
    header: Any
    image: npt.NDArray[np.uint8]
    decode_ms: float
    with_features: bool = False


@dataclass(frozen=True, eq=False)
class FrameOutputs:
    """One segmented frame and its outputs, which are made on demand.

    Attributes:
        frame: The decoded camera image.
        patches: The classes at patch resolution; with `edges`, in smaller cells.
        result: The classes of every pixel, at the published size (`output_scale`).
        active: The settings and the vocabulary it was segmented with.
        batch_size: Frames in the batch.
        segment_ms: How long the model took for the batch, in milliseconds.
        tracking: Numbers objects from frame to frame, with the setting `track`.
    """

    frame: DecodedFrame
    patches: Patches
    result: Segmentation
    active: Active
    batch_size: int
    segment_ms: float
    tracking: Tracking = field(default_factory=Tracking)

    @property
    def header(self) -> Any:
        """Header of the camera image."""
        return self.frame.header

    @property
    def size(self) -> tuple[int, int]:
        """Size (H, W) of all outputs of the frame."""
        height, width = self.result.labels.shape
        return height, width

    @property
    def image_size(self) -> tuple[int, int]:
        """Size (H, W) of the camera image."""
        height, width, _ = self.frame.image.shape
        return height, width

    @cached_property
    def shown(self) -> FrameImages:
        """The published labels and confidence."""
        settings = self.active.settings
        return frame_images(
            self.result,
            self.active.table,
            settings.min_confidence,
            settings.confidence_encoding,
            region_mask(settings.camera(self.frame.camera).region, self.size),
        )

    @cached_property
    def small_image(self) -> npt.NDArray[np.uint8]:
        """The camera image at the size of the labels, uint8 (H, W, 3) RGB."""
        return shrink(self.frame.image, self.size)

    @property
    def labels(self) -> Pixels:
        """Class ids (H, W): uint8 as mono8, or uint16 as mono16."""
        return self.shown.labels, self.shown.labels_encoding

    @property
    def confidence(self) -> Pixels:
        """Confidence (H, W): uint8 as mono8, or float32 as 32FC1."""
        return self.shown.confidence, self.shown.confidence_encoding

    @cached_property
    def overlay(self) -> npt.NDArray[np.uint8]:
        """The image tinted by class, with a legend: uint8 (H, W, 3) RGB."""
        vocabulary = self.active.vocabulary
        return draw_overlay(
            self.small_image,
            self.result.labels,
            vocabulary.names,
            [int(class_id) for class_id in self.active.table],
            self.shown.labelled,
            vocabulary.background,
            self.result.confidence,
        )

    def class_mask(self, index: int) -> Pixels:
        """Return 255 where the labels show a class of the vocabulary, else 0: uint8 (H, W)."""
        return class_mask(self.shown.labels, int(self.active.table[index])), 'mono8'

    def class_confidence(self, index: int) -> Pixels:
        """Return the probability of a class of the vocabulary (H, W), encoded as the confidence."""
        # one class at a time: all classes of a large image can take gigabytes
        (maps,) = within(self.patches.class_confidences(self.size, [index]), self.shown.inside)
        encoding = self.active.settings.confidence_encoding
        return encode_confidence(maps, encoding), encoding

    def class_confidences(self) -> Pixels:
        """Return the probabilities of all published classes: float32 (H, W, k), 32FCk.

        Raises:
            OutputTooLargeError: They would take more than `MAX_CLASS_CONFIDENCES_BYTES`.
        """
        (height, width), count = self.size, published_classes(self.active.table)
        size = 4 * height * width * count
        if size > MAX_CLASS_CONFIDENCES_BYTES:
            raise OutputTooLargeError(
                f'{count} classes of {width}x{height} pixels need {size / 2**20:.0f} MiB, at most '
                f'{MAX_CLASS_CONFIDENCES_BYTES // 2**20} are allowed; use fewer prompts or smaller '
                'images'
            )
        maps = self.patches.class_confidences(self.size, range(count))
        return np.moveaxis(within(maps, self.shown.inside), 0, -1), f'32FC{count}'

    @cached_property
    def objects(self) -> Objects:
        """The objects in the published labels, of the classes in `object_classes`."""
        return find_objects(
            self.shown.labels,
            self.result.confidence,
            list(self._object_classes),
            self.active.settings.min_object_size,
        )

    @cached_property
    def _object_classes(self) -> dict[int, str]:
        """Name by class id of what can be an object; by default all but the background."""
        wanted, vocabulary = self.active.settings.object_classes, self.active.vocabulary
        count = published_classes(self.active.table)
        return {
            int(self.active.table[index]): name
            for index, name in enumerate(vocabulary.names[:count])
            if (name in wanted if wanted else index != vocabulary.background)
        }

    @cached_property
    def object_names(self) -> tuple[str, ...]:
        """The class of each object."""
        return tuple(self._object_classes[one.label] for one in self.objects.found)

    @cached_property
    def object_ids(self) -> tuple[str, ...]:
        """The id of each object: its value in `instances`, or the same in all frames (`track`)."""
        numbers: Sequence[int] = range(1, len(self.objects.found) + 1)
        if self.active.settings.track:
            numbers = self.tracking.follow(
                self.frame.camera, stamp_ns(self.header), self.objects, self.object_names
            )
        return tuple(map(str, numbers))

    @property
    def instances(self) -> Pixels:
        """Index of the object + 1 in every pixel, 0 where no object is: uint16 (H, W)."""
        return self.objects.instances, 'mono16'


def cloud_source(frame: FrameOutputs) -> CloudSource:
    """Return the input of the labelled cloud of a frame, without the depth."""
    return CloudSource(
        header=frame.header,
        image=frame.small_image,
        labels=frame.shown.labels,
        confidence=frame.shown.certainty,
        settings=frame.active.settings,
        image_size=frame.image_size,
    )


def object_source(frame: FrameOutputs) -> ObjectSource:
    """Return the objects of a frame, without the depth that locates them."""
    return ObjectSource(
        header=frame.header,
        objects=frame.objects,
        names=frame.object_names,
        ids=frame.object_ids,
        settings=frame.active.settings,
        image_size=frame.image_size,
    )


class Processor:
    """Segments decoded frames of one size; keeps the state of temporal smoothing.

    Args:
        segmenter: The model.
        logger: Told when memory is short; see `Guard`.

    Attributes:
        errors: Separates errors that end the process from those that cost a frame.
        tracking: Numbers objects from frame to frame.
    """

    def __init__(self, segmenter: Segmenter, logger: Any) -> None:
        self._segmenter = segmenter
        self.errors = FinalErrors(lambda: computes(segmenter.device))
        self._guard = Guard(self._segment, self.errors, logger, segmenter.free_memory)
        self._smoothing = Smoothing()
        self.tracking = Tracking()

    def process(
        self, frames: Sequence[DecodedFrame], active: Active
    ) -> list[FrameOutputs | Exception]:
        """Segment frames of one size as one batch, or one by one where memory is short.

        Args:
            frames: In the order of their stamps, as temporal smoothing needs it.
            active: Settings and vocabulary.

        Returns:
            The outputs of each frame, or the error that prevented them.

        Raises:
            FinalError: The device failed for good.
        """
        start = time.perf_counter()
        outcomes = self._guard.run([(frame, active) for frame in frames])
        segment_ms = 1e3 * (time.perf_counter() - start)
        return [
            outcome
            if isinstance(outcome, Exception)
            else FrameOutputs(frame, *outcome, active, len(frames), segment_ms, self.tracking)
            for frame, outcome in zip(frames, outcomes, strict=True)
        ]

    def reset(self) -> None:
        """Forget earlier frames, after a jump of the clock."""
        self._smoothing.reset()
        self.tracking.reset()

    def _segment(
        self, tasks: Sequence[tuple[DecodedFrame, Active]]
    ) -> list[tuple[Patches, Segmentation]]:
        """Run the model on frames of one size."""
        frames, active = [frame for frame, _ in tasks], tasks[0][1]
        settings = active.settings
        found = self._segmenter.segment_patches(
            [frame.image for frame in frames],
            active.vocabulary,
            settings.gamma,
            settings.delta,
            any(frame.with_features for frame in frames),
        )
        steady = [
            self._smoothing.smooth(
                frame.camera, stamp_ns(frame.header), patches, settings.temporal_smoothing
            )
            for frame, patches in zip(frames, found, strict=True)
        ]
        refined = [
            refine(patches, frame.image, settings.edges)
            for frame, patches in zip(frames, steady, strict=True)
        ]
        size = scaled_size(frames[0].image.shape[:2], settings.output_scale)
        mono8 = leaves_as_mono8(
            self._segmenter.device.type, settings.confidence_encoding, settings.min_confidence
        )
        return list(zip(refined, enlarge_all(refined, size, mono8), strict=True))
