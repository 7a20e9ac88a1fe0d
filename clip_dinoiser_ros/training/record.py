# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Files written by a training: the heads and a record of how they were made."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from clip_dinoiser_ros.bag.output_files import replace_file
from clip_dinoiser_ros.training.checkpoint import Checkpoint, TrainingError
from clip_dinoiser_ros.training.image_sources import ImageSource

HEADS = 'heads.safetensors'
RECORD = 'training.json'
CHECKPOINT = 'checkpoint.pt'
_PACKAGES = ('torch', 'open_clip_torch', 'timm', 'numpy', 'opencv-python-headless', 'rosbags')
_POINTS = 100  # of the curve of losses


def check(folder: Path, resume: bool = False, force: bool = False) -> None:
    """Check that no training would be overwritten, or that there is one to resume.

    Raises:
        TrainingError: The check fails. The message says what to do.
    """
    checkpoint, heads = folder / CHECKPOINT, folder / HEADS
    if resume and force:
        raise TrainingError('resume and force cannot be used together')
    if resume and not checkpoint.is_file():
        found = 'it is finished' if heads.is_file() else 'there is none'
        raise TrainingError(f'no training to resume in {str(folder)!r}: {found}')
    if not resume and not force:
        if checkpoint.is_file():
            raise TrainingError(
                f'{str(folder)!r} has an unfinished training; resume it, or force to start again'
            )
        if heads.is_file():
            raise TrainingError(
                f'{str(heads)!r} exists; choose another folder, or force to overwrite'
            )


def write(
    folder: Path,
    heads: Mapping[str, Tensor],
    state: Checkpoint,
    images: ImageSource,
    settings: Mapping[str, Any],
    device: torch.device,
) -> None:
    """Write the heads and the record, each atomically; then delete the checkpoint."""
    replace_file(folder / HEADS, save(dict(heads)))
    content = {
        **settings,
        'source': images.about,
        'image_count': len(images.names),
        'images': list(images.names),
        'device': torch.cuda.get_device_name(device) if device.type == 'cuda' else device.type,
        'started': list(state.sittings),
        'finished': datetime.now(timezone.utc).isoformat(timespec='seconds'),
        'losses': curve(state.losses),
        'versions': {'python': platform.python_version(), **versions()},
    }
    replace_file(folder / RECORD, (json.dumps(content, indent=2) + '\n').encode())
    (folder / CHECKPOINT).unlink(missing_ok=True)


def curve(losses: Tensor) -> list[dict[str, float]]:
    """Return the losses (iterations, 2) as means over at most 100 ranges of iterations."""
    length = -(-len(losses) // _POINTS)
    return [
        {
            'iterations': index * length + len(part),
            'affinity': float(part[:, 0].mean()),
            'foreground': float(part[:, 1].mean()),
        }
        for index, part in enumerate(losses.split(length))
    ]


def digest(names: Sequence[str]) -> str:
    """Return a short digest of a list of names."""
    return hashlib.sha256('\n'.join(names).encode()).hexdigest()[:16]


def versions() -> dict[str, str]:
    """Return the versions of the packages that results depend on."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
