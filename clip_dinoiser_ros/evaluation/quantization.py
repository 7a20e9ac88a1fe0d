# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Quantize the image tower to int8 with NNCF, and compare its labels with those of float32.

There are three sets of frames. The first calibrates the range of every activation. The second
finds sensitive layers, which keep their precision. The third is used only to judge the result.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import nncf
import numpy as np
import numpy.typing as npt
import openvino
import torch
from torch import Tensor

from clip_dinoiser_ros.core import Segmenter, Vocabulary
from clip_dinoiser_ros.core.dinoiser import DELTA
from clip_dinoiser_ros.core.engines.openvino_tower import build, dense_features
from clip_dinoiser_ros.core.pipeline import Query
from clip_dinoiser_ros.core.segmentation import Patches
from clip_dinoiser_ros.evaluation.demo_model import Confusion

LEAST_AGREEMENT = 0.985

Image = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.integer]


@dataclass(frozen=True)
class ComparedImage:
    """An image on which labels are compared.

    Attributes:
        image: uint8 (H, W, 3), RGB.
        truth: (H, W), index of the true class; None: not known.
    """

    image: Image
    truth: Labels | None = None


@dataclass(frozen=True)
class Agreement:
    """The tower in int8 compared with float32, on frames used for nothing else.

    Attributes:
        frames: Number of frames.
        same: Share of pixels with the same label, 0 to 1.
        least: The same share in the frame where it is lowest.
        miou: Mean IoU with the true labels, 0 to 1; None: not known.
        miou_fp32: Mean IoU of float32 on the same frames.
    """

    frames: int
    same: float
    least: float
    miou: float | None
    miou_fp32: float | None

    def as_dict(self) -> dict[str, float | int | None]:
        """Return the attributes by name."""
        return asdict(self)


class Labeller:
    """Labels frames with any form of the tower.

    Args:
        segmenter: A segmenter with torch in float32 on the CPU.
        vocabulary: From `segmenter.encode`.
    """

    def __init__(self, segmenter: Segmenter, vocabulary: Vocabulary) -> None:
        self._segmenter = segmenter
        self._vocabulary = vocabulary

    def inputs(self, image: Image) -> list[npt.NDArray[np.float32]]:
        """Return the inputs of the OpenVINO graph: image and positional embedding."""
        pipeline = self._segmenter.pipeline
        batch: Tensor = pipeline.preprocess(pipeline.preprocess.upload([image]))
        positions = pipeline.backbone.positions(*self._segmenter.grid(*image.shape[:2]))
        return [batch.numpy(), positions[None].numpy()]

    def expected(self, image: Image) -> Labels:
        """Return the labels (H, W) of torch in float32."""
        return self._segmenter.segment(image, self._vocabulary).labels

    @torch.inference_mode()
    def found(self, infer: Any, image: Image) -> Labels:
        """Return the labels (H, W) of a compiled OpenVINO model."""
        size = image.shape[:2]
        outputs = infer(self.inputs(image))
        # copies: the next call writes to the same memory
        features = dense_features([outputs[i].copy() for i in (0, 1)], *self._segmenter.grid(*size))
        pipeline, words = self._segmenter.pipeline, self._vocabulary
        query = Query(words.embeddings, words.background, self._segmenter.gamma, DELTA)
        answer = pipeline.classify(features, query).images()[0]
        extent = pipeline.preprocess.extent(*size)
        return Patches(*answer, extent, words).enlarge(size).labels


def quantize(
    labeller: Labeller, visual: Any, calibration: Sequence[Image], control: Sequence[Image]
) -> openvino.Model:
    """Quantize the tower; layers whose quantization costs too much agreement keep their precision.

    Args:
        labeller: Labels frames.
        visual: The tower in float32.
        calibration: Frames that determine the range of the activations.
        control: Frames on which the labels must agree.

    Returns:
        The model; `measure` says whether it agrees well enough.
    """
    expected = {index: labeller.expected(image) for index, image in enumerate(control)}

    def agreement(compiled: Any, indices: Iterable[int]) -> tuple[float, list[float]]:
        same = [_same(labeller.found(compiled, control[i]), expected[i]) for i in indices]
        return float(np.mean(same)), same

    return nncf.quantize_with_accuracy_control(
        build(visual),
        nncf.Dataset([labeller.inputs(image) for image in calibration]),
        nncf.Dataset(range(len(control))),
        agreement,
        max_drop=1 - LEAST_AGREEMENT,
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(calibration),
        model_type=nncf.ModelType.TRANSFORMER,
    )


def measure(
    labeller: Labeller, model: openvino.Model, frames: Iterable[ComparedImage], names: Sequence[str]
) -> Agreement:
    """Compare a model with float32, and both with the true labels if all frames have them.

    Args:
        labeller: Labels frames.
        model: From `quantize`.
        frames: At least one.
        names: Class names.
    """
    compiled = openvino.Core().compile_model(model, 'CPU')
    same: list[float] = []
    exact, other, known = Confusion(tuple(names)), Confusion(tuple(names)), True
    for frame in frames:
        expected = labeller.expected(frame.image)
        found = labeller.found(compiled, frame.image)
        same.append(_same(found, expected))
        known = known and frame.truth is not None
        if frame.truth is not None:
            exact.add(frame.truth, expected)
            other.add(frame.truth, found)
    return Agreement(
        frames=len(same),
        same=float(np.mean(same)),
        least=min(same),
        miou=other.miou() if known else None,
        miou_fp32=exact.miou() if known else None,
    )


def _same(found: Labels, expected: Labels) -> float:
    return float((found == expected).mean())
