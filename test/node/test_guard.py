# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The model fails in every way that CUDA knows; all failures are injected, no device is needed."""

import subprocess
import sys
import threading
import weakref

import pytest
import torch

from clip_dinoiser_ros.core.memory import is_out_of_memory
from clip_dinoiser_ros.frames.guard import (
    BIGGER_AGAIN_S,
    MOST_IN_A_ROW,
    FinalError,
    FinalErrors,
    Guard,
    computes,
    is_of_cuda,
)
from clip_dinoiser_ros.node.guard import Watchdog

OUT_OF_MEMORY = 'CUDA out of memory. Tried to allocate 2.00 GiB.'


def broken():
    """The probe of a device that does not work any more."""
    return False


class Logger:
    def __init__(self):
        self.lines = []

    def warning(self, text):
        self.lines.append(('warning', text))

    def info(self, text):
        self.lines.append(('info', text))


class Device:
    """A model that doubles numbers, on a device with room for so many images at once."""

    def __init__(self, room):
        self.room, self.batches, self.freed, self.now_s = room, [], 0, 0.0
        self.logger = Logger()
        self.guard = Guard(self.call, FinalErrors(None), self.logger, self.free, lambda: self.now_s)

    def call(self, images):
        self.batches.append(len(images))
        if len(images) > self.room:
            raise torch.OutOfMemoryError(OUT_OF_MEMORY)
        return [2 * image for image in images]

    def free(self):
        self.freed += 1


def test_a_batch_too_large_goes_one_by_one_until_there_is_memory():
    device = Device(room=1)
    assert device.guard.run([1, 2, 3]) == [2, 4, 6]
    assert (device.batches, device.freed) == ([3, 1, 1, 1], 1)
    assert device.guard.degraded
    device.batches.clear()
    assert device.guard.run([1, 2]) == [2, 4]
    assert device.batches == [1, 1]  # not tried in vain for every frame
    device.now_s += BIGGER_AGAIN_S
    assert device.guard.run([1, 2]) == [2, 4]
    assert device.batches == [1, 1, 2, 1, 1]
    device.now_s, device.room = device.now_s + BIGGER_AGAIN_S, 4
    assert device.guard.run([1, 2]) == [2, 4]
    assert not device.guard.degraded
    assert device.batches[-1] == 2
    kinds = [kind for kind, _ in device.logger.lines]
    assert kinds == ['warning', 'info']  # each said once
    assert OUT_OF_MEMORY in device.logger.lines[0][1]


def test_an_image_too_large_alone_costs_itself_only():
    device = Device(room=0)
    (outcome,) = device.guard.run([1])
    assert is_out_of_memory(outcome)
    assert (device.batches, device.freed) == ([1, 1], 1)
    device.room = 1
    assert device.guard.run([5]) == [10]


def test_an_image_alone_is_tried_again_when_memory_was_freed():
    """As where CUDA graphs held it."""
    device = Device(room=0)

    def free():
        device.freed, device.room = device.freed + 1, 1

    device.guard._free = free
    assert device.guard.run([1]) == [2]
    assert (device.batches, device.freed) == ([1, 1], 1)


def test_memory_is_free_before_the_second_attempt():
    """An exception keeps the frames of its traceback alive, and with them their tensors."""
    alive, seen = [], []

    class Tensor:
        pass

    def call(images):
        seen.append(any(tensor() is not None for tensor in alive))
        held = Tensor()
        alive.append(weakref.ref(held))
        if len(images) > 1:
            raise torch.OutOfMemoryError(OUT_OF_MEMORY)
        return images

    freed_with = []
    guard = Guard(
        call,
        FinalErrors(broken),
        Logger(),
        lambda: freed_with.append([tensor() for tensor in alive]),
    )
    assert guard.run([1, 2]) == [1, 2]
    assert freed_with == [[None]]
    assert seen == [False, False, False]


def test_another_error_is_told_and_not_tried_again():
    calls = []

    def call(images):
        calls.append(images)
        raise ValueError('an image too small')

    outcomes = Guard(call, FinalErrors(broken), Logger()).run([1, 2])
    assert [str(outcome) for outcome in outcomes] == ['an image too small'] * 2
    assert len(calls) == 1


OF_CUDA = [
    torch.AcceleratorError('CUDA error: device-side assert triggered'),
    RuntimeError('CUDA error: an illegal memory access was encountered'),
    RuntimeError('CUDA error: unspecified launch failure\nCompile with ...'),
    RuntimeError('cuDNN error: CUDNN_STATUS_EXECUTION_FAILED'),
    RuntimeError('CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`'),
    RuntimeError('CUDA error: CUBLAS_STATUS_NOT_SUPPORTED when calling `cublasLtMatmul`'),
]
OTHERS = [
    torch.OutOfMemoryError(OUT_OF_MEMORY),
    torch.AcceleratorError('CUDA error: out of memory'),
    RuntimeError('CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`'),
    RuntimeError('cuDNN error: CUDNN_STATUS_ALLOC_FAILED'),
    RuntimeError('The size of tensor a (3) must match the size of tensor b (4)'),
    ValueError('CUDA error: written by somebody else'),
]


@pytest.mark.parametrize('error', OF_CUDA, ids=str)
def test_an_error_of_cuda_is_final_where_the_device_does_not_compute(error):
    def call(images):
        raise error

    assert is_of_cuda(error)
    with pytest.raises(FinalError, match=str(error).split('\n')[0].split('`')[0]):
        Guard(call, FinalErrors(broken), Logger()).run([1, 2])


@pytest.mark.parametrize('error', OTHERS, ids=str)
def test_other_errors_are_not_of_cuda(error):
    assert not is_of_cuda(error)
    assert is_out_of_memory(error) == (OTHERS.index(error) < 4)


def test_an_error_after_which_the_device_computes_costs_its_frames():
    outcomes = [OF_CUDA[3], None]

    def call(images):
        if outcome := outcomes.pop(0):
            raise outcome
        return images

    guard = Guard(call, FinalErrors(lambda: computes(torch.device('cpu'))), Logger())
    assert guard.run([1, 2]) == [OF_CUDA[3]] * 2
    assert guard.run([1, 2]) == [1, 2]


def test_errors_of_one_kind_in_a_row_are_final():
    errors = FinalErrors(lambda: True)
    for _ in range(2):  # the second row begins after a success
        for _ in range(MOST_IN_A_ROW - 1):
            errors.refuse(OF_CUDA[3])
            errors.refuse(OTHERS[-2])  # another kind does not count
        errors.succeeded()
    for _ in range(MOST_IN_A_ROW - 1):
        errors.refuse(OF_CUDA[3])
    with pytest.raises(FinalError):
        errors.refuse(OF_CUDA[3])


def test_a_device_that_raises_or_computes_something_else_does_not_work(monkeypatch):
    cpu = torch.device('cpu')
    assert computes(cpu)
    assert not computes(torch.device('cuda:99'))  # there is none: torch raises
    monkeypatch.setattr(torch, 'ones', lambda *args, **kwargs: torch.full((16, 16), 0.5))
    assert not computes(cpu)


def test_a_call_that_hangs_is_noticed():
    noticed, returned = threading.Event(), []

    def hangs(reason):
        returned.append(reason)
        noticed.set()

    watchdog = Watchdog(0.05, hangs)
    with watchdog:
        assert noticed.wait(60)
    watchdog.close()
    assert returned == ['the model did not return within 0.05 s (inference_timeout_s)']


@pytest.mark.parametrize('timeout_s', [60.0, 0.0])
def test_calls_that_return_are_left_alone(timeout_s):
    noticed = []
    watchdog = Watchdog(timeout_s, noticed.append)
    for _ in range(100):
        with watchdog:
            pass
    with pytest.raises(KeyError), watchdog:  # a call that fails has returned too
        raise KeyError
    watchdog.close()
    assert not noticed
    assert not watchdog._thread.is_alive()


def test_time_between_calls_does_not_count():
    clock_s, noticed = [0.0], []
    watchdog = Watchdog(1.0, noticed.append, lambda: clock_s[0])
    for _ in range(5):
        with watchdog:
            clock_s[0] += 0.9
        clock_s[0] += 100
    watchdog.close()
    assert not noticed


HANGING = """
import logging, threading
from clip_dinoiser_ros.node.guard import Watchdog, end_process
logger = logging.getLogger()
with Watchdog(0.05, lambda reason: end_process(logger, reason)):
    threading.Event().wait()
"""


def test_a_call_that_hangs_ends_the_process_with_exit_code_1():
    ended = subprocess.run(
        [sys.executable, '-c', HANGING], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 1
    assert 'the model did not return within 0.05 s' in ended.stderr
    assert 'to be restarted' in ended.stderr
