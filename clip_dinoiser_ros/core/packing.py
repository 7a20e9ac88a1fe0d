# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Linear layers on a CPU, their weights in the order in which oneDNN multiplies them.

`F.linear` puts the weights into that order anew for every product in bfloat16; in float32 it takes
another library, which on some processors uses half of their vectors. torch's own compiler writes
code with two private functions that do better. They are used where they are there and compute what
`F.linear` does; anywhere else weights stay as they are.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def pack(weight: Tensor) -> Tensor:
    """Return a weight (out, in) for `linear` alone, or the weight itself where that is no use."""
    if weight.device.type != 'cpu' or not _works(weight.dtype):
        return weight
    return _pack(weight)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Do what `F.linear` does, also with a weight from `pack`."""
    return _multiply(x, weight, bias) if weight.is_mkldnn else F.linear(x, weight, bias)


def _pack(weight: Tensor) -> Tensor:
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), None)
    return packed


def _multiply(x: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, bias, 'none', [], '')
    return product


@cache
def _works(dtype: torch.dtype) -> bool:
    """Whether torch has both functions and on this processor they compute what they should."""
    if dtype not in (torch.float32, torch.bfloat16):
        return False
    x, weight, bias = (torch.arange(n, dtype=dtype) for n in (3 * 32, 48 * 32, 48))
    x, weight = x.reshape(1, 3, 32) / 96, weight.reshape(48, 32) / 1536
    try:
        found: Any = _multiply(x, _pack(weight), bias)
    except (AttributeError, RuntimeError, TypeError):
        return False
    return torch.allclose(found, F.linear(x, weight, bias), rtol=1e-2)
