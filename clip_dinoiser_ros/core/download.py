# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Copies from the device to the host while the device works on the next image."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor, cuda


class Download:
    """Tensors that are being copied from one device to the host.

    On a GPU, a separate stream copies them to pinned memory. On a CPU nothing is copied.
    """

    def __init__(self, *tensors: Tensor) -> None:
        self._tensors = tensors
        self._host: tuple[Tensor, ...] = ()
        self._arrived: cuda.Event | None = None
        if tensors[0].device.type == 'cuda':
            self._begin(_stream(tensors[0].device))

    def _begin(self, stream: cuda.Stream) -> None:
        self._host = tuple(_pinned_like(tensor) for tensor in self._tensors)
        stream.wait_stream(cuda.current_stream(stream.device))
        with cuda.stream(stream):
            for target, tensor in zip(self._host, self._tensors, strict=True):
                target.copy_(tensor, non_blocking=True)
        # blocking: otherwise the waiting thread keeps a core busy
        self._arrived = cuda.Event(blocking=True)
        self._arrived.record(stream)

    def wait(self) -> list[npt.NDArray[Any]]:
        """Wait for the copies and return the tensors as arrays, in their order."""
        if self._arrived is not None:
            self._arrived.synchronize()
            # not earlier: their memory on the device could be reused during the copy
            self._tensors, self._arrived = self._host, None
        return [tensor.numpy() for tensor in self._tensors]


def _pinned_like(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)


@cache
def _stream(device: torch.device) -> cuda.Stream:
    return cuda.Stream(device)
