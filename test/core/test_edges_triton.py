# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The kernel of `edges` without a GPU: interpreted, compiled for each kind of GPU, and counted."""

import json
import os

import fake_cuda
import numpy as np
import pytest
import torch
from devices import needs_gpu
from torch._subclasses.fake_tensor import FakeTensorMode

from clip_dinoiser_ros.core import edges, edges_triton
from clip_dinoiser_ros.core.segmentation import Patches

SECOND = torch.device('cuda', 1)
SHAPES = [(1, 1, 1), (3, 7, 5), (9, 9, 16)]  # K, h, w; the last takes two programs each way
SAME = """
import json, sys, torch
from clip_dinoiser_ros.core import edges, edges_triton
device = sys.argv[1]
assert edges_triton._try_out(torch.device(device)) == ''
for count, height, width in json.loads(sys.argv[2]):
    cells = (3 * torch.randn(count, height, width)).softmax(dim=0)
    blocks = torch.randint(256, (3, -(-height // 4), -(-width // 4)), dtype=torch.uint8)
    even = blocks.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, :height, :width]
    noisy = (even.int() + torch.randint(-2, 3, even.shape)).clamp(0, 255).to(torch.uint8)
    random = torch.randint(256, even.shape, dtype=torch.uint8)
    for planes in (even, noisy, random):
        weights = edges._weights(planes.float())
        image = planes.permute(1, 2, 0).contiguous().to(device)
        there, expected = cells.to(device), cells
        steps = 3 if planes is even else 1
        found = edges_triton.average(there, image, steps, edges.SHARPNESS)
        for _ in range(steps):
            expected = edges._average(expected, weights)
        worst = (found.cpu() - expected).abs().max()
        assert worst < 1e-5, (count, height, width, steps, worst)
        assert torch.equal(there.cpu(), cells)
print('done')
"""

COMPILED = """
import sys, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from clip_dinoiser_ros.core import edges_triton
kernel = edges_triton.kernel()
types = {name: 'i32' for name in kernel.arg_names}
types |= {'maps': '*fp32', 'result': '*fp32', 'image': '*u8', 'sharpness': 'fp32'}
types |= {'GROUP': 'constexpr', 'BLOCK': 'constexpr'}
constants = {
    (kernel.arg_names.index(name),): getattr(edges_triton, name) for name in ('GROUP', 'BLOCK')
}
for capability in map(int, sys.argv[1:]):
    source = ASTSource(fn=kernel, signature=types, constexprs=constants)
    compiled = triton.compile(source, target=GPUTarget('cuda', capability, 32))
    assert len(compiled.asm['cubin']) > 1000
    assert f'.target sm_{capability}' in compiled.asm['ptx']
    assert compiled.metadata.shared == 0
print('done')
"""

# images, prompts and batches of a node; the tensors are on the CPU, nothing is launched
COUNTED = """
import torch
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver
from clip_dinoiser_ros.core import edges_triton

class Driver:
    get_current_device = staticmethod(lambda: 0)
    get_current_stream = staticmethod(lambda device: 0)
    get_current_target = staticmethod(lambda: GPUTarget('cuda', 87, 32))

driver.set_active(Driver())
real = edges_triton.kernel()

class Compiled:
    def __getitem__(self, grid):
        return lambda *args, **kwargs: real.run(*args, grid=grid, warmup=True, **kwargs)

edges_triton.kernel = lambda: Compiled()
for count in (1, 2, 16, 17, 300):
    for height, width in ((1, 1), (16, 16), (17, 33), (112, 149)):
        for offset in (0, 1, 3):  # aligned, and not
            size = height * width
            image = torch.empty(3 * size + offset, dtype=torch.uint8)[offset:]
            cells = torch.empty(count * size + offset)[offset:].reshape(count, height, width)
            edges_triton.average(cells, image.reshape(height, width, 3), 3, 10.0)
assert len(real.device_caches[0][0]) == 1, real.device_caches[0][0]
print('done')
"""


@pytest.mark.long
def test_the_kernel_equals_the_rest_in_tritons_interpreter(run_triton):
    """Slow and without a GPU, but the same program."""
    run_triton(SAME, 'cpu', json.dumps(SHAPES), TRITON_INTERPRET='1')


@needs_gpu
def test_the_kernel_equals_the_rest_on_a_gpu(run_triton):
    assert edges_triton.usable(torch.device('cuda', 0))
    run_triton(SAME, 'cuda:0', json.dumps([*SHAPES, (150, 112, 149)]))


@pytest.mark.skipif(os.uname().machine != 'x86_64', reason="Triton's assembler is that of x86-64")
@pytest.mark.long
def test_it_compiles_for_every_gpu_that_torch_supports(run_triton):
    """Turing, Ampere, Orin, Ada, Hopper, Blackwell, Thor and its successors in shops."""
    run_triton(COMPILED, '75', '80', '86', '87', '89', '90', '100', '110', '120')


@pytest.mark.long
def test_nothing_is_compiled_after_the_start(run_triton):
    """Neither for other words nor for other sizes: counted."""
    run_triton(COUNTED)


class Kernel:
    """Notes for which device it is launched, and with which images."""

    def __init__(self, cuda, error=None):
        self.cuda, self.error, self.launches = cuda, error, []

    def __getitem__(self, grid):
        def launch(source, target, image, *rest, **options):
            if self.error:
                raise self.error
            assert source is not target
            assert image.is_contiguous()
            self.launches.append((self.cuda.current, source.device, image.device, grid))

        return launch


@pytest.fixture
def second_gpu(monkeypatch):
    """A stand-in for `torch.cuda` and for the kernel, which works on the second of two GPUs."""
    kernel = Kernel(fake_cuda.install(monkeypatch, edges_triton))
    monkeypatch.setattr(edges_triton, 'kernel', lambda: kernel)
    monkeypatch.setattr(edges_triton._trial, 'works', {SECOND: True})
    # memory cannot be pinned without a GPU
    monkeypatch.setattr(edges, '_upload', lambda image, device: torch.from_numpy(image).to(device))
    return kernel


def refine(mode, classes=9, filtered=False):
    """On torch's fake tensors, which have a device and no numbers, so nothing can wait for one."""
    image = np.zeros((480, 640, 3), np.uint8)
    with FakeTensorMode(allow_non_fake_inputs=True):
        maps = torch.rand(classes, 28, 37, device=SECOND)
        patches = Patches(maps, maps[0] if filtered else None, (28.0, 37.0), None)
        return edges.refine(patches, image, mode)


@pytest.mark.parametrize('filtered', [False, True])
@pytest.mark.parametrize('mode', ['fast', 'fine'])
def test_it_is_launched_once_for_each_averaging(second_gpu, mode, filtered):
    """On the device of its tensors; another one is the current device of the thread."""
    result = refine(mode, filtered=filtered)
    groups = -(-(9 + filtered) // edges_triton.GROUP)
    launch = (SECOND, SECOND, SECOND, (-(-112 * 148 // edges_triton.BLOCK), groups))
    assert second_gpu.launches == [launch] * edges.STEPS[mode]
    assert second_gpu.cuda.current == torch.device('cuda', 0)
    assert result.probabilities.shape == (9, 112, 148)
    assert (result.background_confidence is not None) == filtered


def test_failing_kernel_falls_back_to_torch(second_gpu, monkeypatch, caplog):
    second_gpu.error = RuntimeError('PassManager::run failed')
    others = []

    def average_chosen(cells, chosen, image, steps):
        others.append(steps)
        return cells

    monkeypatch.setattr(edges, '_average_chosen', average_chosen)
    monkeypatch.setattr(edges, '_possible', lambda maps: torch.ones(len(maps), dtype=torch.bool))
    for _ in range(3):
        refine('fast')
    assert others == [3, 3, 3]
    assert len(caplog.records) == 1
    assert 'sharpening edges without the Triton kernel, which is slower: Runt' in caplog.text
    assert not edges_triton.usable(SECOND)


def test_too_little_memory_is_not_its_fault(second_gpu, caplog):
    second_gpu.error = torch.OutOfMemoryError('CUDA out of memory.')
    with pytest.raises(torch.OutOfMemoryError):
        refine('fast')
    assert edges_triton.usable(SECOND)
    assert not caplog.records
