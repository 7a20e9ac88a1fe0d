# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Limits of the device, measured with a large matrix product and a large copy."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from clip_dinoiser_ros.core.packing import linear, pack

REPEATS = 9
SIDES = {'cpu': 2048, 'cuda': 8192}  # of the matrices: large enough to fill the device
COPY_BYTES = {'cpu': 256 * 2**20, 'cuda': 2**31}


@dataclass(frozen=True)
class Limits:
    """Rates of a device in one precision; medians of several tries.

    Attributes:
        gflop_per_s: Rate of a matrix product.
        gbyte_per_s: Rate of a copy; reading and writing both count.
    """

    gflop_per_s: float
    gbyte_per_s: float

    def shortest_ms(self, gflop: float, gbyte: float) -> float:
        """Return the shortest time for this much work and this many bytes."""
        return 1e3 * max(gflop / self.gflop_per_s, gbyte / self.gbyte_per_s)


@torch.inference_mode()
def measure_limits(
    device: torch.device, dtype: torch.dtype, clock: Callable[[], float] = time.perf_counter
) -> Limits:
    """Measure a device; takes a second or two."""
    side = SIDES[device.type]
    a = torch.randn(side, side, device=device).to(dtype)
    b = torch.randn(side, side, device=device).to(dtype)
    packed = pack(b)  # the fastest form of product in the model
    product_s = _median_s(lambda: linear(a, packed, None), device, clock)
    source = torch.zeros(COPY_BYTES[device.type], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy_s = _median_s(lambda: target.copy_(source), device, clock)
    return Limits(2e-9 * side**3 / product_s, 2e-9 * source.numel() / copy_s)


def _median_s(
    work: Callable[[], object], device: torch.device, clock: Callable[[], float]
) -> float:
    times = []
    for _ in range(REPEATS + 1):
        start = clock()
        work()
        wait_for(device)
        times.append(clock() - start)
    return statistics.median(times[1:])  # the first one warms up


def wait_for(device: torch.device) -> None:
    """Wait until the device has finished all its work."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
