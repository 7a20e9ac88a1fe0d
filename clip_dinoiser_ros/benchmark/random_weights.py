# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Random weights, for machines without the real ones; speed does not depend on their values."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from clip_dinoiser_ros.core import WeightsError

AFFINITY_CHANNELS = 256  # as in the authors' heads


def write_random_weights(model: str, folder: Path) -> dict[str, str]:
    """Write CLIP and heads with random weights; return `model`, `pretrained` and `heads`.

    Args:
        model: OpenCLIP architecture.
        folder: Folder for the two files; 600 MB for ViT-B-16.

    Raises:
        WeightsError: The architecture is unknown.
    """
    import open_clip

    if model not in open_clip.list_models():
        raise WeightsError(f'random weights need an OpenCLIP architecture, got {model!r}')
    torch.manual_seed(0)
    clip = open_clip.create_model(model, pretrained=None)
    width = clip.visual.conv1.out_channels
    pretrained, heads = folder / 'random.pt', folder / 'heads.safetensors'
    torch.save(clip.state_dict(), pretrained)
    save_file(
        {
            'obj_proj.weight': torch.randn(AFFINITY_CHANNELS, width, 3, 3) / (3 * width**0.5),
            'obj_proj.bias': torch.zeros(AFFINITY_CHANNELS),
            'bkg_decoder.weight': torch.randn(1, width, 1, 1),
            'bkg_decoder.bias': torch.zeros(1),
        },
        heads,
    )
    return {'model': model, 'pretrained': str(pretrained), 'heads': str(heads)}
