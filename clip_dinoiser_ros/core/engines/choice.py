# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Which engine computes the image tower on a device."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from clip_dinoiser_ros.core.backbone import Backbone
from clip_dinoiser_ros.core.engines.intel import openvino_device
from clip_dinoiser_ros.core.engines.quantized import load_quantized
from clip_dinoiser_ros.core.errors import one_line

Engine = Literal['auto', 'torch', 'openvino']
ENGINES: tuple[str, ...] = get_args(Engine)
INSTALL = 'pip install openvino'


def find_engine(
    engine: Engine, device: str, precision: str = 'auto'
) -> Literal['torch', 'openvino']:
    """Choose the engine for a device, before anything is loaded.

    Args:
        engine: 'auto': OpenVINO on the devices of Intel and for int8, and for bf16 on a CPU that
            has it if OpenVINO is installed; else torch.
        device: As for `Segmenter`; not 'auto', but what it stands for.
        precision: As for `Segmenter`; int8 is OpenVINO's alone.

    Returns:
        The engine.

    Raises:
        ValueError: Unknown engine, one that is not installed, or one that the device has not.
    """
    if engine not in ENGINES:
        raise ValueError(f'engine is {engine!r}; allowed: {", ".join(ENGINES)}')
    if precision == 'int8':
        if engine == 'torch':
            raise ValueError('precision is int8 and engine is torch; int8 needs engine openvino')
        engine = 'openvino'
    intel = openvino_device(device) != 'CPU'
    if torch_device_type(device) == 'cuda':
        if engine == 'openvino':
            raise ValueError(
                f'engine is openvino and device is {device}; OpenVINO runs on cpu, intel-gpu and '
                'intel-npu'
            )
        return 'torch'
    if intel and engine == 'torch':
        raise ValueError(f'engine is torch and device is {device}; it needs engine openvino')
    installed = find_spec('openvino') is not None
    if engine != 'openvino' and not intel:
        bf16 = precision in ('auto', 'bf16') and cpu_has_bf16()
        return 'openvino' if engine == 'auto' and bf16 and installed else 'torch'
    if not installed:
        raise ValueError(f'OpenVINO is not installed: {INSTALL}')
    return 'openvino'


def cpu_has_bf16() -> bool:
    """Return whether the CPU multiplies bfloat16 in hardware (AVX512-BF16 or AMX-BF16)."""
    try:
        flags = Path('/proc/cpuinfo').read_text().split()
    except OSError:
        return False
    return 'avx512_bf16' in flags or 'amx_bf16' in flags


def torch_device_type(device: str) -> str:
    """Return 'cuda' or 'cpu'."""
    return 'cuda' if device.startswith('cuda') else 'cpu'


def make_tower(
    engine: Literal['torch', 'openvino'],
    visual: Any,
    device: str,
    precision: Literal['fp32', 'bf16', 'fp16', 'int8'],
    dtype: torch.dtype,
    quantized: Path | None = None,
) -> Backbone | None:
    """Compile the image tower for OpenVINO.

    Args:
        engine: From `find_engine`.
        visual: As for `Backbone`, on the CPU, in float32.
        device: As for `find_engine`.
        precision: Of the arithmetic.
        dtype: In which the heads want their input.
        quantized: Folder of the tower in int8.

    Returns:
        What computes the features; None: torch does.

    Raises:
        ValueError: OpenVINO cannot compute this tower.
        WeightsError: The folder is damaged or was made of other weights.
    """
    if engine == 'torch':
        return None
    model = None if quantized is None else load_quantized(quantized, visual)
    try:
        from clip_dinoiser_ros.core.engines.openvino_tower import OpenVinoTower

        return OpenVinoTower(visual, openvino_device(device), precision, dtype, model=model)
    except Exception as error:  # OpenVINO raises RuntimeError, ImportError and types of its own
        raise ValueError(
            f'OpenVINO cannot run this model on {device}: {one_line(error)}'
        ) from error
