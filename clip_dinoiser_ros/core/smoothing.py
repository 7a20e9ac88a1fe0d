# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Averages the patch probabilities of a camera over time, so that labels flicker less."""

from __future__ import annotations

from clip_dinoiser_ros.core.segmentation import Patches

MAX_GAP_NS = 10**9  # older frames say little about what a moving camera sees now


class Smoothing:
    """An exponential average of the patch probabilities of every camera.

    The average starts again when the vocabulary or the size changes, when a stamp goes back, and
    when a stamp is more than a second after the last. Equal stamps continue the average, for
    drivers that leave them zero.
    """

    def __init__(self) -> None:
        self._last: dict[str, tuple[int, Patches]] = {}

    def smooth(self, camera: str, stamp_ns: int, found: Patches, weight: float) -> Patches:
        """Add one frame to the average of its camera.

        Args:
            camera: Name of the camera.
            stamp_ns: Of the frame, in nanoseconds of the camera's clock.
            found: The patches of the frame.
            weight: Of the average so far, in [0, 1), where it agrees with the frame; see
                `Patches.average`. 0 forgets the average and costs nothing.

        Returns:
            The average including this frame; `found` itself if the average starts with it.
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
