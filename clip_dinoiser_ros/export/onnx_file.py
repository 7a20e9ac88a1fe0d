# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""From pixels and text embeddings to patch probabilities, as one ONNX file."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from clip_dinoiser_ros.core import Segmenter
from clip_dinoiser_ros.core.dinoiser import DELTA
from clip_dinoiser_ros.core.pipeline import Query
from clip_dinoiser_ros.core.segmenter import check_thresholds
from clip_dinoiser_ros.core.vocabulary import MAX_CLASSES

OPSET = 18  # the oldest that torch's exporter writes: what most programs read
INPUTS = ('image', 'embeddings')
OUTPUTS = ('probabilities', 'objectness')
TOLERANCE = 1e-3  # between two programs' float32, of a probability

Arrays = tuple[np.ndarray, np.ndarray]


class ImagePath(nn.Module):
    """What the file computes.

    Args:
        segmenter: In float32 on the CPU, with `short_side=None` (no resizing) and `pack=False`.
        gamma: Affinities below it do not take part in the pooling.

    Raises:
        ValueError: gamma is out of its range.
    """

    def __init__(self, segmenter: Segmenter, gamma: float) -> None:
        super().__init__()
        check_thresholds(gamma, DELTA)
        self._pipeline = segmenter.pipeline
        self.backbone, self.heads = segmenter.pipeline.backbone, segmenter.pipeline.heads
        self._gamma = gamma

    def forward(self, image: Tensor, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Segment one image at patch resolution, without the background filter.

        Args:
            image: uint8 (1, H, W, 3) RGB.
            embeddings: float32 (K, C), unit rows.

        Returns:
            probabilities: float32 (1, K, h, w), summing to 1 over the classes.
            objectness: float32 (1, h, w) in [0, 1].
        """
        features = self.backbone(self._pipeline.preprocess(image))
        answer = self._pipeline.classify(features, Query(embeddings, None, self._gamma, DELTA))
        return answer.probabilities, torch.sigmoid(self.heads.objectness(features.inner))


@torch.no_grad()
def write_onnx(path: Path, model: ImagePath, size: tuple[int, int], embeddings: Tensor) -> Arrays:
    """Write the file, for images of one size and any number of classes.

    Args:
        path: Is replaced.
        model: What it shall compute.
        size: (H, W) of the images.
        embeddings: float32 (K, C), to try it with.

    Returns:
        What the model makes of `trial_image(size)` and the embeddings: the two outputs.
    """
    image = torch.from_numpy(trial_image(size))
    # run first: the positions of this size are remembered, and become a constant of the file
    probabilities, objectness = model(image, embeddings)
    # torch takes a dimension of 1 for one that is always 1
    several = embeddings if len(embeddings) > 1 else embeddings.repeat(2, 1)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of torch, about torch
        program = torch.onnx.export(
            model.eval(),
            (image, several.clone()),
            input_names=INPUTS,
            output_names=OUTPUTS,
            dynamic_shapes=(None, {0: torch.export.Dim('classes', min=1, max=MAX_CLASSES)}),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    program.save(path, external_data=False)
    return probabilities.numpy(), objectness.numpy()


def trial_image(size: tuple[int, int]) -> np.ndarray:
    """Return an image of (H, W) that is always the same: uint8 (1, H, W, 3), noise."""
    return np.random.default_rng(0).integers(0, 256, (1, *size, 3), dtype=np.uint8)


def check_onnx(
    path: Path, size: tuple[int, int], embeddings: Tensor, expected: Arrays
) -> tuple[float, float]:
    """Run the file in ONNX Runtime, which must be installed, and compare.

    Args:
        path: Of the file.
        size: (H, W) of its images.
        embeddings: float32 (K, C).
        expected: What `write_onnx` returned for these.

    Returns:
        The greatest differences of probabilities and objectness.

    Raises:
        ValueError: One of them is above `TOLERANCE`.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    inputs = dict(zip(INPUTS, (trial_image(size), embeddings.numpy()), strict=True))
    found = session.run(list(OUTPUTS), inputs)
    first, second = (float(np.abs(a - b).max()) for a, b in zip(found, expected, strict=True))
    if not max(first, second) <= TOLERANCE:  # NaN is not below it either
        raise ValueError(
            f'ONNX Runtime computes something else than torch: probabilities differ by '
            f'{first:.1g}, objectness by {second:.1g}; at most {TOLERANCE:g} is allowed'
        )
    return first, second
