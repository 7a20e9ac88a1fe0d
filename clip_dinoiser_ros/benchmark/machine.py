# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Description of the machine on which figures are measured."""

from __future__ import annotations

import os
import platform
import resource
import time
from dataclasses import dataclass
from pathlib import Path

import torch

_FLAGS = ('avx2', 'avx512f', 'avx512_bf16', 'avx512_fp16', 'amx_bf16', 'asimd', 'bf16', 'i8mm')


def describe_machine(device: torch.device) -> dict[str, str | float]:
    """Return processor, cores, load, GPU and versions."""
    info = _cpu_info()
    flags = (info.get('flags') or info.get('Features') or '').split()
    machine: dict[str, str | float] = {
        'processor': info.get('model name') or platform.machine(),
        'instructions': ' '.join(flag for flag in _FLAGS if flag in flags),
        'cores': len(os.sched_getaffinity(0)),
        'threads': torch.get_num_threads(),
        'load': round(os.getloadavg()[0], 1),
        'torch': torch.__version__,
        'device': str(device),
    }
    if device.type == 'cuda':
        machine['gpu'] = torch.cuda.get_device_name(device)
    return machine


def _cpu_info() -> dict[str, str]:
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.split(':', 1) for line in lines if ':' in line)
    return {key.strip(): value.strip() for key, value in pairs}


@dataclass(frozen=True)
class CpuTimes:
    """CPU time of the machine and of this process, in seconds.

    Attributes:
        wall_s: Elapsed time multiplied by the number of processors.
        busy_s: Time that the processors were busy, stolen time included.
        own_s: Time that they worked for this process.
    """

    wall_s: float
    busy_s: float
    own_s: float

    def others_until(self, later: CpuTimes) -> float:
        """Return the share of the machine that other processes used in between, 0 to 1."""
        others = (later.busy_s - self.busy_s) - (later.own_s - self.own_s)
        return min(max(others / max(later.wall_s - self.wall_s, 1e-9), 0.0), 1.0)


def cpu_times(stat: Path = Path('/proc/stat')) -> CpuTimes | None:
    """Return the CPU time so far; None if there is no /proc/stat."""
    try:
        lines = stat.read_text().splitlines()
        user, nice, system, _, _, irq, soft_irq, stolen = map(int, lines[0].split()[1:9])
    except (OSError, ValueError, IndexError):
        return None
    processors = sum(line.startswith('cpu') for line in lines) - 1
    busy = user + nice + system + irq + soft_irq + stolen
    own = time.process_time()
    return CpuTimes(time.monotonic() * processors, busy / os.sysconf('SC_CLK_TCK'), own)


def forget_peak_memory(device: torch.device) -> None:
    """Reset `peak_memory_mib`."""
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        Path('/proc/self/clear_refs').write_text('5')
    except OSError:  # not permitted: the peak is then that of the whole run
        return


def peak_memory_mib(device: torch.device) -> float:
    """Return the peak memory since `forget_peak_memory`, of the GPU or of this process."""
    if device.type == 'cuda':
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        status = Path('/proc/self/status').read_text()
        return int(status.split('VmHWM:')[1].split()[0]) / 2**10
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
