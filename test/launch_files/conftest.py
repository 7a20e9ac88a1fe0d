# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Every test of a launch file runs with the stand-in, and with the real packages where they are."""

import contextlib
import tempfile

import pytest
from launch_stand_in import in_use


@pytest.fixture(params=['stand-in', 'real'])
def launch_packages(request, tmp_path, monkeypatch):
    """Provide `launch` and `launch_ros`."""
    if request.param == 'real':
        pytest.importorskip('launch', reason='there is no launch here')
        pytest.importorskip('launch_ros', reason='there is no launch_ros here')
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))  # for the files of parameters
    with in_use() if request.param == 'stand-in' else contextlib.nullcontext():
        yield


@pytest.fixture
def ros2_bag(tmp_path, monkeypatch):
    """Pretend that the package of `ros2 bag` is installed."""
    marker = tmp_path / 'prefix/share/ament_index/resource_index/packages/ros2bag'
    marker.parent.mkdir(parents=True)
    marker.touch()
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(tmp_path / 'prefix'), prepend=':')


@pytest.fixture
def bag(tmp_path):
    path = tmp_path / 'drive.mcap'
    path.touch()
    return path
