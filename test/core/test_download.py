# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

import weakref

import fake_cuda
import numpy as np
import pytest
import torch
from devices import DEVICES, needs_gpu

from clip_dinoiser_ros.core import download
from clip_dinoiser_ros.core.download import Download


@pytest.mark.parametrize('device', DEVICES)
def test_copied_tensors_equal_the_originals(device):
    tensors = [torch.arange(6).reshape(2, 3), torch.rand(480, 640)]
    first, second = Download(*(tensor.to(device) for tensor in tensors)).wait()
    np.testing.assert_array_equal(first, tensors[0].numpy())
    np.testing.assert_array_equal(second, tensors[1].numpy())


def test_the_wait_leaves_the_core_to_others_and_memory_is_held_until_then(monkeypatch):
    """On a stand-in for `torch.cuda`, on the second device."""
    cuda = fake_cuda.install(monkeypatch, download)
    monkeypatch.setattr(download, '_pinned_like', torch.empty_like)
    device = torch.device('cuda', 1)
    tensor = torch.rand(4, 5)
    held, expected = weakref.ref(tensor), tensor.numpy().copy()
    coming = Download(tensor)
    coming._begin(cuda.Stream(device))
    del tensor
    [event] = cuda.events
    assert event.blocking
    assert event.stream.device == device
    assert cuda.waits == [(event.stream.number, 0)]  # begins after what computes the tensors
    assert held() is not None
    for _ in range(2):
        np.testing.assert_array_equal(coming.wait()[0], expected)
    assert cuda.waited_for == [event]
    assert held() is None


@needs_gpu
def test_memory_is_free_after_the_wait():
    before = torch.cuda.memory_allocated()
    for _ in range(20):
        Download(torch.ones(1 << 20, device='cuda')).wait()
        assert torch.cuda.memory_allocated() == before
