# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The path from pixels and text embeddings to patch probabilities as one ONNX file."""

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

OPSET = 18  # the oldest opset of torch's exporter, which most programs can read
INPUTS = ('image', 'embeddings')
OUTPUTS = ('probabilities', 'objectness')
TOLERANCE = 1e-3  # allowed difference of probabilities in float32 between two programs

Arrays = tuple[np.ndarray, np.ndarray]


class ImagePath(nn.Module):
    """The computation in the file.

    Args:
        segmenter: Segmenter in float32 on the CPU, with `short_side=None` (no resizing) and
            `pack=False`.
        gamma: Affinities below it are left out of the pooling.

    Raises:
        ValueError: gamma is out of range.
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
        path: File to write; replaced if it exists.
        model: The computation.
        size: Size (H, W) of the images.
        embeddings: float32 (K, C), for a trial run.

    Returns:
        The two outputs of the model for `trial_image(size)` and the embeddings.
    """
    image = torch.from_numpy(trial_image(size))
    # run once before: the positions of this size are cached and become a constant of the file
    probabilities, objectness = model(image, embeddings)
    # torch would fix a dimension of 1
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
    """Return a fixed noise image, uint8 (1, H, W, 3)."""
    return np.random.default_rng(0).integers(0, 256, (1, *size, 3), dtype=np.uint8)


def check_onnx(
    path: Path, size: tuple[int, int], embeddings: Tensor, expected: Arrays
) -> tuple[float, float]:
    """Run the file in ONNX Runtime, which must be installed, and compare the outputs.

    Args:
        path: The file.
        size: Size (H, W) of its images.
        embeddings: float32 (K, C).
        expected: Result of `write_onnx`.

    Returns:
        The largest differences of probabilities and of objectness.

    Raises:
        ValueError: One of them is above `TOLERANCE`.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    inputs = dict(zip(INPUTS, (trial_image(size), embeddings.numpy()), strict=True))
    found = session.run(list(OUTPUTS), inputs)
    first, second = (float(np.abs(a - b).max()) for a, b in zip(found, expected, strict=True))
    if not max(first, second) <= TOLERANCE:  # this form also catches NaN
        raise ValueError(
            f'ONNX Runtime differs from torch: probabilities by {first:.1g}, objectness by '
            f'{second:.1g}; at most {TOLERANCE:g} is allowed'
        )
    return first, second
