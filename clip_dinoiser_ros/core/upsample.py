# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Enlarges patch probabilities to the label and confidence of every pixel, in little memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from clip_dinoiser_ros.core import upsample_triton

TILE_ELEMENTS = 1 << 20  # float32 elements enlarged at once: 4 MiB, which fit into a CPU's caches
GPU_ELEMENTS = 1 << 25  # the same on a GPU without Triton: 128 MiB, 16 classes of 1920x1080
FEW_CLASSES = 16  # with more classes, a GPU also leaves out those that cannot win
MARGIN = 1e-5  # more than the rounding error of interpolated numbers up to 1


class Enlarged(NamedTuple):
    """The class of every pixel of an image.

    Attributes:
        labels: (H, W), uint8 up to 256 classes, else int16.
        confidence: float32 (H, W) in [0, 1].
        mono8: uint8 (H, W), what `to_mono8` makes of the confidence; None: not made yet.
    """

    labels: Tensor
    confidence: Tensor
    mono8: Tensor | None


def enlarge(
    probabilities: Tensor,
    size: tuple[int, int],
    extent: tuple[float, float],
    background: tuple[int, Tensor] | None = None,
) -> Enlarged:
    """Interpolate probabilities bilinearly and take the most probable class of every pixel.

    Equal to `F.interpolate(..., align_corners=False)` followed by max, up to rounding, but the
    probabilities of all classes in all pixels are never in memory at once.

    Args:
        probabilities: float32 (K, h, w).
        size: (H, W) of the image in pixels.
        extent: Height and width of the image in patches; less than (h, w) where it was padded.
        background: Index of the background class and its confidence, float32 (h, w), which
            replaces the probability where that class wins.
    """
    if probabilities.device.type == 'cpu':
        return _enlarge_by_bands(probabilities, size, extent, background)
    device = probabilities.device
    labels = torch.empty(size, dtype=_label_type(probabilities), device=device)
    confidence = torch.empty(size, dtype=torch.float32, device=device)
    mono8 = torch.empty(size, dtype=torch.uint8, device=device)
    if upsample_triton.try_enlarge(labels, confidence, mono8, probabilities, extent, background):
        return Enlarged(labels, confidence, mono8)
    return _enlarge_by_classes(probabilities, size, extent, background)


def _enlarge_by_bands(
    probabilities: Tensor,
    size: tuple[int, int],
    extent: tuple[float, float],
    background: tuple[int, Tensor] | None,
) -> Enlarged:
    """Enlarge band by band, with only the classes that can win there: for a CPU."""
    count, dtype = len(probabilities), _label_type(probabilities)
    labels = torch.empty(size, dtype=dtype)
    confidence = torch.empty(size, dtype=torch.float32)
    maps = probabilities
    if background is not None:
        maps = torch.cat([maps, background[1][None]])
    for band in _bands(size[0], maps.shape[1], extent[0]):
        classes = _possible(probabilities[:, band.upper : band.lower + 1])
        # the confidence of the background is the last map
        chosen = classes if background is None else F.pad(classes, (0, 1), value=count)
        names = classes.to(dtype)
        for rows, tile in _tiles(maps[chosen], band, size[1], extent[1]):
            best, found = tile[: len(classes)].max(dim=0)
            label = names[found]
            if background is not None:
                best = torch.where(label == background[0], tile[-1], best)
            labels[rows], confidence[rows] = label, best
    return Enlarged(labels, confidence.clamp_(0.0, 1.0), None)


def _enlarge_by_classes(
    probabilities: Tensor,
    size: tuple[int, int],
    extent: tuple[float, float],
    background: tuple[int, Tensor] | None,
) -> Enlarged:
    """Enlarge whole images in few operations: for a GPU without Triton."""
    dtype, chosen = _label_type(probabilities), None
    if len(probabilities) > FEW_CLASSES:  # waits for the device once, to get the list
        chosen = _possible(probabilities)
        probabilities = probabilities[chosen]
    step = max(1, GPU_ELEMENTS // (size[0] * size[1]))
    best = label = None
    for start in range(0, len(probabilities), step):
        value, found = _interpolate(probabilities[start : start + step], size, extent).max(dim=0)
        if best is None or label is None:
            best, label = value, found
        else:
            label = torch.where(value > best, found + start, label)  # ties: the first class
            best = torch.maximum(value, best)
    assert best is not None
    assert label is not None
    if chosen is not None:
        label = chosen[label]
    if background is not None:
        [own] = _interpolate(background[1][None], size, extent)
        best = torch.where(label == background[0], own, best)
    return Enlarged(label.to(dtype), best.clamp_(0.0, 1.0), None)


def _interpolate(maps: Tensor, size: tuple[int, int], extent: tuple[float, float]) -> Tensor:
    """Interpolate maps (K, h, w) to (K, H, W), as the bands do."""
    scales = (size[0] / extent[0], _full_width(size[1], maps.shape[2], extent[1]) / maps.shape[2])
    large = F.interpolate(
        maps[None],
        scale_factor=tuple(scale * (1 + 1e-9) for scale in scales),  # sizes are rounded down
        mode='bilinear',
        align_corners=False,
        recompute_scale_factor=False,
    )
    return large[0, :, : size[0], : size[1]]


def _label_type(probabilities: Tensor) -> torch.dtype:
    return torch.uint8 if len(probabilities) <= 256 else torch.int16


def enlarge_maps(maps: Tensor, size: tuple[int, int], extent: tuple[float, float]) -> Tensor:
    """Interpolate maps bilinearly, exactly as `enlarge` does.

    Args:
        maps: float32 (K, h, w) in [0, 1].
        size: (H, W) of the image in pixels.
        extent: Height and width of the image in patches.

    Returns:
        float32 (K, H, W) in [0, 1].
    """
    if maps.device.type != 'cpu':
        return _interpolate(maps, size, extent).clamp_(0.0, 1.0)
    large = torch.empty((maps.shape[0], *size), dtype=torch.float32)
    for band in _bands(size[0], maps.shape[1], extent[0]):
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


def _bands(height: int, grid_h: int, extent: float) -> Iterator[_Band]:
    """Yield the bands of an image from top to bottom."""
    centre = (torch.arange(height, dtype=torch.float64) + 0.5) * extent / height - 0.5
    centre = centre.clamp(min=0.0, max=grid_h - 1.0)
    uppers, counts = centre.floor().long().unique_consecutive(return_counts=True)
    start = 0
    for upper, count in zip(uppers.tolist(), counts.tolist(), strict=True):
        weight = (centre[start : start + count] - upper).float()
        yield _Band(start, upper, min(upper + 1, grid_h - 1), weight)
        start += count


def _possible(maps: Tensor) -> Tensor:
    """Return the classes that can win somewhere between patches, int64 (k,), growing.

    A pixel lies between four patches, its corners. No class exceeds its greatest corner there. The
    winner has at least the greatest of all classes' smallest corners. It also has at least a
    quarter of the smallest of the corners' winners, because one corner has a weight of a quarter
    or more. A class whose greatest corner is below both bounds cannot win. Of many classes with
    sharp probabilities, only a few remain.

    Args:
        maps: float32 (K, h, w): two rows of patches, or one, or all.
    """
    highest = _of_corners(maps, torch.maximum)
    lowest = _of_corners(maps, torch.minimum).amax(dim=0)
    winner = _of_corners(maps.amax(dim=0, keepdim=True), torch.minimum)[0]
    reached = highest >= torch.maximum(lowest, 0.25 * winner) - MARGIN
    return reached.flatten(1).any(dim=1).nonzero()[:, 0]


def _of_corners(maps: Tensor, choose: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Choose from each four patches that touch, or from two where there is one row or column."""
    for dim in (1, 2):
        last = maps.shape[dim] - 1
        if last > 0:
            maps = choose(maps.narrow(dim, 0, last), maps.narrow(dim, 1, last))
    return maps


def _full_width(width: int, grid_w: int, extent: float) -> int:
    """Return the width in pixels of all patches, of which `extent` cover `width` pixels."""
    return round(width * grid_w / extent)


def _tiles(maps: Tensor, band: _Band, width: int, extent: float) -> Iterator[tuple[slice, Tensor]]:
    """Yield rows of the image in a band and the maps (K, rows, W) enlarged there."""
    count, _, grid_w = maps.shape
    pair = maps[:, [band.upper, band.lower]]  # (K, 2, w)
    full_width = _full_width(width, grid_w, extent)
    wide = F.interpolate(pair, size=full_width, mode='linear', align_corners=False)[..., :width]
    step = max(1, TILE_ELEMENTS // (count * width))
    for start in range(0, len(band.weight), step):
        weight = band.weight[start : start + step, None]
        tile = torch.lerp(wide[:, :1], wide[:, 1:], weight)
        first = band.start + start
        yield slice(first, first + tile.shape[1]), tile
