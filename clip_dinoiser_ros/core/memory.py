# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Too little memory on the device: how torch says so, and what can be given back."""

from __future__ import annotations

import torch

_OUT_OF_MEMORY = ('out of memory', 'CUBLAS_STATUS_ALLOC_FAILED')


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error of torch says that memory did not suffice."""
    text = str(error)
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(words in text for words in _OUT_OF_MEMORY)
    )


def free_memory() -> None:
    """Give back what torch keeps for later."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
