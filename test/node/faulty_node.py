# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The node with a model whose failures are asked for: by the first byte of an image, by gamma."""

import sys
import threading

import numpy as np
import torch

from clip_dinoiser_ros.core import Segmenter
from clip_dinoiser_ros.frames import process
from clip_dinoiser_ros.frames.guard import computes
from clip_dinoiser_ros.node import main as program
from clip_dinoiser_ros.node import segmentation_node

OUT_OF_MEMORY, CUDA_ERROR, HANGS, PASSING, HOLDS_LOCK = 201, 202, 203, 204, 205
TOO_LARGE = 0.75  # gamma with which not even the warming up at configure fits into memory
UNUSED = 'the driver is too old (injected)'
STOP_TIMEOUT_S = 3.0
STEADY_S = 1.0
segment, gpu_memory = Segmenter.segment_patches, segmentation_node.gpu_memory
broken = threading.Event()  # what the device computes is wrong from now on
locked = threading.Event()  # the lock of the allocator is held for good


def faulty(self, images, *arguments):
    asked = {int(np.asarray(image).flat[0]) for image in images}
    if OUT_OF_MEMORY in asked:
        raise torch.OutOfMemoryError('CUDA out of memory (injected)')
    if CUDA_ERROR in asked:
        broken.set()
        raise torch.AcceleratorError('CUDA error: device-side assert triggered (injected)')
    if PASSING in asked:
        raise RuntimeError('cuDNN error: CUDNN_STATUS_EXECUTION_FAILED (injected)')
    if HOLDS_LOCK in asked:
        locked.set()
    if asked & {HANGS, HOLDS_LOCK}:
        sys.stdout.write('the model hangs\n')
        sys.stdout.flush()  # into a pipe
        threading.Event().wait()
    return segment(self, images, *arguments)


def figures(device):
    if locked.is_set():
        threading.Event().wait()
    return gpu_memory(device)


def warm_up(self, vocabulary, gamma, delta):
    if gamma == TOO_LARGE:
        raise torch.OutOfMemoryError('CUDA out of memory (injected)')


def install():
    """Put the failures into this process."""
    Segmenter.segment_patches = faulty
    Segmenter.warm_up = warm_up
    process.computes = lambda device: not broken.is_set() and computes(device)
    segmentation_node.gpu_memory = figures
    segmentation_node.unused_gpu = lambda: UNUSED
    program.STEADY_S = STEADY_S
    segmentation_node.STOP_TIMEOUT_S = STOP_TIMEOUT_S
