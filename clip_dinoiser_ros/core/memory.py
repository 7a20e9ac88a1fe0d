# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Memory of device and host: recognise that it is short, and give back what can be spared."""

from __future__ import annotations

import ctypes

import torch
from torch import cuda

HEAPS = 2
_M_ARENA_MAX = -8  # of glibc's mallopt
_OUT_OF_MEMORY = (
    'out of memory',
    'CUBLAS_STATUS_ALLOC_FAILED',
    'CUDNN_STATUS_ALLOC_FAILED',
    'CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED',
)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Return whether an error of torch reports too little memory."""
    text = str(error)
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(words in text for words in _OUT_OF_MEMORY)
    )


def free_memory() -> None:
    """Give back the memory that torch (GPU) and glibc (host) hold in reserve."""
    if cuda.is_available():
        cuda.empty_cache()
    _call_glibc('malloc_trim', 0)


def share_heaps() -> None:
    """Limit the number of heaps that glibc gives to the threads of this process.

    The default is up to eight for each core. Every activation starts a new worker thread, which may
    get another heap, and heaps never shrink. So a node that is activated often would hold its
    working memory many times.
    """
    _call_glibc('mallopt', _M_ARENA_MAX, HEAPS)


def _call_glibc(name: str, *arguments: int) -> None:
    """Call a function that only glibc has; do nothing with another C library."""
    function = getattr(ctypes.CDLL(None), name, None)
    if function is not None:
        function(*arguments)
