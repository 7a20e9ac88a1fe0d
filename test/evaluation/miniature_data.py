# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The miniature data sets, and what the authors' code makes of them; see miniature/README.md."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np

MINIATURE = Path(__file__).parent / 'miniature'
DATA = MINIATURE / 'data'
CONFIG = MINIATURE / 'eval-tiny.json'
# FOUND's published decoder is not part of this repository
DECODER = Path(os.environ.get('CLIP_DINOISER_FOUND') or MINIATURE / 'decoder_weights.pt')

# variant of the golden files -> arguments of the command
VARIANTS = {
    'maskclip_keys': ('--method', 'maskclip-keys'),
    'maskclip_keys_pd': ('--method', 'maskclip-keys', '--denoising', '0.5'),
    'pool_clip_keys': ('--method', 'clip-keys'),
    'pool_clip_keys_outproj': ('--method', 'clip-keys', '--projected-keys'),
    'maskclip': ('--method', 'maskclip'),
    'dino': ('--method', 'dino'),
    'dinoiser': ('--method', 'dinoiser'),
    'dino_found': ('--method', 'dino', '--background', 'found'),
    'dino_found_uncertain': ('--method', 'dino', '--background', 'found-uncertain'),
    'dino_learned': ('--method', 'dino', '--background', 'learned'),
    'dinoiser_background': (),  # the default where the paper applies the filter
}


def load_recipe():
    """The module that makes the weights."""
    spec = importlib.util.spec_from_file_location('miniature_recipe', MINIATURE / 'recipe.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def golden(name):
    """Read one golden file."""
    return np.load(MINIATURE / f'golden/{name}.npz')


def arguments(variant):
    """The arguments of a variant; the filter is on by default on some data sets."""
    given = VARIANTS[variant]
    if given and '--background' not in given:
        given = (*given, '--background', 'none')
    return given
