# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Says of what happens with every frame that it is not said with every frame."""

from __future__ import annotations

import time

PERIOD_S = 1.0


class Throttle:
    """Lets one in a second through, of each kind."""

    def __init__(self) -> None:
        self._silent_until_s: dict[str, float] = {}

    def allows(self, kind: str = '') -> bool:
        """Whether something of this kind may be said now; then it may not for a second."""
        now_s = time.monotonic()
        if now_s < self._silent_until_s.get(kind, 0.0):
            return False
        self._silent_until_s[kind] = now_s + PERIOD_S
        return True
