# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

from clip_dinoiser_ros.core.errors import one_line


def test_error_is_one_line():
    error = RuntimeError('CUDA error:\n  out of  memory\n')
    assert one_line(error) == 'CUDA error: out of memory'
    assert one_line(error, 10) == 'CUDA error'
