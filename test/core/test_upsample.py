# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from clip_dinoiser_ros.core import upsample
from clip_dinoiser_ros.core.upsample import enlarge_maps
from clip_dinoiser_ros.frames.outputs import encode_confidence


def probabilities(classes, h, w, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(classes, h, w, generator=generator)).softmax(dim=0)


def reference(maps, size, padded):
    """Interpolate everything, then choose: what `enlarge` must equal."""
    target = (maps.shape[1] * 16, maps.shape[2] * 16) if padded else size
    full = F.interpolate(maps[None], size=target, mode='bilinear', align_corners=False)[0]
    return full[:, : size[0], : size[1]]


WAYS = [upsample._enlarge_by_bands, upsample._enlarge_by_classes]  # of a CPU; of a GPU


@pytest.mark.parametrize('way', WAYS)
@pytest.mark.parametrize('padded', [True, False])
@pytest.mark.parametrize(
    ('classes', 'h', 'w', 'size'),
    [
        (7, 11, 14, (170, 215)),
        (2, 4, 9, (50, 131)),
        (1, 1, 1, (16, 16)),
        (300, 5, 6, (80, 96)),
        (20, 28, 37, (448, 592)),
    ],
)
def test_equals_interpolation_followed_by_max(monkeypatch, way, padded, classes, h, w, size):
    monkeypatch.setattr(upsample, 'TILE_ELEMENTS', 1 << 14)  # many tiles
    monkeypatch.setattr(upsample, 'GPU_ELEMENTS', 1 << 16)  # and many parts of the classes
    maps = probabilities(classes, h, w)
    extent = (size[0] / 16, size[1] / 16) if padded else (float(h), float(w))
    labels, confidence, _ = way(maps, size, extent, None)
    full = reference(maps, size, padded)
    best, expected = full.max(dim=0)
    torch.testing.assert_close(confidence, best, atol=5e-6, rtol=0)
    second = full.topk(2, dim=0).values[1] if classes > 1 else torch.zeros(size)
    clear = best - second > 5e-6  # elsewhere rounding may decide
    assert clear.float().mean() > 0.99
    assert torch.equal(labels.long()[clear], expected[clear])
    assert labels.dtype == (torch.uint8 if classes <= 256 else torch.int16)


@pytest.mark.parametrize('way', WAYS)
def test_background_confidence_is_reported_only_where_background_wins(way):
    maps = probabilities(3, 6, 6)
    own = torch.full((6, 6), 0.25)
    plain_labels, plain, _ = way(maps, (96, 96), (6.0, 6.0), None)
    labels, confidence, _ = way(maps, (96, 96), (6.0, 6.0), (1, own))
    assert torch.equal(labels, plain_labels)
    wins = labels == 1
    assert wins.any()
    assert torch.allclose(confidence[wins], torch.tensor(0.25))
    assert torch.equal(confidence[~wins], plain[~wins])


def test_confidence_is_rounded_as_opencv_rounds_it():
    """Bit for bit, most of all beside the halves."""
    halves = (torch.arange(255) + 0.5) / 255
    near = [halves, halves.nextafter(torch.tensor(0.0)), halves.nextafter(torch.tensor(1.0))]
    exact = torch.arange(256) / 255
    some = torch.rand(100_000, generator=torch.Generator().manual_seed(0))
    confidence = torch.cat([*near, exact, some])[None]
    expected = encode_confidence(confidence.numpy(), 'mono8')
    np.testing.assert_array_equal(upsample.to_mono8(confidence).numpy(), expected)
    assert set(expected[0, :-100_000].tolist()) == set(range(256))


def sharp(classes, h, w, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (30 * torch.randn(classes, h, w, generator=generator)).softmax(dim=0)


@pytest.mark.parametrize('way', WAYS)
@pytest.mark.parametrize('make', [probabilities, sharp])
@pytest.mark.parametrize('shape', [(40, 6, 9), (40, 1, 9), (40, 6, 1), (3, 2, 2)])
def test_leaving_out_what_cannot_win_changes_nothing(monkeypatch, way, make, shape):
    maps, own, size = make(*shape), torch.rand(shape[1:]), (77, 131)
    extent = (float(shape[1]), float(shape[2]))
    some = way(maps, size, extent, (1, own))
    monkeypatch.setattr(upsample, '_possible', lambda rows: torch.arange(shape[0]))
    every = way(maps, size, extent, (1, own))
    assert torch.equal(some[0], every[0])
    assert torch.equal(some[1], every[1])


def test_few_of_many_classes_are_looked_at():
    scores = torch.randn(150, 2, 50, generator=torch.Generator().manual_seed(0))
    scores[40:52] += 20  # what there is
    assert set(upsample._possible((3 * scores).softmax(dim=0)).tolist()) <= set(range(40, 52))


@pytest.mark.long
def test_the_memory_beside_the_result_stays_small():
    """150 classes at 1920x1080 in a process of its own: all at once would take 1.2 GB."""
    code = (
        'import resource, torch\n'
        'from pathlib import Path\n'
        'from clip_dinoiser_ros.core.upsample import enlarge\n'
        'torch.set_num_threads(2)\n'
        'maps = (3 * torch.randn(150, 28, 50)).softmax(dim=0)\n'
        'enlarge(maps, (64, 64), (28.0, 50.0))\n'
        "Path('/proc/self/clear_refs').write_text('5')\n"
        "status = lambda key: int(Path('/proc/self/status').read_text().split(key)[1].split()[0])\n"
        "before = status('VmRSS:')\n"
        'enlarge(maps, (1080, 1920), (28.0, 50.0))\n'
        "print(status('VmHWM:') - before)\n"
    )
    if not os.access('/proc/self/clear_refs', os.W_OK):
        pytest.skip('this system does not let a process reset its peak memory')
    command = [sys.executable, '-c', code]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    result = 1080 * 1920 * (1 + 4) / 1024
    assert result / 2 < int(output) < 64 * 1024


@pytest.mark.parametrize('padded', [True, False])
@pytest.mark.parametrize('background', [None, 1])
@pytest.mark.parametrize('scale', [1.0, 0.5, 0.37])
def test_a_gpu_without_triton_says_the_same_as_a_cpu(padded, background, scale):
    maps, whole = sharp(60, 11, 14), (170, 215)
    size = (round(170 * scale), round(215 * scale))
    extent = (whole[0] / 16, whole[1] / 16) if padded else (11.0, 14.0)
    filtered = background and (background, torch.rand(11, 14))
    bands, classes = (way(maps, size, extent, filtered) for way in WAYS)
    assert (bands.labels == classes.labels).float().mean() > 0.999
    same = bands.labels == classes.labels
    torch.testing.assert_close(bands.confidence[same], classes.confidence[same], atol=2e-5, rtol=0)
    large = upsample._interpolate(maps, size, extent).clamp(0.0, 1.0)
    torch.testing.assert_close(large, enlarge_maps(maps, size, extent), atol=2e-5, rtol=0)


class Operations(TorchDispatchMode):
    """Counts the operations that would be launches on a GPU, and those that wait for it."""

    def __init__(self):
        super().__init__()
        self.launches, self.waits = 0, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        views = ('view', 'slice', 'select', 'alias', 'expand', 'unsqueeze', 'narrow', 'detach')
        self.launches += not any(view in str(function) for view in views)
        self.waits += 'nonzero' in str(function) or '_local_scalar_dense' in str(function)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ('classes', 'shown', 'launches', 'waits'),
    [
        (8, 8, 8, 0),
        (16, 16, 8, 0),
        (150, 12, 24, 1),
        pytest.param(150, 150, 80, 1, marks=pytest.mark.long),
    ],
)
def test_a_gpu_without_triton_gets_few_launches(classes, shown, launches, waits):
    """At 1920x1080; band by band it would be 800 to 2200, and 28 waits."""
    maps = torch.zeros(classes, 28, 50)
    maps[:shown] = sharp(shown, 28, 50)
    with Operations() as operations:
        upsample._enlarge_by_classes(maps, (1080, 1920), (28.0, 50.0), (0, maps[0]))
    assert operations.launches <= launches
    assert operations.waits == waits
    with Operations() as operations:
        upsample._interpolate(maps[:3], (1080, 1920), (28.0, 50.0)).clamp_(0.0, 1.0)
    assert (operations.launches, operations.waits) == (2, 0)
