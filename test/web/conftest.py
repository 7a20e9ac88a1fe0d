# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The tests of the page against a live node use the harness of those of the node."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / 'node'))
