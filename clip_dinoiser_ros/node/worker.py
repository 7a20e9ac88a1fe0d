# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The thread that segments the newest frames and publishes their outputs in order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
from sensor_msgs.msg import CompressedImage, Image

from clip_dinoiser_ros.frames import compressed, images
from clip_dinoiser_ros.frames.guard import FinalError
from clip_dinoiser_ros.frames.process import DecodedFrame, FrameOutputs, Processor
from clip_dinoiser_ros.frames.settings import Active
from clip_dinoiser_ros.msg import FrameInfo
from clip_dinoiser_ros.node.frames import FrameSlots, ReceivedFrame
from clip_dinoiser_ros.node.guard import Watchdog
from clip_dinoiser_ros.node.health import STAGES, Health
from clip_dinoiser_ros.node.log import Throttle
from clip_dinoiser_ros.node.publishers import CameraPublishers
from clip_dinoiser_ros.node.seen import SeenFrames


@dataclass(frozen=True)
class Limits:
    """Limits of a frame.

    Attributes:
        max_pixels: Larger images are refused before decoding.
        max_bytes: Larger JPEG and PNG are refused before decoding.
        inference_timeout_s: Limit of the model for the frames of one size; 0: no limit.
    """

    max_pixels: int = images.MAX_PIXELS
    max_bytes: int = compressed.MAX_BYTES
    inference_timeout_s: float = 0.0


def decode(message: Image | CompressedImage, limits: Limits) -> npt.NDArray[np.uint8]:
    """Return the pixels of a message, uint8 (H, W, 3) RGB; raises ImageError."""
    if isinstance(message, CompressedImage):
        return compressed.to_rgb(message, limits.max_pixels, limits.max_bytes)
    return images.to_rgb(message, limits.max_pixels)


class Worker:
    """Segments the newest frame of every camera repeatedly, in a thread of its own.

    Only the worker publishes, so that a new vocabulary is announced after the last frame of the
    old one and before the first frame of its own.

    Args:
        processor: The model and its state of earlier frames.
        slots: The newest frame of each camera.
        publishers: By camera name.
        active: Returns the settings and vocabulary for the next frame.
        health: Records the results of frames.
        logger: `error(text)` is called for frames that cannot be used.
        ends: Called with a reason when this process can no longer segment.
        limits: Limits of a frame.
        seen: Keeps the features of the newest frames; None: nobody asks for them.
    """

    def __init__(
        self,
        *,
        processor: Processor,
        slots: FrameSlots,
        publishers: Mapping[str, CameraPublishers],
        active: Callable[[], Active],
        health: Health,
        logger: Any,
        ends: Callable[[str], None],
        limits: Limits = Limits(),
        seen: SeenFrames | None = None,
    ) -> None:
        self._processor = processor
        self._slots = slots
        self._publishers = publishers
        self._active = active
        self._health = health
        self._logger = logger
        self._ends = ends
        self._limits = limits
        self._seen = seen
        self._watchdog = Watchdog(limits.inference_timeout_s, ends)
        self._announced: tuple[int, float] | None = None
        self._throttle = Throttle()
        self._thread = threading.Thread(target=self._run, name='segmentation', daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def reset(self) -> None:
        """Drop the state of earlier frames after the clock was set."""
        self._processor.reset()

    def stop(self, timeout_s: float) -> bool:
        """End the thread after its frame; return whether it ended in time."""
        self._slots.close()
        self._thread.join(timeout_s)
        self._watchdog.close()
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._serve()
        except FinalError as error:
            self._ends(f'the device fails: {error}')
        except Exception as error:  # without this thread the node would run but publish nothing
            self._ends(f'the thread that segments failed: {_reason(error)}')

    def _serve(self) -> None:
        while True:
            active = self._active()
            self._announce(active)
            frames = self._slots.take(active.settings.max_rates())
            if frames is None:
                return
            self._publish_clouds()
            active = self._active()  # may have changed while waiting
            self._announce(active)
            decoded = [pair for pair in map(self._decode, frames) if pair is not None]
            decoded.sort(key=_shape)
            for _, batch in groupby(decoded, key=_shape):
                with self._watchdog:
                    self._process(list(batch), active)

    def _publish_clouds(self) -> None:
        """Publish the clouds of earlier frames that waited for their depth."""
        for camera, publishers in self._publishers.items():
            try:
                publishers.publish_clouds()
            except Exception as error:  # must not end this thread
                self._logger.error(f'{camera}: cloud not published: {_reason(error)}')

    def _announce(self, active: Active) -> None:
        state = (active.version, active.settings.min_confidence)
        if state != self._announced:
            for publishers in self._publishers.values():
                publishers.announce(active)
            self._announced = state

    def _decode(self, frame: ReceivedFrame) -> tuple[ReceivedFrame, DecodedFrame] | None:
        start = time.monotonic()
        header = frame.message.header
        self._publishers[frame.camera].expect(header)
        try:
            image = decode(frame.message, self._limits)
        except Exception as error:
            self._reject(frame, _reason(error))
            return None
        decode_ms = 1e3 * (time.monotonic() - start)
        heard = self._publishers[frame.camera].wants_features()
        with_features = heard or self._seen is not None
        return frame, DecodedFrame(frame.camera, header, image, decode_ms, with_features)

    def _process(self, batch: list[tuple[ReceivedFrame, DecodedFrame]], active: Active) -> None:
        """Segment images of one size and publish the results."""
        outcomes = self._processor.process([decoded for _, decoded in batch], active)
        for (frame, _), outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Exception):  # an error of the model costs the frame only
                self._reject(frame, _reason(outcome))
                continue
            if self._seen is not None:
                self._seen.put(outcome, frame.arrived_s)
            try:
                self._publish(frame, outcome)
            except Exception as error:  # for example in the overlay; must not end this thread
                self._processor.errors.refuse(error)
                self._reject(frame, f'not published in full: {_reason(error)}')

    def _publish(self, frame: ReceivedFrame, outputs: FrameOutputs) -> None:
        publishers = self._publishers[frame.camera]
        start = time.monotonic()
        publishers.publish(outputs)
        end = time.monotonic()
        counts = self._slots.count(frame.camera, segmented=1)
        info = FrameInfo(
            header=outputs.header,
            vocabulary_version=outputs.active.version,
            frames_received=counts.received,
            frames_segmented=counts.segmented,
            frames_replaced=counts.replaced,
            frames_rejected=counts.rejected,
            batch_size=outputs.batch_size,
            wait_ms=1e3 * (frame.taken_s - frame.arrived_s),
            decode_ms=outputs.frame.decode_ms,
            segment_ms=outputs.segment_ms,
            publish_ms=1e3 * (end - start),
            total_ms=1e3 * (end - frame.arrived_s),
        )
        publishers.publish_frame_info(info)
        self._health.cameras[frame.camera].segmented()
        self._health.stages.add(tuple(getattr(info, f'{stage}_ms') for stage in STAGES))

    def _reject(self, frame: ReceivedFrame, reason: str) -> None:
        """Count a frame that cannot be used; log at most once per second and camera."""
        camera = frame.camera
        counts = self._slots.count(camera, rejected=1)
        self._health.cameras[camera].rejected(reason)
        if self._throttle.allows(camera):
            self._logger.error(f'{camera}: frame dropped ({counts.rejected} so far): {reason}')


def _shape(pair: tuple[ReceivedFrame, DecodedFrame]) -> tuple[int, ...]:
    return pair[1].image.shape


def _reason(error: Exception) -> str:
    """Describe an error; an image error needs no type name."""
    return (
        str(error) if isinstance(error, images.ImageError) else f'{type(error).__name__}: {error}'
    )
