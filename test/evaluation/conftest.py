# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The weights of the miniature goldens, as files: made when a test asks for them."""

from __future__ import annotations

import json

import pytest
import torch
from miniature_data import CONFIG, load_recipe

SMALL = {
    'embed_dim': 32,
    'vision_cfg': {'image_size': 64, 'layers': 3, 'width': 64, 'head_width': 32, 'patch_size': 16},
    'text_cfg': {'context_length': 77, 'vocab_size': 49408, 'width': 32, 'heads': 1, 'layers': 1},
}


@pytest.fixture(scope='session')
def recipe():
    return load_recipe()


@pytest.fixture(scope='session')
def miniature_files(tmp_path_factory, recipe):
    """Arguments that name the model."""
    import open_clip
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp('miniature_model')
    open_clip.add_model_config(CONFIG)
    clip = open_clip.create_model(recipe.NAME)
    state = recipe.clip_weights(clip)
    save_file(
        {key: value.contiguous() for key, value in state.items()}, folder / 'clip.safetensors'
    )
    save_file(recipe.head_weights(), folder / 'heads.safetensors')
    return [
        *('--model', str(CONFIG), '--pretrained', str(folder / 'clip.safetensors')),
        *('--heads', str(folder / 'heads.safetensors'), '--device', 'cpu'),
    ]


def _dino_file(folder, recipe, name, part):
    import timm

    tower = timm.create_model(name, pretrained=False, num_classes=0)
    torch.save(recipe.dino_weights(tower, part), folder / f'{part}.pth')
    return str(folder / f'{part}.pth')


@pytest.fixture(scope='session')
def dino_base_file(tmp_path_factory, recipe):
    folder = tmp_path_factory.mktemp('dino_base')
    return _dino_file(folder, recipe, 'vit_base_patch16_224.dino', 'base')


@pytest.fixture(scope='session')
def dino_small_file(tmp_path_factory, recipe):
    folder = tmp_path_factory.mktemp('dino_small')
    return _dino_file(folder, recipe, 'vit_small_patch8_224.dino', 'small')


@pytest.fixture(scope='session')
def small_arguments(tmp_path_factory):
    """Arguments that name a model so small that a window takes milliseconds; it knows nothing."""
    import open_clip
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp('small_model')
    (folder / 'evaluation-small.json').write_text(json.dumps(SMALL))
    open_clip.add_model_config(folder / 'evaluation-small.json')
    with torch.random.fork_rng():
        torch.manual_seed(0)
        clip = open_clip.create_model('evaluation-small')
        convolutions = torch.nn.ModuleDict(
            {'obj_proj': torch.nn.Conv2d(64, 16, 3), 'bkg_decoder': torch.nn.Conv2d(64, 1, 1)}
        )
    save_file(clip.state_dict(), folder / 'clip.safetensors')
    save_file(convolutions.state_dict(), folder / 'heads.safetensors')
    return [
        *('--model', str(folder / 'evaluation-small.json'), '--device', 'cpu'),
        *('--pretrained', str(folder / 'clip.safetensors')),
        *('--heads', str(folder / 'heads.safetensors'), '--templates', 'none'),
    ]
