# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Fixtures of the tests of several kernels."""

import os
import subprocess
import sys

import pytest


@pytest.fixture
def run_triton(tmp_path):
    """Run a program that uses Triton, with a cache of its own; it prints 'done' at its end."""
    pytest.importorskip('triton')

    def run(program, *arguments, **environment):
        environment = {**os.environ, 'TRITON_CACHE_DIR': str(tmp_path), **environment}
        command = [sys.executable, '-c', program, *arguments]
        ended = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False
        )
        assert ended.stdout == 'done\n', ended.stderr[-2000:]

    return run
