# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the package says by Python's logging, such as how far a download is, in the node's log."""

from __future__ import annotations

import logging

from rclpy.impl.rcutils_logger import RcutilsLogger

PACKAGE = 'clip_dinoiser_ros'


def forward_log(logger: RcutilsLogger) -> None:
    """Send the package's messages from now on to a node's log, and nowhere else."""
    package = logging.getLogger(PACKAGE)
    package.handlers = [_ToNode(logger)]
    package.setLevel(logging.INFO)
    package.propagate = False


class _ToNode(logging.Handler):
    def __init__(self, logger: RcutilsLogger) -> None:
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        # rclpy wants one severity for each place that logs
        if record.levelno >= logging.ERROR:
            self._logger.error(record.getMessage())
        elif record.levelno >= logging.WARNING:
            self._logger.warning(record.getMessage())
        else:
            self._logger.info(record.getMessage())
