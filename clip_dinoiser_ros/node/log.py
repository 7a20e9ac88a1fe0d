# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The log of the node: messages of Python's logging go there too, and repetition is limited."""

from __future__ import annotations

import logging
import time

from rclpy.impl.rcutils_logger import RcutilsLogger

PACKAGE = 'clip_dinoiser_ros'
PERIOD_S = 1.0  # between messages of one kind


def forward_log(logger: RcutilsLogger) -> None:
    """Send the messages of the package to the log of a node, and nowhere else."""
    package = logging.getLogger(PACKAGE)
    package.handlers = [_ToNode(logger)]
    package.setLevel(logging.INFO)
    package.propagate = False


class _ToNode(logging.Handler):
    def __init__(self, logger: RcutilsLogger) -> None:
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        # rclpy allows one severity per line of code
        if record.levelno >= logging.ERROR:
            self._logger.error(record.getMessage())
        elif record.levelno >= logging.WARNING:
            self._logger.warning(record.getMessage())
        else:
            self._logger.info(record.getMessage())


class Throttle:
    """Lets one message of each kind through in `PERIOD_S`.

    rclpy's `throttle_duration_sec` counts by line of code, so one camera would silence another,
    and by the system clock, so a clock that is set back would silence all of them.
    """

    def __init__(self) -> None:
        self._silent_until_s: dict[str, float] = {}

    def allows(self, kind: str = '') -> bool:
        """Return whether a message of this kind may be logged now, and count it as logged."""
        now_s = time.monotonic()
        if now_s < self._silent_until_s.get(kind, 0.0):
            return False
        self._silent_until_s[kind] = now_s + PERIOD_S
        return True
