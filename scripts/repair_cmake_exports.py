#!/usr/bin/env python3
# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Make the CMake files inside the ROS wheels look for headers on this machine.

The wheels' exports name the include folders of Python and numpy on the machine that built them, and
CMake refuses a target whose include folder does not exist. Run with the Python of the environment.

A file is replaced, never written into: an installer may have linked it to its cache, which other
environments share.
"""

import re
import sys
import sysconfig
from pathlib import Path

import numpy as np

BUILD_PYTHON = re.compile(r'/opt/python/cp\d+-cp\d+\w?/include/python3\.\d+\w?')
BUILD_NUMPY = re.compile(r'/opt/python/[^;"\s]*/site-packages/numpy/_core/include')


def repair(prefix: Path) -> int:
    """Rewrite every export below `prefix`/share that needs it; returns how many did."""
    python, numpy = sysconfig.get_path('include'), np.get_include()
    repaired = 0
    for path in prefix.glob('share/**/*.cmake'):
        before = path.read_text(encoding='utf-8')
        after = BUILD_NUMPY.sub(lambda _: numpy, BUILD_PYTHON.sub(lambda _: python, before))
        if after != before:
            beside = path.with_name(f'{path.name}.repaired')
            beside.write_text(after, encoding='utf-8')
            beside.replace(path)
            repaired += 1
    return repaired


if __name__ == '__main__':
    sys.stdout.write(f'include paths repaired in {repair(Path(sys.prefix))} CMake exports\n')
