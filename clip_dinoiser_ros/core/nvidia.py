# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Why torch does not use the NVIDIA GPU of a machine."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from clip_dinoiser_ros.core.errors import one_line

_VENDOR = '0x10de'
_DISPLAY = '0x03'  # PCI class of VGA and 3D controllers; an audio function has another
# of the driver for cards; of Jetson's
_DRIVERS = ('proc/driver/nvidia/version', 'dev/nvidia0', 'dev/nvhost-*', 'dev/nvgpu/*')


def unused_gpu(root: Path = Path('/')) -> str:
    """Return why torch does not use the NVIDIA GPU here; '' if there is none or it is used.

    Args:
        root: Holds proc, dev and sys.
    """
    driver = any(any(root.glob(pattern)) for pattern in _DRIVERS)
    if torch.cuda.is_available() or not (driver or _has_card(root)):
        return ''
    if torch.version.cuda is None:
        return (
            f'torch {torch.__version__} is built without CUDA; install a torch for the CUDA '
            'version that nvidia-smi names'
        )
    if not driver:
        return 'its driver is not loaded; install one, or give the container access to the GPU'
    hidden = os.environ.get('CUDA_VISIBLE_DEVICES')
    if hidden is not None:
        return f'CUDA_VISIBLE_DEVICES is {hidden!r}'
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return one_line(error, 300)
    return 'torch finds none'


def _has_card(root: Path) -> bool:
    for device in root.glob('sys/bus/pci/devices/*'):
        try:
            vendor, kind = (device / 'vendor').read_text(), (device / 'class').read_text()
        except OSError:
            continue
        if vendor.strip() == _VENDOR and kind.startswith(_DISPLAY):
            return True
    return False
