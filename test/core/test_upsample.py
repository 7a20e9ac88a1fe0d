# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from devices import needs_gpu

from clip_dinoiser_ros.core import upsample, upsample_triton
from clip_dinoiser_ros.core.upsample import enlarge
from clip_dinoiser_ros.frames.outputs import encode_confidence


def probabilities(classes, h, w, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(classes, h, w, generator=generator)).softmax(dim=0)


def reference(maps, size, padded):
    """Interpolate everything, then choose: what `enlarge` must equal."""
    target = (maps.shape[1] * 16, maps.shape[2] * 16) if padded else size
    full = F.interpolate(maps[None], size=target, mode='bilinear', align_corners=False)[0]
    return full[:, : size[0], : size[1]]


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
def test_equals_interpolation_followed_by_max(monkeypatch, padded, classes, h, w, size):
    monkeypatch.setattr(upsample, 'TILE_ELEMENTS', 1 << 14)  # many tiles
    maps = probabilities(classes, h, w)
    extent = (size[0] / 16, size[1] / 16) if padded else (float(h), float(w))
    labels, confidence = enlarge(maps, size, extent)
    full = reference(maps, size, padded)
    best, expected = full.max(dim=0)
    torch.testing.assert_close(confidence, best, atol=5e-6, rtol=0)
    second = full.topk(2, dim=0).values[1] if classes > 1 else torch.zeros(size)
    clear = best - second > 5e-6  # elsewhere rounding may decide
    assert clear.float().mean() > 0.99
    assert torch.equal(labels.long()[clear], expected[clear])
    assert labels.dtype == (torch.uint8 if classes <= 256 else torch.int16)


def test_background_confidence_is_reported_only_where_background_wins():
    maps = probabilities(3, 6, 6)
    own = torch.full((6, 6), 0.25)
    plain_labels, plain = enlarge(maps, (96, 96), (6.0, 6.0))
    labels, confidence = enlarge(maps, (96, 96), (6.0, 6.0), background=(1, own))
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


@pytest.mark.parametrize('make', [probabilities, sharp])
@pytest.mark.parametrize('shape', [(40, 6, 9), (40, 1, 9), (40, 6, 1), (3, 2, 2)])
def test_leaving_out_what_cannot_win_changes_nothing(monkeypatch, make, shape):
    maps, own, size = make(*shape), torch.rand(shape[1:]), (77, 131)
    extent = (float(shape[1]), float(shape[2]))
    some = enlarge(maps, size, extent, (1, own))
    monkeypatch.setattr(upsample, '_possible', lambda rows: torch.arange(shape[0]))
    every = enlarge(maps, size, extent, (1, own))
    assert torch.equal(some[0], every[0])
    assert torch.equal(some[1], every[1])


def test_few_of_many_classes_are_looked_at():
    scores = torch.randn(150, 2, 50, generator=torch.Generator().manual_seed(0))
    scores[40:52] += 20  # what there is
    assert set(upsample._possible((3 * scores).softmax(dim=0)).tolist()) <= set(range(40, 52))


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


SMALL = [(2, 4, 9, (9, 31), (3.5, 8.5)), (1, 1, 1, (2, 3), (1.0, 1.0))]  # K, h, w, size, extent
LARGE = [(7, 3, 17, (9, 262), (2.25, 262 / 16)), (257, 2, 3, (3, 7), (2.0, 3.0))]
TRITON = """
import json, sys, torch
from clip_dinoiser_ros.core import upsample, upsample_triton
device = sys.argv[1]
for k, h, w, size, extent in json.loads(sys.argv[2]):
    maps = (3 * torch.randn(k, h, w)).softmax(dim=0)
    own = torch.rand(h, w)
    for background in (None, (k // 2, own)):
        labels, confidence = upsample.enlarge(maps, size, extent, background)
        found, sure = torch.empty_like(labels, device=device), torch.empty(size, device=device)
        moved = background and (background[0], own.to(device))
        upsample_triton.enlarge_into(found, sure, maps.to(device), extent, moved)
        found, sure = found.cpu(), sure.cpu()
        same = found == labels
        assert same.float().mean() > 0.999, (k, same.float().mean())
        assert (sure - confidence)[same].abs().max() < 1e-5, (k, (sure - confidence).abs().max())
print('same')
"""


def run_triton(device, cases, **environment):
    pytest.importorskip('triton')
    command = [sys.executable, '-c', TRITON, device, json.dumps(cases)]
    run = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert run.stdout == 'same\n', run.stderr[-2000:]


@pytest.mark.parametrize(
    'cases', [SMALL, pytest.param(LARGE, marks=pytest.mark.long)], ids=['small', 'large']
)
def test_the_kernel_equals_the_rest_in_tritons_interpreter(cases):
    """Slow and without a GPU, but the same program."""
    run_triton('cpu', cases, TRITON_INTERPRET='1')


@needs_gpu
def test_the_kernel_equals_the_rest_on_a_gpu():
    assert upsample_triton.usable(torch.device('cuda'))
    run_triton('cuda', SMALL + LARGE)


def test_where_there_is_no_gpu_there_is_no_kernel(monkeypatch, caplog):
    assert not upsample_triton.usable(torch.device('cpu'))

    def broken():
        raise RuntimeError('no compiler')

    monkeypatch.setattr(upsample_triton, 'kernel', broken)
    upsample_triton.usable.cache_clear()
    assert not upsample_triton.usable(torch.device('cuda', 7))
    assert not upsample_triton.usable(torch.device('cuda', 7))
    assert caplog.text.count('no compiler') == 1
    upsample_triton.usable.cache_clear()
