# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Files that are written: never through a link, and under their name only once complete."""

from __future__ import annotations

import os
from pathlib import Path


class OutputFileError(ValueError):
    """A path that is not written to; says why."""


def refuse_link(path: Path) -> None:
    """Refuse to write through a link, which could lead anywhere.

    Raises:
        OutputFileError: The path is a link.
    """
    if path.is_symlink():
        raise OutputFileError(f'{path} is a link to {path.readlink()}; give the path itself')


def refuse_overlap(output: Path, source: Path) -> None:
    """Refuse to write over an input, into its folder, or a folder around it.

    Raises:
        OutputFileError: The paths are the same, or one lies in the other.
    """
    target, given = output.resolve(), source.resolve()
    if given == target or given in target.parents or target in given.parents:
        raise OutputFileError(f'output {output} would overwrite the input {source}')


def partial_file(path: Path) -> Path:
    """Return the path to write before renaming to `path`; remove what an earlier run left there."""
    part = path.with_name(path.name + '.partial')
    part.unlink(missing_ok=True)
    return part


def replace_file(path: Path, content: bytes) -> None:
    """Write a file that appears under its name only once complete; replace an earlier one."""
    part = partial_file(path)
    part.write_bytes(content)
    part.replace(path)


def sync(path: Path) -> None:
    """Wait until a file or folder would survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
