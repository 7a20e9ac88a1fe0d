# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Precision of the frozen networks, and a digest of their weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

from clip_dinoiser_ros.core.segmenter import Precision, find_precision

_DTYPES = {'bf16': torch.bfloat16, 'fp16': torch.float16}


def choose_precision(precision: Precision, device: torch.device) -> str:
    """Choose the precision of the frozen networks.

    'auto' is float32 on the CPU, where a resumed training then gives bit-identical results, and
    half precision on a GPU.

    Raises:
        ValueError: Unknown precision.
    """
    if precision == 'auto' and device.type == 'cpu':
        return 'fp32'
    return find_precision(precision, device)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return a context in which networks compute in this precision."""
    dtype = _DTYPES.get(precision)
    # do not cache weights: the cache could keep copies that were made without gradients
    return torch.autocast(device.type, dtype, enabled=dtype is not None, cache_enabled=False)


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """Return a short digest of the names and values of tensors."""
    content = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        content.update(f'{name} {tensor.dtype} {tuple(tensor.shape)}'.encode())
        content.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return content.hexdigest()[:16]
