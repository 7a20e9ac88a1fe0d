# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A CLIP so small that a whole training takes a second."""

from __future__ import annotations

import json

import pytest
import torch

SHAPE = {
    'embed_dim': 32,
    'vision_cfg': {'image_size': 64, 'layers': 3, 'width': 64, 'head_width': 32, 'patch_size': 16},
    'text_cfg': {'context_length': 77, 'vocab_size': 49408, 'width': 32, 'heads': 1, 'layers': 1},
}


@pytest.fixture(scope='session')
def small_files(tmp_path_factory):
    """Config and weights of it as files: the arguments of `load_clip`."""
    import open_clip
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp('small_model')
    config = folder / 'training-small.json'
    config.write_text(json.dumps(SHAPE))
    open_clip.add_model_config(config)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        clip = open_clip.create_model('training-small')
    save_file(clip.state_dict(), folder / 'clip.safetensors')
    return str(config), str(folder / 'clip.safetensors')


@pytest.fixture(scope='session')
def small_clip(small_files):
    from clip_dinoiser_ros.core.weights import load_clip

    return load_clip(*small_files)
