# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Names of the devices that only OpenVINO drives."""

from __future__ import annotations

import re

# as `device` names them -> as OpenVINO does
_DEVICES = {'intel-gpu': 'GPU', 'intel-npu': 'NPU'}
_NAME = re.compile(rf'({"|".join(_DEVICES)})(:\d+)?')


def is_intel(device: str) -> bool:
    """Whether a device is an Intel GPU or NPU: intel-gpu, intel-gpu:1, intel-npu."""
    return _NAME.fullmatch(device) is not None


def openvino_device(device: str) -> str:
    """Return OpenVINO's name of a device: GPU, GPU.1, NPU, and CPU for any other."""
    match = _NAME.fullmatch(device)
    if match is None:
        return 'CPU'
    return _DEVICES[match[1]] + (match[2] or '').replace(':', '.')


def check_intel(device: str) -> None:
    """Raise ValueError unless OpenVINO is installed and has this device."""
    try:
        import openvino
    except ImportError as error:
        raise ValueError(f'device {device!r} needs OpenVINO: pip install openvino') from error
    present = openvino.Core().available_devices
    name = openvino_device(device)
    if name not in present and f'{name}.0' not in present:
        raise ValueError(f'device {device!r} does not exist; OpenVINO sees {", ".join(present)}')
