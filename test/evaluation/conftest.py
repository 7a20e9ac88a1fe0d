# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The weights of the miniature goldens, as files: made when a test asks for them."""

from __future__ import annotations

import pytest
import torch
from miniature_data import CONFIG, load_recipe


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
