# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Why a GPU is not used. The machine is a folder with what Linux shows of it; torch is told."""

import pytest
import torch

from clip_dinoiser_ros.core.nvidia import unused_gpu

OLD = 'The NVIDIA driver on your system is too old (found version 11040).\n Please update it.'


@pytest.fixture(autouse=True)
def _no_cuda(monkeypatch):
    """A torch with CUDA that sees no device, whatever this machine has."""

    def init():
        raise RuntimeError(OLD)

    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(torch.cuda, 'init', init)
    monkeypatch.setattr(torch.version, 'cuda', '13.0')


def put(root, **files):
    """Make files of a folder, slashes written as __."""
    for name, text in files.items():
        path = root / name.replace('__', '/')
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def card(root, vendor='0x10de', kind='0x030200'):
    files = {'vendor': vendor, 'class': kind}
    return put(root, **{f'sys__bus__pci__devices__1__{k}': f'{v}\n' for k, v in files.items()})


DRIVERS = ['proc__driver__nvidia__version', 'dev__nvidia0', 'dev__nvhost-ctrl-gpu', 'dev__nvgpu__0']


@pytest.mark.parametrize('name', DRIVERS)
def test_message_of_torch_on_a_machine_with_a_driver(tmp_path, name):
    assert unused_gpu(put(tmp_path, **{name: ''})) == ' '.join(OLD.split())


def test_a_torch_without_cuda(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.version, 'cuda', None)
    assert 'is built without CUDA' in unused_gpu(put(tmp_path, dev__nvidia0=''))
    assert 'is built without CUDA' in unused_gpu(card(tmp_path))


def test_a_card_without_a_driver(tmp_path):
    assert 'its driver is not loaded' in unused_gpu(card(tmp_path))


def test_hidden_devices(tmp_path, monkeypatch):
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    assert unused_gpu(put(tmp_path, dev__nvidia0='')) == "CUDA_VISIBLE_DEVICES is ''"


def test_a_torch_that_says_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'init', lambda: None)
    assert unused_gpu(put(tmp_path, dev__nvidia0='')) == 'torch finds none'


def test_no_message_on_a_machine_without_nvidia(tmp_path, monkeypatch):
    assert unused_gpu(tmp_path) == ''
    assert unused_gpu(card(tmp_path, vendor='0x8086')) == ''
    assert unused_gpu(card(tmp_path, kind='0x040300')) == ''  # the sound of a card
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    assert unused_gpu(card(tmp_path)) == ''
