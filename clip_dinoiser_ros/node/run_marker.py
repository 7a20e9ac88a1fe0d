# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A file that exists while a node runs: it allows one run at a time and shows unclean ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

STEADY_S = 60.0  # a longer run ends a row of failures
MAX_DELAY_S = 60.0
RESPAWN_DELAY_S = 2.0  # delay of segment.launch.py before it starts the node again


class RunMarker:
    """Holds a lock on a file and deletes the file at a clean end.

    A file that is found unlocked belongs to a run that was killed or failed. It holds the number of
    such runs in a row, including that one.

    Args:
        path: The file.

    Attributes:
        unclean_ends: Number of such runs in a row before this one.

    Raises:
        BlockingIOError: Another process, or another node of this one, holds the lock.
        OSError: The file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            existed = path.exists()
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _same_file(self._file, path):
                    text = os.pread(self._file, 20, 0).strip()
                    self.unclean_ends = int(text) if text.isdigit() else int(existed)
                    self._write(self.unclean_ends + 1)
                    return
            except BaseException:
                os.close(self._file)
                raise
            os.close(self._file)  # deleted meanwhile by a run that ended

    def last(self) -> None:
        """Mark this run as lasting: if it fails later, it is the first in a row."""
        self._write(1)

    def end_cleanly(self) -> None:
        """Delete the file; keep the lock."""
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Release the lock."""
        os.close(self._file)

    def _write(self, unclean_ends: int) -> None:
        os.pwrite(self._file, b'%-19d\n' % unclean_ends, 0)


def _same_file(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def restart_delay_s(unclean_ends: int) -> float:
    """Return the delay of a run after so many unclean ends in a row.

    Together with the delay of segment.launch.py this gives 2, 4, 8, ... 60 s between runs.
    """
    if unclean_ends == 0:
        return 0.0
    return min(2.0 ** min(unclean_ends, 10), MAX_DELAY_S) - RESPAWN_DELAY_S
