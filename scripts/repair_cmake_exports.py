#!/usr/bin/env python3
# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Adapt the CMake files inside the ROS wheels to this machine.

The exports of the wheels name the include folders of Python and numpy on the build machine, and
CMake refuses a target whose include folder does not exist. The list of messages is read as ASCII,
which truncates a path at its first umlaut. Run this with the Python of the environment.

Files are replaced and never modified in place: an installer may have linked them to its cache,
which other environments share.
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
    """Rewrite the CMake files below `prefix`/share that need it; return their number."""
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
