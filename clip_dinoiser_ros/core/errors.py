# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What an error says, and whether it is of a full disk."""

from __future__ import annotations

import errno


def one_line(error: BaseException, most: int | None = None) -> str:
    """Return the text of an error without line breaks, at most `most` characters (None: all)."""
    return ' '.join(str(error).split())[:most]


def is_full(error: BaseException) -> bool:
    """Return whether a disk has no room."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
