# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A temporary file for images, so that thousands of them do not fill the memory."""

from __future__ import annotations

import os
import tempfile
import threading

import cv2
import numpy as np


class ImageStore:
    """Blocks of bytes in an anonymous temporary file, which is deleted with the process.

    Threads may add and read at the same time.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the store
        self._lock = threading.Lock()
        self._end = 0

    def add(self, block: bytes) -> slice:
        """Append a block; return its position."""
        with self._lock:
            where = slice(self._end, self._end + len(block))
            self._file.seek(where.start)
            self._file.write(block)
            self._file.flush()
            self._end = where.stop
        return where

    def read(self, where: slice) -> bytes:
        """Return a block."""
        return os.pread(self._file.fileno(), where.stop - where.start, where.start)


def encode(image: np.ndarray) -> bytes:
    """Encode an image, uint8 (H, W) or RGB (H, W, 3), losslessly; for speed, not for size."""
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode('.png', image, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()
