# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Checkpoints: an interrupted training can be resumed and gives the same result."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


class TrainingError(ValueError):
    """A training cannot start or continue; the message says why and what to do."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The state of a training between two iterations.

    Attributes:
        iteration: Number of completed iterations.
        settings: Settings of the training, as JSON; must be the same to resume.
        heads: State of the two heads.
        optimizer: State of the optimiser.
        losses: float64 (iterations, 2), affinity and foreground; zero if not yet done.
        sittings: Start of each run, ISO 8601; more than one if it was resumed.
    """

    iteration: int
    settings: str
    heads: dict[str, Tensor]
    optimizer: dict[str, Any]
    losses: Tensor
    sittings: list[str]

    def save(self, path: Path) -> None:
        """Write the file atomically."""
        part = path.with_name(f'{path.name}.part')
        with part.open('wb') as file:
            torch.save(asdict(self), file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)

    @classmethod
    def load(cls, path: Path, settings: str) -> Checkpoint:
        """Read the file.

        Args:
            path: Of the file.
            settings: Settings of the training to resume.

        Raises:
            TrainingError: The file cannot be read, or the settings differ.
        """
        try:
            content = cls(**torch.load(path, map_location='cpu', weights_only=True))
        except Exception as error:  # torch raises many exception types on damaged files
            raise TrainingError(f'checkpoint {str(path)!r} cannot be read: {error}') from error
        changes = _differences(json.loads(content.settings), json.loads(settings))
        if changes:
            raise TrainingError(
                f'checkpoint {str(path)!r} was written with other settings: '
                f'{"; ".join(changes)}; use the same settings, or force to start again'
            )
        return content


def _differences(old: Any, new: Any, where: str = '') -> list[str]:
    """Yield the differences between two JSON values."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            change
            for key in sorted(old.keys() | new.keys())
            for change in _differences(old.get(key), new.get(key), f'{where}.{key}'.lstrip('.'))
        ]
    return [] if old == new else [f'{where} was {old!r} and is {new!r}']
