# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Segment images as the paper's evaluation does: resize, split into windows, merge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clip_dinoiser_ros.core.vocabulary import Vocabulary
from clip_dinoiser_ros.evaluation import windows
from clip_dinoiser_ros.evaluation.table_models import TableModel

Rgb = npt.NDArray[np.uint8]


def resize(image: Rgb) -> Rgb:
    """Resize (H, W, 3) for the windows: OpenCV's bilinear on 8 bits, without antialiasing."""
    height, width = windows.resized_size(*image.shape[:2])
    resized: Any = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    return resized


class WindowSegmenter:
    """The paper's protocol.

    Args:
        model: Model of a row of the table.
        vocabulary: The classes.
        background: Index of the class that the background filter applies to.
        device: Device of the model.
        batch: Number of windows segmented at once.
    """

    def __init__(
        self,
        model: TableModel,
        vocabulary: Vocabulary,
        background: int | None,
        device: torch.device,
        batch: int = 1,
    ) -> None:
        self._model, self._device, self._batch = model, device, batch
        self._embeddings = vocabulary.embeddings.to(device)
        self._background = background

    def segment(self, resized: Sequence[Rgb], sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
        """Find the class of every pixel of the images.

        Args:
            resized: Images from `resize`.
            sizes: Size (H, W) of each image before resizing.

        Returns:
            int64 (H, W) for each image, on the device.
        """
        placed = [windows.window_grid(*image.shape[:2]) for image in resized]
        crops = [
            crop
            for image, grid in zip(resized, placed, strict=True)
            for crop in grid.crops(torch.from_numpy(image))
        ]
        found = iter(self.probabilities(crops))
        labels = []
        for image, size, grid in zip(resized, sizes, placed, strict=True):
            of_image = [next(found) for _ in range(len(grid.rows) * len(grid.columns))]
            joined = windows.join(of_image, grid)
            labels.append(windows.find_labels(joined, image.shape[:2], size, grid))
        return labels

    def probabilities(self, crops: Sequence[Tensor]) -> list[Tensor]:
        """Return the probabilities (K, h, w) of each window, uint8 (H, W, 3) RGB on the CPU."""
        found: list[Tensor | None] = [None] * len(crops)
        order = sorted(range(len(crops)), key=lambda index: tuple(crops[index].shape))
        while order:
            shape = crops[order[0]].shape
            part = [i for i in order[: self._batch] if crops[i].shape == shape]
            order = order[len(part) :]
            pixels = torch.stack([crops[index] for index in part]).to(self._device)
            together = self._model(pixels, self._embeddings, self._background)
            for index, one in zip(part, together, strict=True):
                found[index] = one
        return [one for one in found if one is not None]
