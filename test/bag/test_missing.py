# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What is not installed is named, in one line."""

import subprocess
import sys

import numpy as np
import pytest
from bags import START_NS, image_message, write

from clip_dinoiser_ros import cli


@pytest.mark.parametrize('verb', ['bag', 'play'])
def test_missing_package_is_named(monkeypatch, capsys, verb):
    for name in [n for n in sys.modules if n.startswith(('clip_dinoiser_ros.bag', 'rosbags'))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, 'rosbags', None)
    assert cli.main([verb, 'in', 'out']) == 1
    said = capsys.readouterr().err
    assert said.startswith(f'clip-dinoiser {verb}: the Python package rosbags')
    assert said.count('\n') == 1


def test_missing_encoder_is_named_before_anything_is_written(
    monkeypatch, capsys, run_quickly, tmp_path
):
    image = image_message(np.zeros((32, 32, 3), np.uint8), START_NS)
    path = write(tmp_path / 'in', [('/camera/image_raw', START_NS, image)])
    monkeypatch.setitem(sys.modules, 'av', None)
    assert run_quickly('bag', path, tmp_path / 'out', '--video', tmp_path / 'a.mp4') == 1
    assert '--video needs PyAV: pip install av' in capsys.readouterr().err
    assert {p.name for p in tmp_path.iterdir()} == {'in'}


def test_playing_loads_no_torch():
    """It takes seconds to import, and playing needs none of it."""
    code = 'import sys, clip_dinoiser_ros.bag.play; sys.exit("torch" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0
