# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Averages what a camera shows over time, so that its labels flicker less."""

from __future__ import annotations

from clip_dinoiser_ros.core.segmentation import Patches

MAX_GAP_NS = 10**9  # what was seen longer ago says little about a moving camera


class Smoothing:
    """An exponential average of the patch probabilities of every camera.

    The average starts anew with another vocabulary, another size, a stamp that goes back, or one
    that lies more than a second after the last. Equal stamps, such as those of a driver that leaves
    them zero, go on.
    """

    def __init__(self) -> None:
        self._last: dict[str, tuple[int, Patches]] = {}

    def smooth(self, camera: str, stamp_ns: int, found: Patches, weight: float) -> Patches:
        """Take one frame into the average of its camera.

        Args:
            camera: Name of the camera.
            stamp_ns: Of the frame, in nanoseconds of the camera's clock.
            found: What the frame shows.
            weight: Of the average so far, in [0, 1), where it agrees with the frame; see
                `Patches.average`. 0 forgets it and costs nothing.

        Returns:
            The average with this frame in it; `found` itself where the average starts.
        """
        if weight == 0.0:
            self._last.pop(camera, None)
            return found
        if camera in self._last:
            last_ns, previous = self._last[camera]
            if 0 <= stamp_ns - last_ns <= MAX_GAP_NS and found.is_like(previous):
                found = found.average(previous, weight)
        self._last[camera] = (stamp_ns, found)
        return found

    def reset(self) -> None:
        """Forget every camera."""
        self._last.clear()
