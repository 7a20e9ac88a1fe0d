# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The node with a model that takes a fifth of a second a turn, by waiting, not by computing."""

import sys
import time

from clip_dinoiser_ros.core import Segmenter
from clip_dinoiser_ros.node.main import main

INFERENCE_S = 0.2
segment = Segmenter.segment_patches


def slow(self, images, *arguments):
    ends_s = time.monotonic() + INFERENCE_S
    result = segment(self, images, *arguments)
    time.sleep(max(0.0, ends_s - time.monotonic()))
    return result


if __name__ == '__main__':
    Segmenter.segment_patches = slow
    sys.exit(main())
