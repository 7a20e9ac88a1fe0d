#!/usr/bin/env python3
# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Make the CMake files inside the ROS wheels fit this machine.

The wheels' exports name the include folders of Python and numpy on the machine that built them, and
CMake refuses a target whose include folder does not exist. The list of messages is read as ASCII,
which cuts a path at its first umlaut. Run with the Python of the environment.

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
MESSAGE_LIST = (
    'file(STRINGS "${idl_output}" idl_tuples)',
    'file(STRINGS "${idl_output}" idl_tuples ENCODING UTF-8)',
)


def repair(prefix: Path) -> int:
    """Rewrite every CMake file below `prefix`/share that needs it; returns how many did."""
    python, numpy = sysconfig.get_path('include'), np.get_include()
    repaired = 0
    for path in prefix.glob('share/**/*.cmake'):
        before = path.read_text(encoding='utf-8')
        after = BUILD_NUMPY.sub(lambda _: numpy, BUILD_PYTHON.sub(lambda _: python, before))
        after = after.replace(*MESSAGE_LIST)
        if after != before:
            beside = path.with_name(f'{path.name}.repaired')
            beside.write_text(after, encoding='utf-8')
            beside.replace(path)
            repaired += 1
    return repaired


if __name__ == '__main__':
    sys.stdout.write(f'{repair(Path(sys.prefix))} CMake files repaired\n')
