# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What errors say, in the form of a log or of another error."""

from __future__ import annotations


def one_line(error: BaseException, most: int | None = None) -> str:
    """Return the text of an error without line breaks, cut to so many characters; None: whole."""
    return ' '.join(str(error).split())[:most]
