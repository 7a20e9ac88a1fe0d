# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The captions tower: its files, and the CLIP it is part of.

The package does not contain its weights. They are in test/evaluation/captions_tower of the
repository, and `clip-dinoiser demo train` makes them.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from clip_dinoiser_ros.core.manifest import write_manifest
from clip_dinoiser_ros.core.weights import check_shipped, demo_files, load_clip
from clip_dinoiser_ros.training.demo_model.files import (
    CAPTIONS_CONFIG,
    CAPTIONS_TOWER,
    CAPTIONS_TRAINING,
    FOLDER,
)

SHAPE = {
    'embed_dim': 128,
    'vision_cfg': {
        'image_size': 224,
        'layers': 5,
        'width': 128,
        'head_width': 64,
        'patch_size': 16,
    },
}


def new_tower(shape: dict[str, Any] = SHAPE) -> nn.Module:
    """Return an untrained image tower."""
    least = {'vocab_size': 8, 'context_length': 8, 'width': 8, 'heads': 1, 'layers': 1}
    return open_clip.CLIP(shape['embed_dim'], shape['vision_cfg'], least).visual


def save_tower(folder: Path, tower: nn.Module) -> None:
    """Write the tower in half precision and its configuration into a folder."""
    save_half(folder / CAPTIONS_TOWER, tower)
    (folder / CAPTIONS_CONFIG).write_text(json.dumps(SHAPE, indent=2) + '\n')


def save_half(path: Path, module: nn.Module) -> None:
    """Write a module's tensors in half precision."""
    tensors = {key: value.half().cpu().contiguous() for key, value in module.state_dict().items()}
    save_file(tensors, path)


def note_training(folder: Path, **parts: dict[str, Any]) -> None:
    """Record how the tower or its heads were made, and add the new files to the manifest.

    The record of the other one is kept.
    """
    path = folder / CAPTIONS_TRAINING
    noted = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**noted, **parts}, indent=2) + '\n')
    write_manifest(folder)


def load_tower(folder: Path) -> nn.Module:
    """Return the tower in a folder, float32.

    Raises:
        WeightsError: A file is missing or differs from the manifest.
    """
    check_shipped(folder, [CAPTIONS_CONFIG, CAPTIONS_TOWER])
    tower = new_tower(json.loads((folder / CAPTIONS_CONFIG).read_text()))
    tower.load_state_dict(load_file(folder / CAPTIONS_TOWER))
    return tower.eval().requires_grad_(False)


def load_captions_clip(
    folder: Path, demo: Path = FOLDER
) -> tuple[nn.Module, Callable[..., Tensor]]:
    """Return a CLIP of this image tower and the demo model's text tower, and the tokenizer.

    Args:
        folder: Folder of the image tower.
        demo: Folder of the demo model.

    Raises:
        WeightsError: A file is missing or differs from the manifest of its folder.
    """
    files = demo_files(demo)
    clip, tokenizer = load_clip(files['model'], files['pretrained'])
    clip.visual = load_tower(folder)
    return clip, tokenizer
