# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The node with a model whose failures are asked for: by the first byte of an image, by gamma."""

import sys
import threading

import numpy as np
import torch

from clip_dinoiser_ros.core import Segmenter
from clip_dinoiser_ros.node.main import main

OUT_OF_MEMORY, CUDA_ERROR, HANGS = 201, 202, 203
TOO_LARGE = 0.75  # gamma with which not even the warming up at configure fits into memory
segment = Segmenter.segment_patches


def faulty(self, images, *arguments):
    asked = {int(np.asarray(image).flat[0]) for image in images}
    if OUT_OF_MEMORY in asked:
        raise torch.OutOfMemoryError('CUDA out of memory (injected)')
    if CUDA_ERROR in asked:
        raise torch.AcceleratorError('CUDA error: device-side assert triggered (injected)')
    if HANGS in asked:
        threading.Event().wait()
    return segment(self, images, *arguments)


def warm_up(self, vocabulary, gamma, delta):
    if gamma == TOO_LARGE:
        raise torch.OutOfMemoryError('CUDA out of memory (injected)')


if __name__ == '__main__':
    Segmenter.segment_patches = faulty
    Segmenter.warm_up = warm_up
    sys.exit(main())
