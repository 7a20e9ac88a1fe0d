# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Copies from the device to the host while the device works on the next image."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor


class Download:
    """Tensors of one device on their way to the host.

    On a GPU they are copied in a stream of their own, through pinned memory. On a CPU nothing is
    copied.
    """

    def __init__(self, *tensors: Tensor) -> None:
        self._tensors = tensors
        self._arrived: torch.cuda.Event | None = None
        if tensors[0].device.type == 'cuda':
            self._begin(_stream(tensors[0].device))

    def _begin(self, stream: torch.cuda.Stream) -> None:
        host = tuple(torch.empty(t.shape, dtype=t.dtype, pin_memory=True) for t in self._tensors)
        stream.wait_stream(torch.cuda.current_stream(stream.device))
        with torch.cuda.stream(stream):
            for target, tensor in zip(host, self._tensors, strict=True):
                target.copy_(tensor, non_blocking=True)
                tensor.record_stream(stream)  # otherwise its memory could be reused too early
            self._arrived = stream.record_event()
        self._tensors = host

    def wait(self) -> list[npt.NDArray[Any]]:
        """Wait for the copies and return the tensors as arrays, in their order."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return [tensor.numpy() for tensor in self._tensors]


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)
