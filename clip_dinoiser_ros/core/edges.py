# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Sharpens the class probabilities along the edges of the image, before they are enlarged.

Pixel-adaptive mask refinement (PAMR; Araslanov and Roth, Single-Stage Semantic Segmentation from
Image Labels, CVPR 2020): every cell takes the average of its neighbours, weighted by
how similar their colours are, several times over.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from clip_dinoiser_ros.core import edges_triton
from clip_dinoiser_ros.core.segmentation import Patches

Edges = Literal['off', 'fast', 'fine']

STEPS = {'off': 0, 'fast': 3, 'fine': 10}
CELLS = 4  # along each side of a patch
DISTANCES = (1, 2, 4)  # of a cell's neighbours, in cells
SHARPNESS = 10.0  # colours as far apart as the local standard deviation weigh exp(-SHARPNESS)


@torch.inference_mode()
def refine(patches: Patches, image: npt.NDArray[np.uint8], edges: Edges) -> Patches:
    """Sharpen the probabilities of an image along its edges.

    Args:
        patches: From `Segmenter.segment_patches`, smoothed over time or not.
        image: The image they were made from, uint8 (H, W, 3) RGB.
        edges: 'fast' averages 3 times, 'fine' 10 times; 'off' returns the patches unchanged.

    Returns:
        The same classes in `CELLS` x `CELLS` cells for each patch, without the padding.

    Raises:
        ValueError: Unknown `edges`.
    """
    steps = STEPS[check_edges(edges)]
    if steps == 0:
        return patches
    size = tuple(round(CELLS * side) for side in patches.extent)
    maps = patches.probabilities
    confidence = patches.background_confidence
    if confidence is not None:
        maps = torch.cat([maps, confidence[None]])
    cells = _to_cells(maps, size, patches.extent)
    shrunk = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
    small = _upload(np.asarray(shrunk, np.uint8), maps.device)
    count = len(patches.probabilities)
    averaged = edges_triton.try_average(cells, small, steps, SHARPNESS)
    if averaged is None:
        possible = _possible(patches.probabilities)
        chosen = F.pad(possible, (0, len(cells) - count), value=True)
        averaged = _average_chosen(cells, chosen, small, steps)
    return replace(
        patches,
        probabilities=averaged[:count],
        background_confidence=None if confidence is None else averaged[count],
        extent=(float(size[0]), float(size[1])),
    )


def check_edges(edges: Any) -> Edges:
    """Return `edges` if it is one of the three names; else raise ValueError."""
    if edges not in STEPS:
        raise ValueError(f'edges is {edges!r}; allowed: {", ".join(STEPS)}')
    found: Edges = edges
    return found


def _to_cells(maps: Tensor, size: tuple[int, ...], extent: tuple[float, float]) -> Tensor:
    """Interpolate maps (K, h, w) bilinearly to the cells (K, *size) of the image."""
    whole = [
        round(side * patches / part)
        for side, patches, part in zip(size, maps.shape[1:], extent, strict=True)
    ]
    large = F.interpolate(maps[None], size=whole, mode='bilinear', align_corners=False)[0]
    return large[:, : size[0], : size[1]]


def _upload(image: npt.NDArray[np.uint8], device: torch.device) -> Tensor:
    """Bring an image (h, w, 3) to the device without waiting for it."""
    pixels = torch.from_numpy(image)
    if device.type != 'cuda':
        return pixels.to(device)
    return pixels.pin_memory().to(device, non_blocking=True)


def _average_chosen(cells: Tensor, chosen: Tensor, image: Tensor, steps: int) -> Tensor:
    """Average the neighbours of every cell several times: for a CPU, or a GPU without Triton.

    Args:
        cells: float32 (K, h, w); overwritten.
        chosen: bool (K,). The others share one map, and keep their proportions in it.
        image: uint8 (h, w, 3).
        steps: Number of averagings.

    Returns:
        float32 (K, h, w).
    """
    weights = _weights(image.permute(2, 0, 1).float())
    rest = cells[~chosen].sum(dim=0, keepdim=True)
    refined = torch.cat([cells[chosen], rest])
    for _ in range(steps):
        refined = _average(refined, weights)
    cells[chosen] = refined[:-1]
    cells[~chosen] *= refined[-1] / rest[0].clamp(min=1e-12)
    return cells


def _possible(probabilities: Tensor) -> Tensor:
    """Return whether an average of patches can show each class, bool (K,).

    In an average, no class exceeds its maximum over the patches. If the maxima of the n least
    classes sum to S, the best of the other K - n classes has at least (1 - S) / (K - n). The n
    classes cannot win where the greatest of their maxima is below that.
    """
    highest, order = probabilities.amax(dim=(1, 2)).sort()
    others = torch.arange(len(order) - 1, 0, -1, device=order.device)
    least = (1.0 - highest[:-1].cumsum(0)) / others
    dropped = (highest[:-1] < least - 1e-5).nonzero()
    possible = torch.ones(len(order), dtype=torch.bool, device=order.device)
    possible[order[: int(dropped[-1]) + 1 if len(dropped) else 0]] = False
    return possible


def _weights(image: Tensor) -> Tensor:
    """Return the weight of every neighbour of every cell, (n, h, w), summing to 1 over n.

    Args:
        image: float32 (3, h, w), 0 to 255.
    """
    # colours relative to the cell's own: their sums lose no digits where all are alike
    total, squares = torch.zeros_like(image), torch.zeros_like(image)
    count = 1
    for neighbour in _neighbours(image):
        difference = neighbour - image
        total += difference
        squares.addcmul_(difference, difference)
        count += 1
    variance = (squares - total.square() / count).clamp_(min=0.0) / (count - 1)
    scale = SHARPNESS / (3.0 * (variance.sqrt() + 1e-3))
    likeness = [
        -((neighbour - image).abs_() * scale).sum(dim=0) for neighbour in _neighbours(image)
    ]
    return torch.stack(likeness).softmax(dim=0)


def _average(maps: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted average of the neighbours of every cell, (K, h, w)."""
    result = torch.zeros_like(maps)
    for weight, neighbour in zip(weights, _neighbours(maps), strict=True):
        result.addcmul_(weight, neighbour)
    return result


def _neighbours(maps: Tensor) -> Iterator[Tensor]:
    """Yield maps (K, h, w) shifted to each neighbour; beyond the edge the nearest cell counts."""
    height, width = maps.shape[1:]
    margin = max(DISTANCES)
    padded = F.pad(maps[None], (margin,) * 4, mode='replicate')[0]
    for distance in DISTANCES:
        for down in (-distance, 0, distance):
            for right in (-distance, 0, distance):
                if down or right:
                    top, left = margin + down, margin + right
                    yield padded[:, top : top + height, left : left + width]
