# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A ROS domain for every test run of a machine, also for each of several that run side by side."""

import fcntl
import functools
import os
import tempfile
from pathlib import Path

# below 102, so that the ports stay clear of the ephemeral ones
FIRST, COUNT = 10, 90
_kept = []  # as long as this process lives


@functools.cache
def claim() -> int:
    """Return the domain of this process: one that no other has claimed and not ended since."""
    for offset in range(COUNT):
        # hardly ever the one of the run before, which may have left something behind
        domain = FIRST + (os.getpid() + offset) % COUNT
        try:
            lock = Path(tempfile.gettempdir(), f'clip_dinoiser_ros_domain_{domain}').open('w')  # noqa: SIM115
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # claimed, perhaps by another user
            continue
        _kept.append(lock)
        return domain
    raise RuntimeError(f'all {COUNT} domains are in use')
