# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A stand-in for `torch.cuda` on a machine without a GPU; tensors stay on the CPU.

Its graphs record the operations of a capture and repeat them on the same memory, with the numbers
that Python passed then, as CUDA does. What CUDA refuses during a capture is refused here too.
Devices, streams and captures are kept in lists, for tests to look at.
"""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import torch
from torch.utils._python_dispatch import TorchDispatchMode

# they wait for the device, which a capture does not allow
WAITING = {'aten._local_scalar_dense.default', 'aten.nonzero.default', 'aten.equal.default'}
REFUSED = 'CUDA error: operation not permitted when stream is capturing'
BROKEN = 'CUDA error: operation failed due to a previous error during capture'


class Stream:
    def __init__(self, device, number):
        self.device, self.number = device, number

    def wait_stream(self, other):
        assert not CUDA.capturing, 'a capture must not wait for what is not in it'
        CUDA.waits.append((self.number, other.number))

    def synchronize(self):
        CUDA.synchronized.append((self.device, self.number))


class Recorder(TorchDispatchMode):
    """Runs operations and keeps them."""

    def __init__(self):
        super().__init__()
        self.operations, self.broken = [], False

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if str(function) in WAITING or CUDA.breaks_on(str(function)):
            self.broken = True
            raise CUDA.error or RuntimeError(REFUSED)
        result = function(*args, **kwargs)
        self.operations.append((function, args, kwargs, result))
        return result


class Graph:
    def __init__(self):
        self.recorder, self.live, self.replays, self.was_reset = None, False, 0, False

    def capture_begin(self, pool, capture_error_mode):
        stream = CUDA.current_stream(CUDA.current)
        assert stream.number > 0, 'captured in the default stream'
        assert stream.device == CUDA.current, 'captured on another device than the current one'
        assert capture_error_mode == 'thread_local'
        assert pool not in CUDA.underway, 'already recording to this pool'
        CUDA.underway.append(pool)
        CUDA.captures.append((stream.number, CUDA.current.index, pool))
        self.pool, self.recorder = pool, Recorder()
        self.recorder.__enter__()
        CUDA.capturing = True

    def capture_end(self):
        CUDA.capturing = False
        self.recorder.__exit__(None, None, None)
        if self.recorder.broken:  # torch raises here, before it tells its allocator
            raise RuntimeError(BROKEN)
        CUDA.underway.remove(self.pool)
        self.live = True

    @torch.inference_mode()
    def replay(self):
        assert self.live
        self.replays += 1
        for function, args, kwargs, result in self.recorder.operations:
            again = function(*args, **kwargs)
            if function._schema.is_mutable:
                continue
            outs, news = (x if isinstance(x, tuple | list) else (x,) for x in (result, again))
            for out, new in zip(outs, news, strict=True):
                if isinstance(out, torch.Tensor) and out.numel() and not same_memory(out, new):
                    out.copy_(new)

    def reset(self):
        self.live, self.was_reset = False, True


def same_memory(a, b):
    return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()


class Event:
    def __init__(self, blocking=False):
        self.blocking, self.stream = blocking, None
        CUDA.events.append(self)

    def record(self, stream):
        self.stream = stream

    def synchronize(self):
        assert self.stream is not None
        CUDA.waited_for.append(self)


class FakeCuda(SimpleNamespace):
    """What of `torch.cuda` our code uses."""

    def __init__(self):
        super().__init__(
            captures=[], underway=[], waits=[], events=[], waited_for=[], synchronized=[]
        )
        self.emptied = self.stalls = 0
        self.Stream, self.CUDAGraph, self.Event = self._stream, Graph, Event
        self.current = torch.device('cuda', 0)
        self.capturing, self.error, self.breaks_on = False, None, lambda function: False
        self._streams, self._pools = {}, 0
        self._numbers = 0

    def _stream(self, device):
        self._numbers += 1
        return Stream(device, self._numbers)

    def is_available(self):
        return True

    def current_stream(self, device):
        return self._streams.setdefault(device, Stream(device, 0))

    @contextmanager
    def stream(self, stream):
        before = self.current_stream(stream.device)
        self._streams[stream.device] = stream
        try:
            yield
        finally:
            self._streams[stream.device] = before

    @contextmanager
    def device(self, device):
        before, self.current = self.current, device
        try:
            yield
        finally:
            self.current = before

    def device_of(self, tensor):
        return self.device(tensor.device)

    def graph_pool_handle(self):
        self._pools += 1
        return (0, self._pools)

    def empty_cache(self):
        assert not self.underway, 'captures_underway.empty() INTERNAL ASSERT FAILED'
        self.emptied += 1

    def synchronize(self, device=None):
        self.stalls += 1

    def end_allocation(self, device, pool):
        assert device == self.current.index
        if pool not in self.underway:
            raise RuntimeError('endAllocatePool: not currently recording to mempool_id')
        self.underway.remove(pool)


CUDA = FakeCuda()


def install(monkeypatch, *modules):
    """Put a fresh stand-in into modules that say `from torch import cuda`, and return it."""
    global CUDA
    CUDA = FakeCuda()
    for module in modules:
        monkeypatch.setattr(module, 'cuda', CUDA)
    monkeypatch.setattr(torch._C, '_cuda_endAllocateToPool', CUDA.end_allocation)
    monkeypatch.setattr(torch._C, '_cuda_releasePool', lambda device, pool: None)
    return CUDA
