# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A stand-in for the model where only what is around it is tested: colours decide.

Run as a program it is `clip-dinoiser` with that model.
"""

from __future__ import annotations

import sys
import time

import cv2
import numpy as np
import torch

from clip_dinoiser_ros import Segmentation, Vocabulary, arguments, cli
from clip_dinoiser_ros.core.segmentation import enlarge_all
from clip_dinoiser_ros.core.vocabulary import parse_prompts

NAMES = ['background', 'red ball', 'grass']
ARGUMENTS = ['--prompts', *NAMES]


class QuickPatches:
    """An image that is segmented when its size is known."""

    def __init__(self, image, vocabulary):
        self.image, self.vocabulary = image, vocabulary

    def enlarge_on_device(self, size):
        image = cv2.resize(self.image, size[::-1], interpolation=cv2.INTER_NEAREST)
        labels = (image[..., 0] // 32 % len(self.vocabulary)).astype(np.uint8)
        return labels, image[..., 1].astype(np.float32) / 255, None

    def begin_download(self, labels, confidence, rounded, mono8):
        return lambda: Segmentation(labels, confidence, self.vocabulary)


class QuickSegmenter:
    """Labels by red, confidence by green."""

    seconds_per_batch = 0.0
    device = torch.device('cpu')

    def encode(self, prompts, background, templates):
        parsed = parse_prompts(prompts)
        return Vocabulary(parsed, torch.zeros(len(parsed), 4), 0, templates)

    def unknown_words(self, vocabulary):
        return []

    def free_memory(self):
        pass

    def segment(self, image, vocabulary, gamma=0.2, delta=0.99, edges='off'):
        return enlarge_all([QuickPatches(image, vocabulary)], image.shape[:2])[0]

    def shorten_features(self, pca, dimension):
        pass

    def segment_patches(self, images, vocabulary, gamma=0.2, delta=0.99, with_features=False):
        time.sleep(self.seconds_per_batch)
        return [QuickPatches(image, vocabulary) for image in images]


if __name__ == '__main__':
    QuickSegmenter.seconds_per_batch = 0.05
    arguments.load_segmenter = lambda args: QuickSegmenter()
    sys.exit(cli.main(sys.argv[1:]))
