# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Memory of device and host: how torch says that it is too little, and what can be given back."""

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
    """Whether an error of torch says that memory did not suffice."""
    text = str(error)
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(words in text for words in _OUT_OF_MEMORY)
    )


def free_memory() -> None:
    """Give back what torch, on a GPU, and glibc, on the host, keep for later."""
    if cuda.is_available():
        cuda.empty_cache()
    _call_glibc('malloc_trim', 0)


def share_heaps() -> None:
    """Let all threads of this process use the same few heaps of glibc.

    It has up to eight for each core. Every activation starts a thread that segments, each may get
    another heap, and each heap grows to what that takes and stays so: a node that was activated
    often would hold its working memory many times.
    """
    _call_glibc('mallopt', _M_ARENA_MAX, HEAPS)


def _call_glibc(name: str, *arguments: int) -> None:
    """Call a function of the C library that only glibc has; another one needs it less."""
    function = getattr(ctypes.CDLL(None), name, None)
    if function is not None:
        function(*arguments)
