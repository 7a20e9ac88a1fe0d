# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The thread that segments: newest frames in, label images out, in order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
from sensor_msgs.msg import CompressedImage

from clip_dinoiser_ros.core import Segmentation, Segmenter
from clip_dinoiser_ros.core.segmentation import Patches, enlarge_all
from clip_dinoiser_ros.core.smoothing import Smoothing
from clip_dinoiser_ros.frames import compressed, images
from clip_dinoiser_ros.frames.outputs import leaves_as_mono8, scaled_size
from clip_dinoiser_ros.frames.stamps import stamp_ns
from clip_dinoiser_ros.msg import FrameInfo
from clip_dinoiser_ros.node.frames import Frame, FrameSlots
from clip_dinoiser_ros.node.guard import FinalError, FinalErrors, Guard, Watchdog, computes
from clip_dinoiser_ros.node.health import STAGES, Health
from clip_dinoiser_ros.node.publishers import Active, CameraPublishers, Segmented
from clip_dinoiser_ros.node.throttle import Throttle


@dataclass(frozen=True, eq=False)
class _Decoded:
    frame: Frame
    image: npt.NDArray[np.uint8]  # (H, W, 3) RGB
    decode_s: float


class Worker:
    """Segments the newest frame of every camera, over and over, in a thread of its own.

    It alone publishes, so that a new vocabulary is announced after the last frame of the old one
    and before the first frame of its own.

    Args:
        segmenter: The model.
        slots: Where the newest frames lie.
        publishers: Per camera.
        active: Returns what the next frame is to be segmented with.
        health: Told what becomes of frames.
        logger: `error(text)` is called for frames that cannot be used.
        ends: Called with a reason when this process cannot segment any more.
        max_pixels, max_bytes: Larger images are refused, the latter for JPEG and PNG.
        inference_timeout_s: How long the frames of one size may take; 0: as long as they like.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        slots: FrameSlots,
        publishers: Mapping[str, CameraPublishers],
        active: Callable[[], Active],
        health: Health,
        logger: Any,
        ends: Callable[[str], None],
        max_pixels: int = images.MAX_PIXELS,
        max_bytes: int = compressed.MAX_BYTES,
        inference_timeout_s: float = 0.0,
    ) -> None:
        self._errors = FinalErrors(lambda: computes(segmenter.device))
        self._guard = Guard(self._segment, self._errors, logger)
        self._watchdog = Watchdog(inference_timeout_s, ends)
        self._ends = ends
        self._max_pixels, self._max_bytes = max_pixels, max_bytes
        self._segmenter = segmenter
        self._slots = slots
        self._publishers = publishers
        self._active = active
        self._health = health
        self._logger = logger
        self._smoothing = Smoothing()
        self._announced: tuple[int, float] | None = None
        self._throttle = Throttle()
        self._thread = threading.Thread(target=self._run, name='segmentation', daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def reset(self) -> None:
        """Forget what was kept of earlier frames, after the clock was set."""
        self._smoothing.reset()

    def stop(self, timeout_s: float) -> bool:
        """End the thread after the frame it works on; return whether it ended in time."""
        self._slots.close()
        self._thread.join(timeout_s)
        self._watchdog.close()
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._serve()
        except FinalError as error:
            self._ends(f'the device fails: {error}')
        except Exception as error:  # a node without this thread would live on and see nothing
            self._ends(f'the thread that segments failed: {_reason(error)}')

    def _serve(self) -> None:
        while True:
            active = self._active()
            self._announce(active)
            frames = self._slots.take(active.settings.max_rates())
            if frames is None:
                return
            self._publish_clouds()
            active = self._active()  # newer than the one we waited with
            self._announce(active)
            decoded = [d for d in map(self._decode, frames) if d is not None]
            decoded.sort(key=lambda d: d.image.shape)
            for _, batch in groupby(decoded, key=lambda d: d.image.shape):
                with self._watchdog:
                    self._process(list(batch), active)

    def _publish_clouds(self) -> None:
        """Publish the clouds of earlier frames that had to wait for their depth."""
        for camera, publishers in self._publishers.items():
            try:
                publishers.publish_clouds()
            except Exception as error:  # this thread must not die of it
                self._logger.error(f'{camera}: cloud not published: {_reason(error)}')

    def _announce(self, active: Active) -> None:
        state = (active.version, active.settings.min_confidence)
        if state != self._announced:
            for publishers in self._publishers.values():
                publishers.announce(active)
            self._announced = state

    def _decode(self, frame: Frame) -> _Decoded | None:
        start = time.monotonic()
        self._publishers[frame.camera].expect(frame.message.header)
        try:
            if isinstance(frame.message, CompressedImage):
                image = compressed.to_rgb(frame.message, self._max_pixels, self._max_bytes)
            else:
                image = images.to_rgb(frame.message, self._max_pixels)
        except Exception as error:
            self._reject(frame, _reason(error))
            return None
        return _Decoded(frame, image, time.monotonic() - start)

    def _process(self, batch: list[_Decoded], active: Active) -> None:
        """Segment images of one size and publish what they show."""
        start = time.monotonic()
        outcomes = self._guard.run([(d, active) for d in batch])
        segment_s = time.monotonic() - start
        for d, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Exception):  # whatever the model raises, the node goes on
                self._reject(d.frame, _reason(outcome))
                continue
            segmented = Segmented(d.frame.message.header, d.image, *outcome, active)
            try:
                self._publish(d, segmented, len(batch), segment_s)
            except Exception as error:  # in the overlay, say: this thread must not die of it
                self._errors.refuse(error)
                self._reject(d.frame, f'not published in full: {_reason(error)}')

    def _segment(
        self, tasks: Sequence[tuple[_Decoded, Active]]
    ) -> list[tuple[Patches, Segmentation]]:
        """Run the model on images of one size."""
        active = tasks[0][1]
        settings = active.settings
        found = self._segmenter.segment_patches(
            [d.image for d, _ in tasks], active.vocabulary, settings.gamma, settings.delta
        )
        mono8 = leaves_as_mono8(
            self._segmenter.device.type, settings.confidence_encoding, settings.min_confidence
        )
        steady = [
            self._smooth(d.frame, patches, settings.temporal_smoothing)
            for (d, _), patches in zip(tasks, found, strict=True)
        ]
        size = scaled_size(tasks[0][0].image.shape[:2], settings.output_scale)
        return list(zip(steady, enlarge_all(steady, size, mono8), strict=True))

    def _smooth(self, frame: Frame, found: Patches, weight: float) -> Patches:
        stamp = stamp_ns(frame.message.header)
        return self._smoothing.smooth(frame.camera, stamp, found, weight)

    def _publish(
        self, decoded: _Decoded, segmented: Segmented, batch_size: int, segment_s: float
    ) -> None:
        frame = decoded.frame
        publishers = self._publishers[frame.camera]
        start = time.monotonic()
        publishers.publish(segmented)
        end = time.monotonic()
        counts = self._slots.count(frame.camera, segmented=1)
        info = FrameInfo(
            header=segmented.header,
            vocabulary_version=segmented.active.version,
            frames_received=counts.received,
            frames_segmented=counts.segmented,
            frames_replaced=counts.replaced,
            frames_rejected=counts.rejected,
            batch_size=batch_size,
            wait_ms=1e3 * (frame.taken_s - frame.arrived_s),
            decode_ms=1e3 * decoded.decode_s,
            segment_ms=1e3 * segment_s,
            publish_ms=1e3 * (end - start),
            total_ms=1e3 * (end - frame.arrived_s),
        )
        publishers.publish_frame_info(info)
        self._health.cameras[frame.camera].segmented()
        self._health.stages.add(tuple(getattr(info, f'{stage}_ms') for stage in STAGES))

    def _reject(self, frame: Frame, reason: str) -> None:
        """Count a frame that cannot be used; say so at most once a second and camera."""
        camera = frame.camera
        counts = self._slots.count(camera, rejected=1)
        self._health.cameras[camera].rejected(reason)
        if self._throttle.allows(camera):
            self._logger.error(f'{camera}: frame dropped ({counts.rejected} so far): {reason}')


def _reason(error: Exception) -> str:
    """Say what was wrong; an image error needs no type in front."""
    return (
        str(error) if isinstance(error, images.ImageError) else f'{type(error).__name__}: {error}'
    )
