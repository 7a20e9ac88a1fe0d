"""The node with a model whose failures a camera image asks for: the value of its first byte."""

import sys
import threading

import numpy as np
import torch

from clip_dinoiser_ros.core import Segmenter
from clip_dinoiser_ros.node.main import main

OUT_OF_MEMORY, CUDA_ERROR, HANGS = 201, 202, 203
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


if __name__ == '__main__':
    Segmenter.segment_patches = faulty
    sys.exit(main())
