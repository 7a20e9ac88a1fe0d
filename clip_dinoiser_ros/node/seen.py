# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The newest segmented frame of every camera, for questions about it."""

from __future__ import annotations

from clip_dinoiser_ros.frames.finding import SeenFrame
from clip_dinoiser_ros.frames.process import FrameOutputs


class SeenFrames:
    """Keeps references to the features of the newest frames; methods may be called from any thread.

    Attributes:
        newest: By camera name.
    """

    def __init__(self) -> None:
        self.newest: dict[str, SeenFrame] = {}

    def put(self, frame: FrameOutputs, arrived_s: float) -> None:
        """Keep a frame instead of the last one of its camera."""
        features = frame.patches.features
        if features is not None:
            camera, settings = frame.frame.camera, frame.active.settings
            self.newest[camera] = SeenFrame(
                camera, frame.header, frame.image_size, settings, features, arrived_s
            )
