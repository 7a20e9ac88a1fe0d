# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Enlarges patch probabilities to the label and confidence of every pixel, in little memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from clip_dinoiser_ros.core import upsample_triton

TILE_ELEMENTS = 1 << 20  # float32 elements enlarged at once: 4 MiB, which stay in a CPU's caches
MARGIN = 1e-5  # more than the rounding of an interpolation of numbers up to 1


def enlarge(
    probabilities: Tensor,
    size: tuple[int, int],
    extent: tuple[float, float],
    background: tuple[int, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Interpolate probabilities bilinearly and take the most probable class of every pixel.

    Equal to `F.interpolate(..., align_corners=False)` followed by max, up to rounding, but the
    probabilities of all classes in all pixels are never in memory at once.

    Args:
        probabilities: float32 (K, h, w).
        size: (H, W) of the image in pixels.
        extent: Height and width of the image in patches; less than (h, w) where it was padded.
        background: Index of the background class and its confidence, float32 (h, w), which
            replaces the probability where that class wins.

    Returns:
        labels: (H, W), uint8 up to 256 classes, else int16.
        confidence: float32 (H, W) in [0, 1].
    """
    count = probabilities.shape[0]
    dtype = torch.uint8 if count <= 256 else torch.int16
    labels = torch.empty(size, dtype=dtype, device=probabilities.device)
    confidence = torch.empty(size, dtype=torch.float32, device=probabilities.device)
    if upsample_triton.usable(probabilities.device):
        upsample_triton.enlarge_into(labels, confidence, probabilities, extent, background)
        return labels, confidence
    maps = probabilities
    if background is not None:
        maps = torch.cat([maps, background[1][None]])
    for band in _bands(size[0], maps.shape[1], extent[0], maps.device):
        classes = _possible(probabilities[:, band.upper : band.lower + 1])
        # the background's own confidence goes along as the last map
        chosen = classes if background is None else F.pad(classes, (0, 1), value=count)
        names = classes.to(dtype)
        for rows, tile in _tiles(maps[chosen], band, size[1], extent[1]):
            best, found = tile[: len(classes)].max(dim=0)
            label = names[found]
            if background is not None:
                best = torch.where(label == background[0], tile[-1], best)
            labels[rows], confidence[rows] = label, best
    return labels, confidence.clamp_(0.0, 1.0)


def enlarge_maps(maps: Tensor, size: tuple[int, int], extent: tuple[float, float]) -> Tensor:
    """Interpolate maps bilinearly, exactly as `enlarge` does.

    Args:
        maps: float32 (K, h, w) in [0, 1].
        size: (H, W) of the image in pixels.
        extent: Height and width of the image in patches.

    Returns:
        float32 (K, H, W) in [0, 1].
    """
    large = torch.empty((maps.shape[0], *size), dtype=torch.float32, device=maps.device)
    for band in _bands(size[0], maps.shape[1], extent[0], maps.device):
        for rows, tile in _tiles(maps, band, size[1], extent[1]):
            large[:, rows] = tile
    return large.clamp_(0.0, 1.0)


def to_mono8(confidence: Tensor) -> Tensor:
    """Turn confidence in [0, 1] into 0 to 255, uint8, rounded as OpenCV does: halves to even."""
    return (confidence * 255.0).round_().to(torch.uint8)


@dataclass(frozen=True, eq=False)
class _Band:
    """Pixel rows with centres between the same two rows of patches.

    Attributes:
        start: First pixel row.
        upper: Row of patches above.
        lower: Row of patches below; at the lower edge of the image the same as `upper`.
        weight: float32 (rows,), weight of `lower` for each pixel row.
    """

    start: int
    upper: int
    lower: int
    weight: Tensor


def _bands(height: int, grid_h: int, extent: float, device: torch.device) -> Iterator[_Band]:
    """Yield the bands of an image from top to bottom."""
    centre = (torch.arange(height, dtype=torch.float64) + 0.5) * extent / height - 0.5
    centre = centre.clamp(min=0.0, max=grid_h - 1.0)
    uppers, counts = centre.floor().long().unique_consecutive(return_counts=True)
    start = 0
    for upper, count in zip(uppers.tolist(), counts.tolist(), strict=True):
        weight = (centre[start : start + count] - upper).float().to(device)
        yield _Band(start, upper, min(upper + 1, grid_h - 1), weight)
        start += count


def _possible(rows: Tensor) -> Tensor:
    """Return the classes that can win between one or two rows of patches, int64 (k,), growing.

    A pixel lies between four patches, its corners. No class exceeds its greatest corner there. The
    winner has at least the greatest of all classes' smallest corners. It also has at least a
    quarter of the smallest of the corners' winners, because one corner has a weight of a quarter
    or more. A class whose greatest corner is below both bounds cannot win. Of many classes with
    sharp probabilities, only a few remain.

    Args:
        rows: float32 (K, 1 or 2, w).
    """
    highest, lowest = rows.amax(dim=1), rows.amin(dim=1)  # (K, w)
    winner = rows.amax(dim=0).amin(dim=0)  # (w,)
    if rows.shape[2] > 1:
        highest = torch.maximum(highest[:, 1:], highest[:, :-1])
        lowest = torch.minimum(lowest[:, 1:], lowest[:, :-1])
        winner = torch.minimum(winner[1:], winner[:-1])
    reached = highest >= torch.maximum(lowest.amax(dim=0), 0.25 * winner) - MARGIN
    return reached.any(dim=1).nonzero()[:, 0]


def _tiles(maps: Tensor, band: _Band, width: int, extent: float) -> Iterator[tuple[slice, Tensor]]:
    """Yield rows of the image in a band and the maps (K, rows, W) enlarged there."""
    count, _, grid_w = maps.shape
    pair = maps[:, [band.upper, band.lower]]  # (K, 2, w)
    full_width = round(width * grid_w / extent)
    wide = F.interpolate(pair, size=full_width, mode='linear', align_corners=False)[..., :width]
    step = max(1, TILE_ELEMENTS // (count * width))
    for start in range(0, len(band.weight), step):
        weight = band.weight[start : start + step, None]
        tile = torch.lerp(wide[:, :1], wide[:, 1:], weight)
        first = band.start + start
        yield slice(first, first + tile.shape[1]), tile
