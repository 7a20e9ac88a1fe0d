# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Where results go: never through a link, never half written under their name."""

from __future__ import annotations

import os
from pathlib import Path


class PlaceError(ValueError):
    """A place that nothing is written to; says why."""


def refuse_link(path: Path) -> None:
    """Refuse to write through a link: it could lead anywhere, and whoever made it chose where.

    Raises:
        PlaceError: The path is a link.
    """
    if path.is_symlink():
        raise PlaceError(f'{path} is a link to {path.readlink()}; name the place itself')


def part_of(path: Path) -> Path:
    """Name the file that becomes `path` once it is whole; what an earlier run left there goes."""
    part = path.with_name(path.name + '.partial')
    part.unlink(missing_ok=True)
    return part


def sync(path: Path) -> None:
    """Wait until a file or folder would outlive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
