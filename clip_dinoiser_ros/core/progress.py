# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The progress of a download, as lines in the log."""

from __future__ import annotations

import logging
import time

PERCENT, PERIOD_S = 10.0, 30.0  # a line whenever one of them has passed

_log = logging.getLogger(__name__)


class Progress:
    """Writes a line to the log now and then.

    Args:
        name: Name of the file.
        done: Bytes that have already arrived.
        total: Bytes of the whole file; None: not known.
    """

    def __init__(self, name: str, done: int, total: int | None) -> None:
        self._name, self._total = name, total
        self._began_at = self._told = done
        self._began_s = self._told_s = time.monotonic()
        size = 'of unknown size' if total is None else f'{total / 1e6:.0f} MB'
        here = f', {done / 1e6:.0f} MB of them are here' if done else ''
        _log.info('downloading %s, %s%s', name, size, here)

    def tell(self, done: int) -> None:
        """Log the progress if a line is due."""
        now = time.monotonic()
        step = PERCENT / 100 * (self._total or 1e9)
        if done - self._told < step and now - self._told_s < PERIOD_S:
            return
        self._told, self._told_s = done, now
        rate = (done - self._began_at) / max(now - self._began_s, 1e-3)
        text = f'{done / 1e6:.0f} MB, {rate / 1e6:.1f} MB/s'
        if self._total:
            left = (self._total - done) / rate
            text = f'{100 * done // self._total} %, {text}, {left:.0f} s left'
        _log.info('%s: %s', self._name, text)
