# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the doctor finds: one line of its page, and what to do about it."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        about: What was looked at.
        level: 'ok'; 'note': the node starts all the same; 'missing': it does not.
        text: What was found.
        advice: What to do; '' where there is nothing to do.
    """

    about: str
    level: Literal['ok', 'note', 'missing']
    text: str
    advice: str = ''


def why_not_importable(module: str) -> str | None:
    """Import a module; return why that does not work, None: it does."""
    try:
        importlib.import_module(module)
    except Exception as error:  # whatever a broken package raises
        return ' '.join(f'{type(error).__name__}: {error}'.split())[:200]
    return None
