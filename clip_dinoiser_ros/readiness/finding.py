# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A finding of the doctor, and advice."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """Result of one check.

    Attributes:
        about: What was checked.
        level: 'ok'; 'note': the node can start nevertheless; 'missing': it cannot.
        text: What was found.
        advice: What to do; '' if nothing.
    """

    about: str
    level: Literal['ok', 'note', 'missing']
    text: str
    advice: str = ''


def why_not_importable(module: str) -> str | None:
    """Import a module; return the reason if that fails, else None."""
    try:
        importlib.import_module(module)
    except Exception as error:  # a broken package can raise anything
        return ' '.join(f'{type(error).__name__}: {error}'.split())[:200]
    return None
