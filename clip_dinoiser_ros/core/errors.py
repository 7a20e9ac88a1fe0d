# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The text of an error, for a log or for another error."""

from __future__ import annotations


def one_line(error: BaseException, most: int | None = None) -> str:
    """Return the text of an error without line breaks, at most `most` characters (None: all)."""
    return ' '.join(str(error).split())[:most]
