# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Where a checkout may lie."""

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_path_with_a_space_is_refused_before_anything_is_installed(tmp_path):
    checkout = tmp_path / 'my robot'
    shutil.copytree(ROOT / 'scripts', checkout / 'scripts')
    shutil.copytree(ROOT / 'requirements', checkout / 'requirements')
    environment = {k: v for k, v in os.environ.items() if not k.startswith(('AMENT', 'CLIP'))}
    ended = subprocess.run(
        ['bash', checkout / 'scripts/setup.sh'],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1
    assert 'has a space' in ended.stderr
    assert not (checkout / '.venv').exists()
