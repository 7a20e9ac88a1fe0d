# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Fixtures: the small CLIP whose weights anyone can make again, with the authors' numbers."""

from __future__ import annotations

import copy
import shutil
import subprocess

import numpy as np
import pytest
import torch
from golden_data import GOLDEN, deterministic_heads, deterministic_weights
from hypothesis import HealthCheck, settings

from clip_dinoiser_ros.core import embedding_cache

pytest_plugins = ['left_out']

# no test fails because the machine has other work
settings.register_profile(
    'busy machine', deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile('busy machine')

THREADS = 1  # of torch, whatever OMP_NUM_THREADS says: sums in other parts have other bits


@pytest.fixture(scope='session')
def golden_clip():
    """The golden CLIP and its tokenizer; shared, so it must not be changed."""
    import open_clip

    open_clip.add_model_config(GOLDEN / 'golden-tiny.json')
    clip = open_clip.create_model('golden-tiny')
    clip.load_state_dict(deterministic_weights(clip))
    return clip.eval(), open_clip.get_tokenizer('golden-tiny')


@pytest.fixture(scope='session')
def golden_heads():
    return deterministic_heads()


@pytest.fixture(scope='session')
def golden_segmenter(golden_clip, golden_heads):
    from clip_dinoiser_ros import Segmenter

    clip, tokenizer = golden_clip
    clip = copy.deepcopy(clip)  # a segmenter takes it over
    return Segmenter(clip, golden_heads, tokenizer, device='cpu', precision='fp32')


@pytest.fixture(scope='session')
def golden_files(tmp_path_factory, golden_clip, golden_heads):
    """The golden model as files: config, CLIP weights, heads, as a user would have them."""
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp('golden_model')
    clip, _ = golden_clip
    config = folder / 'golden-tiny.json'
    config.write_bytes((GOLDEN / 'golden-tiny.json').read_bytes())
    state = {key: value.contiguous().clone() for key, value in clip.state_dict().items()}
    save_file(state, folder / 'clip.safetensors')
    save_file(golden_heads, folder / 'heads.safetensors')
    return {
        'model': str(config),
        'pretrained': str(folder / 'clip.safetensors'),
        'heads': str(folder / 'heads.safetensors'),
    }


@pytest.fixture(scope='session')
def golden_prompts():
    return [str(prompt) for prompt in np.load(GOLDEN / 'text.npz')['prompts']]


@pytest.fixture
def small_disk(tmp_path):
    """A file system with room for 2 MB."""
    disk = tmp_path / 'disk'
    disk.mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', disk]
    if shutil.which('mount') is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip('no file system may be mounted here')
    yield disk
    subprocess.run(['umount', disk], check=True)


@pytest.fixture(autouse=True, scope='session')
def _own_environment(tmp_path_factory):
    """No test, and no process that one starts, reads or writes what is the user's.

    What else the shell has set holds for both, so that they compute the same.
    """
    torch.set_num_threads(THREADS)  # fixtures compute too
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(embedding_cache.SWITCH, 'off')
        patch.delenv('CLIP_DINOISER_WEB_TOKEN', raising=False)
        patch.setenv('ROS_HOME', str(tmp_path_factory.mktemp('ros_home')))
        patch.setenv('ROS_LOG_DIR', str(tmp_path_factory.mktemp('ros_log')))
        yield


@pytest.fixture(autouse=True)
def _same_threads():
    """Whatever number a test has set, the next one has ours again."""
    yield
    torch.set_num_threads(THREADS)
