# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The kernel without a GPU: interpreted, compiled for each kind of GPU, and counted."""

import json
import os
from types import SimpleNamespace

import fake_cuda
import pytest
import torch
from devices import needs_gpu
from torch._subclasses.fake_tensor import FakeTensorMode

from clip_dinoiser_ros.core import upsample, upsample_triton

SECOND = torch.device('cuda', 1)

SMALL = [(2, 4, 9, (9, 31), (3.5, 8.5)), (1, 1, 1, (2, 3), (1.0, 1.0))]  # K, h, w, size, extent
LARGE = [(7, 3, 17, (9, 262), (2.25, 262 / 16)), (257, 2, 3, (3, 7), (2.0, 3.0))]
SAME = """
import json, sys, torch
from clip_dinoiser_ros.core import upsample, upsample_triton
device = sys.argv[1]
for k, h, w, size, extent in json.loads(sys.argv[2]):
    maps = (3 * torch.randn(k, h, w)).softmax(dim=0)
    own = torch.rand(h, w)
    for background in (None, (k // 2, own)):
        labels, confidence, _ = upsample.enlarge(maps, size, extent, background)
        found, sure = torch.empty_like(labels, device=device), torch.empty(size, device=device)
        mono8 = torch.empty(size, dtype=torch.uint8, device=device)
        moved = background and (background[0], own.to(device))
        upsample_triton.enlarge_into(found, sure, mono8, maps.to(device), extent, moved)
        assert torch.equal(mono8, upsample.to_mono8(sure))  # bit for bit
        found, sure = found.cpu(), sure.cpu()
        same = found == labels
        assert same.float().mean() > 0.999, (k, same.float().mean())
        assert (sure - confidence)[same].abs().max() < 1e-5, (k, (sure - confidence).abs().max())
print('done')
"""

# halves and their neighbours, as the confidence of whole images: one class, so all is its map
ROUNDING = """
import torch
from clip_dinoiser_ros.core import upsample, upsample_triton
halves = (torch.arange(255) + 0.5) / 255
near = [halves, halves.nextafter(torch.tensor(0.0)), halves.nextafter(torch.tensor(1.0))]
values = torch.cat([*near, torch.arange(256) / 255])
maps = values.reshape(1, 1, -1)
labels, mono8 = (torch.empty(1, len(values), dtype=torch.uint8) for _ in range(2))
sure = torch.empty(1, len(values))
upsample_triton.enlarge_into(labels, sure, mono8, maps, (1.0, float(len(values))))
assert torch.equal(sure[0], values)
assert torch.equal(mono8, upsample.to_mono8(sure))
print('done')
"""

# all that a node might do from its start on; the tensors are on the CPU, nothing is launched
COUNTED = """
import torch
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver
from clip_dinoiser_ros.core import upsample_triton

class Driver:
    get_current_device = staticmethod(lambda: 0)
    get_current_stream = staticmethod(lambda device: 0)
    get_current_target = staticmethod(lambda: GPUTarget('cuda', 87, 32))

driver.set_active(Driver())
real = upsample_triton.kernel()

class Compiled:
    def __getitem__(self, grid):
        return lambda *args, **kwargs: real.run(*args, grid=grid, warmup=True, **kwargs)

upsample_triton.kernel = lambda: Compiled()
batch = torch.rand(3, 300, 3, 5)
for image in range(3):
    for count in (1, 2, 15, 16, 17, 300):
        for height, width in ((1, 1), (16, 16), (17, 33), (480, 640), (31, 641)):
            for background in (None, (0, batch[image, 1]), (1, batch[image, 1])):
                dtype = torch.uint8 if count < 256 else torch.int16
                size = height * width
                for offset in (0, 1, 3):  # aligned, and not
                    labels = torch.empty(size + offset, dtype=dtype)[offset:].reshape(height, width)
                    mono8 = torch.empty(size + offset, dtype=torch.uint8)[offset:]
                    sure = torch.empty(size + offset)[offset:].reshape(height, width)
                    maps = batch[image, :count]
                    upsample_triton.enlarge_into(
                        labels, sure, mono8.reshape(height, width), maps, (3.0, 5.0), background
                    )
assert len(real.device_caches[0][0]) == len(upsample_triton.LABEL_TYPES), real.device_caches[0][0]
print('done')
"""

COMPILED = """
import sys, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from clip_dinoiser_ros.core import upsample_triton
kernel = upsample_triton.kernel()
types = {name: 'i32' for name in kernel.arg_names}
types |= {'maps': '*fp32', 'own': '*fp32', 'confidence': '*fp32', 'mono8': '*u8'}
types |= {'scale_y': 'fp32', 'scale_x': 'fp32', 'BLOCK': 'constexpr'}
for capability in map(int, sys.argv[1:]):
    for labels in ('*u8', '*i16'):
        source = ASTSource(
            fn=kernel,
            signature=types | {'labels': labels},
            constexprs={(kernel.arg_names.index('BLOCK'),): upsample_triton.BLOCK},
        )
        target, options = GPUTarget('cuda', capability, 32), {'enable_fp_fusion': False}
        compiled = triton.compile(source, target=target, options=options)
        assert len(compiled.asm['cubin']) > 1000
        assert f'.target sm_{capability}' in compiled.asm['ptx']
        assert 'fma.' not in compiled.asm['ptx']  # the product of the rounding is a float32
print('done')
"""


@pytest.mark.parametrize(
    'cases', [SMALL, pytest.param(LARGE, marks=pytest.mark.long)], ids=['small', 'large']
)
def test_the_kernel_equals_the_rest_in_tritons_interpreter(run_triton, cases):
    """Slow and without a GPU, but the same program."""
    run_triton(SAME, 'cpu', json.dumps(cases), TRITON_INTERPRET='1')


def test_confidence_is_rounded_as_opencv_rounds_it(run_triton):
    run_triton(ROUNDING, TRITON_INTERPRET='1')


@needs_gpu
def test_the_kernel_equals_the_rest_on_a_gpu(run_triton):
    assert upsample_triton.usable(torch.device('cuda', 0))
    run_triton(SAME, 'cuda:0', json.dumps(SMALL + LARGE))


@pytest.mark.skipif(os.uname().machine != 'x86_64', reason="Triton's assembler is that of x86-64")
@pytest.mark.long
def test_it_compiles_for_every_gpu_that_torch_supports(run_triton):
    """Turing, Ampere, Orin, Ada, Hopper, Blackwell, Thor and its successors in shops."""
    run_triton(COMPILED, '75', '80', '86', '87', '89', '90', '100', '110', '120')


@pytest.mark.long
def test_nothing_is_compiled_after_the_start(run_triton):
    """Neither for other words, sizes and images of a batch nor past 256 classes: counted."""
    run_triton(COUNTED)


class Kernel:
    """Notes for which device it is launched, and with which images."""

    def __init__(self, cuda, error=None):
        self.cuda, self.error, self.launches = cuda, error, []

    def __getitem__(self, grid):
        def launch(maps, own, labels, confidence, mono8, *rest, **options):
            if self.error:
                raise self.error
            self.launches.append((self.cuda.current, labels.device, grid))

        return launch


@pytest.fixture
def second_gpu(monkeypatch):
    """A stand-in for `torch.cuda` and for the kernel, which works on the second of two GPUs."""
    cuda = fake_cuda.install(monkeypatch, upsample_triton)
    kernel = Kernel(cuda)
    monkeypatch.setattr(upsample_triton, 'kernel', lambda: kernel)
    monkeypatch.setattr(upsample_triton._trial, 'works', {SECOND: True})
    return kernel


def enlarge(device=SECOND, classes=9):
    """On torch's fake tensors, which have a device and no numbers."""
    with FakeTensorMode():
        maps = torch.rand(classes, 28, 50, device=device)
        return upsample.enlarge(maps, (480, 640), (28.0, 50.0), (1, maps[0]))


def test_it_is_launched_on_the_device_of_its_tensors(second_gpu):
    """Another one is the current device of the thread, before and after."""
    result = enlarge()
    assert second_gpu.launches == [(SECOND, SECOND, (480, 3))]
    assert second_gpu.cuda.current == torch.device('cuda', 0)
    assert result.mono8.dtype == torch.uint8


def test_failing_kernel_falls_back_to_torch(second_gpu, caplog):
    second_gpu.error = RuntimeError('PassManager::run failed')
    for _ in range(3):
        result = enlarge()
        assert result.mono8 is None
        assert result.labels.device == SECOND
    assert len(caplog.records) == 1
    assert 'without the Triton kernel, which is slower: RuntimeError: PassManager' in caplog.text
    assert not upsample_triton.usable(SECOND)


def test_too_little_memory_is_not_its_fault(second_gpu, monkeypatch, caplog):
    second_gpu.error = torch.OutOfMemoryError('CUDA out of memory.')
    with pytest.raises(torch.OutOfMemoryError):
        enlarge()
    assert upsample_triton.usable(SECOND)
    # nor when it is tried out
    monkeypatch.setattr(upsample_triton._trial, 'works', {})

    def too_little(device):
        raise RuntimeError('Triton Error [CUDA]: out of memory')

    with monkeypatch.context() as patch:
        patch.setattr(upsample_triton, '_try_out', too_little)
        assert not upsample_triton.usable(SECOND)
    monkeypatch.setattr(upsample_triton, '_try_out', lambda device: '')
    assert upsample_triton.usable(SECOND)
    assert not caplog.records


def test_missing_compiler_is_logged_once(monkeypatch, caplog):
    assert not upsample_triton.usable(torch.device('cpu'))
    fake_cuda.install(monkeypatch, upsample_triton)
    monkeypatch.setattr(upsample_triton._trial, 'works', {})
    empty = torch.empty
    monkeypatch.setattr(
        upsample_triton,
        'torch',
        SimpleNamespace(
            eye=lambda n, device: torch.eye(n),
            empty=lambda *size, device, dtype=torch.float32: empty(*size, dtype=dtype),
            uint8=torch.uint8,
        ),
    )

    def broken():
        raise RuntimeError('Failed to find C compiler')

    monkeypatch.setattr(upsample_triton, 'kernel', broken)
    assert not upsample_triton.usable(SECOND)
    assert not upsample_triton.usable(SECOND)
    assert caplog.text.count('Failed to find C compiler') == 1


def test_a_wrong_answer_rules_it_out(second_gpu, monkeypatch, caplog):
    monkeypatch.setattr(upsample_triton._trial, 'works', {})
    monkeypatch.setattr(upsample_triton, '_try_out', lambda device: 'its answer is wrong: [[7]]')
    assert not upsample_triton.usable(SECOND)
    assert 'its answer is wrong' in caplog.text
