# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A file that is there while a node runs: how the last runs ended, and that there is only one."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

STEADY_S = 60.0  # a run that lasts so long is no part of a row of failures
MAX_DELAY_S = 60.0
RESPAWN_DELAY_S = 2.0  # what segment.launch.py waits before it starts the node again


class RunMarker:
    """Holds a lock on a file and deletes the file at a clean end.

    A file that is found unlocked tells of a run that was killed or failed. It holds how many runs
    in a row have ended so, with the one that it belongs to.

    Args:
        path: Of the file.

    Attributes:
        unclean_ends: How many runs before this one ended so, one after the other.

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
            os.close(self._file)  # deleted meanwhile, by a run that ended

    def last(self) -> None:
        """Say that this run has lasted: should it fail later, it is the first in a row."""
        self._write(1)

    def end_cleanly(self) -> None:
        """Delete the file; the lock is held on."""
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Give the lock back."""
        os.close(self._file)

    def _write(self, unclean_ends: int) -> None:
        os.pwrite(self._file, b'%-19d\n' % unclean_ends, 0)


def _same_file(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def restart_delay_s(unclean_ends: int) -> float:
    """Return how long a run waits after so many unclean ends in a row.

    With the delay of segment.launch.py there are 2, 4, 8, ... 60 s between two runs.
    """
    if unclean_ends == 0:
        return 0.0
    return min(2.0 ** min(unclean_ends, 10), MAX_DELAY_S) - RESPAWN_DELAY_S
