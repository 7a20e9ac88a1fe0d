# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Checks of the software: Python, torch and its device, OpenCLIP, ROS and its packages.

Everything is imported in the check itself, because any of it may be missing.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from clip_dinoiser_ros.readiness.finding import Finding, why_not_importable

OLDEST_PYTHON, OLDEST_TORCH = (3, 10), (2, 10)
INSTALL = 'activate the environment that has it, or: pip install -r requirements/core.txt'
# module: its name for pip
PYTHON_PACKAGES = {
    'open_clip': 'open_clip_torch',
    'numpy': 'numpy',
    'cv2': 'opencv-python-headless',
    'safetensors': 'safetensors',
    'huggingface_hub': 'huggingface_hub',
}
MESSAGES = (
    'std_msgs',
    'sensor_msgs',
    'vision_msgs',
    'diagnostic_msgs',
    'lifecycle_msgs',
    'rcl_interfaces',
    'rosgraph_msgs',
)
OPTIONAL = {
    'cv_bridge': 'image encodings that this package does not know are refused',
    'sensor_msgs_py': 'only needed by Python programs that use the outputs',
    'launch_ros': 'the launch files cannot be used; ros2 run can',
}
ROS_VARIABLES = (
    'RMW_IMPLEMENTATION',
    'ROS_DOMAIN_ID',
    'ROS_AUTOMATIC_DISCOVERY_RANGE',
    'ROS_SECURITY_ENABLE',
)


def examine_python() -> Finding:
    """Check the interpreter."""
    text = f'{sys.version.split()[0]}, {sys.executable}'
    if sys.version_info < OLDEST_PYTHON:
        oldest = '.'.join(map(str, OLDEST_PYTHON))
        return Finding('Python', 'missing', text, f'use Python {oldest} or newer')
    return Finding('Python', 'ok', text)


def examine_torch(device: str, precision: str, engine: str) -> Iterator[Finding]:
    """Check torch, and the device, precision and engine that would be used."""
    reason = why_not_importable('torch')
    if reason is not None:
        yield Finding('torch', 'missing', reason, INSTALL)
        return
    import torch

    if tuple(int(part) for part in torch.__version__.split('.')[:2]) < OLDEST_TORCH:
        oldest = '.'.join(map(str, OLDEST_TORCH))
        yield Finding('torch', 'missing', torch.__version__, f'pip install "torch>={oldest}"')
        return
    yield Finding('torch', 'ok', torch.__version__)
    try:
        yield _examine_device(device, precision, engine)
    except ImportError as error:
        yield Finding('device', 'missing', str(error), INSTALL)
    except ValueError as error:
        yield Finding('device', 'missing', str(error), 'use another device, precision or engine')
    from clip_dinoiser_ros.core.nvidia import unused_gpu

    if why := unused_gpu():
        yield Finding(
            'GPU', 'note', f'an NVIDIA GPU is there: {why}', 'see docs/troubleshooting.md'
        )


def _examine_device(device: str, precision: str, engine: str) -> Finding:
    import torch

    from clip_dinoiser_ros.core import engines, segmenter, upsample_triton
    from clip_dinoiser_ros.core.engines.intel import is_intel
    from clip_dinoiser_ros.core.packing import pack

    found = segmenter.find_device(device)
    chosen = segmenter.find_precision(precision, found)  # type: ignore[arg-type]
    text = f'{found} in {chosen}'
    place = device if is_intel(device) else str(found)
    if engines.find_engine(engine, place, chosen) != 'torch':  # type: ignore[arg-type]
        return Finding('device', 'ok', f'{place} in {chosen}, OpenVINO')
    if found.type != 'cuda':
        packed = pack(torch.zeros(32, 32, dtype=segmenter.DTYPES[chosen])).is_mkldnn
        how = 'packed for oneDNN' if packed else 'not packed, slower'
        return Finding('device', 'ok', f'{text}, weights {how}')
    text += f', {torch.cuda.get_device_name(found)}, CUDA graphs'
    if upsample_triton.usable(found):
        return Finding('device', 'ok', f'{text}, Triton kernel')
    compiler = shutil.which('gcc') or shutil.which('cc') or shutil.which('clang')
    advice = 'pip install triton' if why_not_importable('triton') else 'see the warning above'
    if compiler is None:
        advice = 'sudo apt install gcc python3-dev'
    return Finding('device', 'note', f'{text}, no Triton kernel: slower', advice)


def examine_packages() -> Iterator[Finding]:
    """Check the other Python packages that the node imports."""
    for module, package in PYTHON_PACKAGES.items():
        reason = why_not_importable(module)
        if reason is None:
            yield Finding(package, 'ok', _version(package, module))
        elif 'torchvision::nms' in reason:
            advice = (
                'versions of torch and torchvision must match: pip install -r requirements/core.txt'
            )
            yield Finding(package, 'missing', reason, advice)
        else:
            yield Finding(package, 'missing', reason, INSTALL)


def _version(package: str, module: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # installed by the distribution, not by pip
        return str(getattr(importlib.import_module(module), '__version__', 'version unknown'))


def examine_ros() -> Iterator[Finding]:
    """Check ROS, its messages, this package's messages, and optional packages."""
    distribution = os.environ.get('ROS_DISTRO')
    reason = why_not_importable('rclpy')
    if reason is not None:
        yield Finding('ROS', 'missing', reason, _ros_advice(distribution))
        return
    values = [f'{name}={os.environ[name]}' for name in ROS_VARIABLES if os.environ.get(name)]
    yield Finding('ROS', 'ok', ', '.join([distribution or 'distribution unknown', *values]))
    for package in MESSAGES:
        reason = why_not_importable(f'{package}.msg')
        if reason is not None:
            debian = f'ros-{distribution or "DISTRO"}-{package.replace("_", "-")}'
            yield Finding(package, 'missing', reason, f'sudo apt install {debian}')
    reason = why_not_importable('clip_dinoiser_ros.msg')
    if reason is not None:
        advice = 'colcon build, then: . install/setup.bash (in a checkout: . scripts/env.sh)'
        yield Finding('messages of clip_dinoiser_ros', 'missing', reason, advice)
    reason = why_not_importable('clip_dinoiser_ros.node.segmentation_node')
    if reason is not None:
        yield Finding('node', 'missing', reason, 'install what is missing above')
    for package, lack in OPTIONAL.items():
        if why_not_importable(package) is not None:
            debian = f'ros-{distribution or "DISTRO"}-{package.replace("_", "-")}'
            yield Finding(package, 'note', f'missing: {lack}', f'sudo apt install {debian}')


def _ros_advice(distribution: str | None) -> str:
    installed = sorted(Path('/opt/ros').glob('*/setup.bash'))
    if distribution is None and installed:
        return f'. {installed[-1]}'
    if distribution is None:
        return 'install ROS 2, or work without the node: clip-dinoiser bag, clip-dinoiser image'
    return (
        f'{distribution} needs its own version of Python: create the environment with that '
        'one (python3 -m venv --system-site-packages)'
    )
