# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What tests of a device are marked with."""

import pytest
import torch

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device here')
DEVICES = ['cpu', pytest.param('cuda', marks=needs_gpu)]
